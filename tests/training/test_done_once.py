"""Work is done once: each image is measured, the last epoch evaluated, each table of a cross-validation read."""

import sys
from collections import Counter
from dataclasses import replace

import datasets
import pytest

import madrnet_timm.morphology
from madrnet_timm.training import stored
from madrnet_timm.training.cross_validation import cross_validate
from madrnet_timm.training.loop import Loop
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.train import train

from .conftest import killed_in, write_heads


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """How often each image was measured, by its pixels, and the model evaluated (``"evaluated"``)."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")  # other tests measure the same heads
    count, measure, evaluate = Counter(), madrnet_timm.morphology.measure, Loop.evaluate

    def measured(image, *args, **kwargs):
        count[image.tobytes()] += 1
        return measure(image, *args, **kwargs)

    def evaluated(self):
        count["evaluated"] += 1
        return evaluate(self)

    for name, module in list(sys.modules.items()):
        if name.startswith("madrnet_timm") and getattr(module, "measure", None) is measure:
            monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(Loop, "evaluate", evaluated)
    return count


def test_once_each(tmp_path, counted):
    recipe = Recipe(epochs=2, img_size=48, batch_size=8, views="mixed")
    config = RunConfig(
        "madrnet_test_resnet", "folder", tmp_path / "first", write_heads(tmp_path / "heads"), folds=2, recipe=recipe
    )
    config.divided_records()  # what is measured for the folds is kept, whatever is trained on them
    assert Counter(counted.values()) == {1: 16}
    counted.clear()
    train(config)
    assert counted.pop("evaluated") == 2
    assert Counter(counted.values()) == {1: 16}
    counted.clear()
    train(replace(config, output=tmp_path / "raw", recipe=replace(recipe, pipeline="raw", views="pipeline")))
    assert counted == {"evaluated": 2}


def test_a_training_that_ended_before_it_was_written_is_evaluated_again(tmp_path, counted, monkeypatch):
    recipe = Recipe(epochs=2, img_size=48, batch_size=8)
    config = RunConfig(
        "madrnet_test_resnet", "folder", tmp_path / "run", write_heads(tmp_path / "heads"), folds=2, recipe=recipe
    )
    with killed_in(1), pytest.raises(KeyboardInterrupt):
        train(config)
    with monkeypatch.context() as patch:
        patch.delattr("madrnet_timm.training.train.evidence_of_fold")
        with pytest.raises(NameError):
            train(replace(config, resume=True))
    assert not (config.output / "metrics.json").exists()
    counted.clear()
    again = train(replace(config, resume=True))
    assert counted["evaluated"] == 1
    whole = train(replace(config, output=tmp_path / "whole"))
    assert again == whole


def test_a_cross_validation_reads_each_table_once(tmp_path, monkeypatch):
    recipe = Recipe(epochs=1, img_size=48, batch_size=8)
    config = RunConfig(
        "madrnet_test_resnet", "folder", tmp_path / "cv", write_heads(tmp_path / "heads"), folds=2, recipe=recipe
    )
    read, real = Counter(), stored.read_csv

    def counted(path):
        read[path.relative_to(config.output).as_posix()] += 1
        return real(path)

    monkeypatch.setattr(stored, "read_csv", counted)
    table = cross_validate(config)
    assert read == {
        f"seed0-fold{fold}/{name}.csv": 1 for fold in (0, 1) for name in ("folds", "predictions", "history")
    }
    assert (config.output / "learning_curves.png").stat().st_size > 0
    assert cross_validate(config) == table
