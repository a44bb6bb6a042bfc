"""What a name stands for: a run, a model folder, a folder in $MADRNET_HUB_DIR, a published name."""

import re
import shutil
from pathlib import Path

import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.hub.lookup import find_model
from madrnet_timm.training.initial_weights import base_model_of
from madrnet_timm.training.run_checks import check
from madrnet_timm.training.run_config import RunConfig


@pytest.fixture
def run(model_dir, tmp_path):
    """A finished run, beside one that is not."""
    shutil.copytree(model_dir, tmp_path / "run" / "model")
    (tmp_path / "begun").mkdir()
    for name in ("run", "begun"):
        (tmp_path / name / "config.yaml").write_text("model: x\n")
    return tmp_path / "run"


def test_runs_folders_and_names(run, monkeypatch):
    model = run / "model"
    for given in (run, model, f"local-dir:{run}", f"local-dir:{model}"):
        assert find_model(given) == model
    monkeypatch.setenv("MADRNET_HUB_DIR", str(run.parent))
    assert find_model("run") == model  # by its name
    check(RunConfig("madrnet_test_resnet", "folder", run.parent / "new", weights="run"))


def test_a_name_without_its_tag_stands_for_the_best_model(run, monkeypatch):
    """Also in what a run stores: the best may become another. A folder of the very name comes first."""
    name = "madrnet_tf_efficientnet_lite0"
    best = find_model(f"{name}.smids_ft_hushem")
    assert find_model(name) == best
    config = RunConfig(name, "folder", run.parent / "new", weights=name)
    assert config.to_dict()["weights"] == best.name
    assert base_model_of(config) == f"madrnet-timm/{best.name}"
    run.rename(run.parent / name)
    monkeypatch.setenv("MADRNET_HUB_DIR", str(run.parent))
    assert find_model(name) == run.parent / name / "model"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"backbone_weights": Path("x/tf_efficientnet_lite0.in1k.safetensors")}, "timm/tf_efficientnet_lite0.in1k"),
        ({"backbone_weights": Path("x/efficientnet_b0.mine.safetensors")}, None),
        ({"backbone_weights": Path("hub/madrnet_tf_efficientnet_lite0.smids/model.safetensors")},
         "madrnet-timm/madrnet_tf_efficientnet_lite0.smids"),
        ({"pretrained_backbone": True}, "timm/tf_efficientnet_lite0.in1k"),
        ({"weights": "hf-hub:me/heads@v1"}, "me/heads"),
        ({"weights": "runs/a/seed0-fold0/model"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_base_model_is_named_by_its_repository(given, expected):
    assert base_model_of(RunConfig("madrnet_tf_efficientnet_lite0", "folder", Path("out"), **given)) == expected


def test_what_is_no_model(run, monkeypatch):
    monkeypatch.setenv("MADRNET_HUB_DIR", str(run.parent))
    (run.parent / "empty").mkdir()
    for given, words in (
        (run.parent / "begun", "a run that is not finished"),
        ("begun", "a run that is not finished"),
        ("empty", "neither a finished run nor a model folder (config.json is missing)"),
        (run / "model" / "config.json", f"expected the model folder that it lies in, {run / 'model'}"),
        ("local-dir:nowhere", "nowhere: no such folder"),
        ("nowhere", f"a folder in MADRNET_HUB_DIR ({run.parent})"),
        ("../nowhere", "no such model"),
        ("", "no name of a model"),
        ("a\0b", "no name of a model"),
        ("a" * 5000, "no name of a model"),
        ("a" * 300, "no such model"),
        ("hf-hub:me/he ads", "expected hf-hub:owner/name"),
        ("hf-hub:me", "expected hf-hub:owner/name"),
        ("hf-hub:me/heads@a b", "expected hf-hub:owner/name"),
        ("hf-hub:me/heads@../../x", "expected hf-hub:owner/name"),
    ):
        with pytest.raises(InputError, match=re.escape(words)) as error:
            find_model(given)
        assert "\n" not in str(error.value)


def test_arguments_that_no_model_folder_carries_are_refused_before_training(tmp_path):
    for kwargs, words in (({"depth": 1000}, "0 to 64"), ({"checkpoint_path": "x"}, "no argument that a model folder")):
        with pytest.raises(InputError, match=f"--model-kwargs: .*{words}"):
            check(RunConfig("madrnet_test_resnet", "folder", tmp_path, model_kwargs=kwargs))
