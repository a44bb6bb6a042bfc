"""What a model has seen: in its run folder picture by picture, elsewhere by the names of its data sets."""

import json

import pytest
import torch
import yaml
from safetensors.torch import save_file

from madrnet_timm.errors import InputError
from madrnet_timm.files import write_csv
from madrnet_timm.training.options import RunOptions
from madrnet_timm.training.seen import data_sets_before, seen_by
from madrnet_timm.training.start import check_unseen
from madrnet_timm.training.teachers import check_teachers

PICTURES = ["a", "b", "c", "d"]


def model(folder, dataset, *before):
    """A model folder, as far as it says what it learned from."""
    folder.mkdir(parents=True)
    cfg = {"num_classes": 2, "input_size": [3, 48, 48]}
    info = {"dataset": dataset, "learned_before": list(before), "pipeline": "raw"}
    config = {"architecture": "madrnet_test_resnet", "label_names": ["x", "y"], "pretrained_cfg": cfg, "madrnet": info}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def run(folder, dataset, pictures, *before, **options):
    """A run that held out the first picture."""
    model(folder / "model", dataset, *before)
    write_csv(folder / "folds.csv", [{"pixel_sha256": name, "fold": int(n > 0)} for n, name in enumerate(pictures)])
    (folder / "config.yaml").write_text(yaml.safe_dump({"dataset": dataset, "fold": 0} | options))
    return folder


def test_a_run_is_known_picture_by_picture_and_so_are_its_start_and_teachers(tmp_path):
    first = run(tmp_path / "first", "hushem", ["a", "b"])
    teacher = run(tmp_path / "teacher", "folder", ["x", "c"])
    start, taught = f"local-dir:{first / 'model'}", [str(teacher)]
    second = run(tmp_path / "second", "smids", ["x", "y"], "hushem", weights=start, teachers=taught)
    file = str(second / "model" / "model.safetensors")
    third = run(tmp_path / "third", "folder", ["x", "d"], "hushem", "smids", backbone_weights=file)
    assert seen_by(first / "model", "hushem", PICTURES) == {"b"}
    assert seen_by(second / "model", "hushem", PICTURES) == {"b", "c"}
    assert seen_by(third / "model", "hushem", PICTURES) == {"b", "c", "d"}


def test_a_model_elsewhere_is_known_by_its_data_sets(tmp_path):
    published = model(tmp_path / "published", "hushem", "smids")
    assert seen_by(published, "hushem", PICTURES) == seen_by(published, "smids", PICTURES) == set(PICTURES)
    assert seen_by(published, "synthetic", PICTURES) == set()
    assert seen_by(model(tmp_path / "own", "folder"), "folder", PICTURES) == set()


def test_a_run_that_began_with_one_has_seen_the_whole_of_it(tmp_path):
    """Even where a run of the same data set, known picture by picture, is among what it learned from."""
    published = model(tmp_path / "published", "hushem")
    first = run(tmp_path / "first", "hushem", ["a", "b"])
    teacher = run(tmp_path / "teacher", "folder", ["x"], "hushem", weights=str(published))
    start = str(first / "model")
    second = run(tmp_path / "second", "smids", ["x"], "hushem", weights=start, teachers=[str(teacher)])
    assert seen_by(second / "model", "hushem", PICTURES) == set(PICTURES)
    options = RunOptions("madrnet_test_resnet", "hushem", tmp_path / "out", weights=str(second / "model"))
    with pytest.raises(InputError, match=r"--weights .*second/model: was trained on 4 of the pictures that fold 0"):
        check_unseen(options, PICTURES)


def test_a_start_that_is_gone_counts_as_a_whole(tmp_path):
    gone = run(tmp_path / "run", "smids", ["x"], "hushem", weights=str(tmp_path / "gone"))
    assert seen_by(gone / "model", "hushem", PICTURES) == set(PICTURES)
    assert seen_by(gone / "model", "smids", PICTURES) == set()


def test_a_run_that_names_itself_ends(tmp_path):
    folder = run(tmp_path / "run", "hushem", ["a", "b"], weights=str(tmp_path / "run" / "model"))
    assert seen_by(folder / "model", "hushem", PICTURES) == {"b"}


def test_a_teacher_that_began_with_the_data_set_is_refused(tmp_path):
    published = model(tmp_path / "published", "hushem")
    teacher = run(tmp_path / "teacher", "smids", ["x"], "hushem", weights=str(published))
    words = ([teacher], ["x", "y"], (3, 48, 48))
    with pytest.raises(InputError, match=r"--teacher .*teacher: was trained on 4 of the pictures"):
        check_teachers(*words, "hushem", PICTURES)
    assert len(check_teachers(*words, "folder", PICTURES)) == 1


def test_what_start_and_teachers_learned_is_handed_on(tmp_path):
    start = model(tmp_path / "start", "hushem", "synthetic")
    teacher = run(tmp_path / "teacher", "smids", ["x"])
    options = RunOptions("madrnet_test_resnet", "folder", tmp_path / "out", weights=str(start), teachers=(teacher,))
    assert data_sets_before(options) == ["hushem", "smids", "synthetic"]
    options = RunOptions(
        "madrnet_test_resnet", "folder", tmp_path / "out", backbone_weights=start / "model.safetensors"
    )
    assert data_sets_before(options) == ["hushem", "synthetic"]
    assert data_sets_before(RunOptions("madrnet_test_resnet", "folder", tmp_path / "out")) == []
