"""The weights that a training begins with: what is taken over, and what they have seen."""

import json
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from madrnet_timm.errors import InputError
from madrnet_timm.hub.weights import load_backbone_weights, load_model_weights
from madrnet_timm.training.cross_validation import fold_configs
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_config import RunConfig

from .conftest import SMALL, rows, write_heads


def test_backbone_weights(tmp_path, lite0_weights, train_command, heads):
    state = load_file(lite0_weights)
    model = timm.create_model("madrnet_tf_efficientnet_lite0", num_classes=4)
    load_backbone_weights(model, lite0_weights)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[name])
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=4)
    load_backbone_weights(plain, lite0_weights)
    assert torch.equal(plain.conv_stem.weight, state["conv_stem.weight"])


def test_backbone_weights_of_another_madrnet(run):
    """What was trained on one data set starts the backbone on another; its head and R stay behind."""
    file = run[0] / "model" / "model.safetensors"
    state = load_file(file)
    model = timm.create_model("madrnet_test_resnet", num_classes=7)
    before = model.embedding[0].weight.detach().clone()
    load_backbone_weights(model, file)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[f"backbone.{name}"])
    assert torch.equal(model.embedding[0].weight, before)


def test_weights_of_another_model(run, tmp_path, train_command, capsys):
    """All but the classifier: B, R, P and the embedding; a training that hardly moves them ends where it began."""
    folder, _, args = run
    state = load_file(folder / "model" / "model.safetensors")
    model = timm.create_model("madrnet_test_resnet", num_classes=7)
    classifier = model.classifier.weight.detach().clone()
    load_model_weights(model, folder / "model" / "model.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) != name.startswith("classifier.")
    assert torch.equal(model.classifier.weight, classifier)

    still = [word for part in ("backbone", "reversible", "head") for word in (f"--lr-{part}", 1e-9)]
    words = [*args[:4], "--output", tmp_path / "out", *SMALL, "--epochs", 1, *still, "--ema-decay", 0]
    assert train_command(*words, "--weights", folder / "model") == 0
    trained = load_file(tmp_path / "out" / "model" / "model.safetensors")
    weights = {name for name, value in trained.items() if value.dim() > 1} - {"classifier.weight"}
    assert len(weights) > 10
    for name in weights:
        torch.testing.assert_close(trained[name], state[name], rtol=0, atol=1e-6)

    other = ["--model", "madrnet_test_vit", "--img-size", "64"]
    for more, message in (
        (["--weights", folder / "model", *other], "does not fit madrnet_test_vit"),
        (["--weights", folder / "model", "--pretrained-backbone"], "--weights and --pretrained-backbone contradict"),
        (["--weights", "nowhere"], "nowhere: no such model"),
        (["--weights", folder / "model", "--model-kwargs", "depth=2"], "tensors more, the first is"),
    ):
        capsys.readouterr()
        assert train_command(*args[:4], "--output", tmp_path / "no", *SMALL, *more) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


def test_weights_that_have_seen_the_held_out_images_are_refused(hushem_dir, tmp_path, train_command, capsys):
    words = ["--dataset", "hushem", "--data-dir", hushem_dir, "--output", tmp_path / "out"]
    name = "madrnet_tf_efficientnet_lite0.hushem"
    file = Path(__file__).parents[2] / "hub" / name / "model.safetensors"
    for more in (("--weights", name), ("--backbone-weights", file)):
        assert train_command(*words, *more) == 2
        assert f"{more[0]} {more[1]}: was trained on 44 of the 44 images that fold 0" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_what_a_start_has_learned_is_known_of_what_comes_of_it(run, hushem_dir, tmp_path, train_command, capsys):
    """A published model of HuSHeM, trained on other images: in its run folder, and published in its turn."""
    published, again = tmp_path / "published", tmp_path / "again"
    shutil.copytree(run[0] / "model", published)
    config = json.loads((published / "config.json").read_text())
    assert config["madrnet"]["learned_before"] == []
    config["madrnet"]["dataset"] = "hushem"
    (published / "seen.csv").unlink()  # of the time before there was such a file
    (published / "config.json").write_text(json.dumps(config))
    words = [*run[2][:4], *SMALL, "--epochs", 1, "--output", again]
    assert train_command(*words, "--weights", published) == 0
    assert json.loads((again / "model" / "config.json").read_text())["madrnet"]["learned_before"] == ["hushem"]
    assert "had learned from HuSHeM." in (again / "model" / "README.md").read_text()
    shutil.copytree(again / "model", tmp_path / "alone")
    words = ["--dataset", "hushem", "--data-dir", hushem_dir, *SMALL, "--output", tmp_path / "out"]
    for model in (again / "model", tmp_path / "alone"):
        assert train_command(*words, "--weights", model) == 2
        assert f"--weights {model}: was trained on 108 of the 108 images that fold 0" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_weights_of_a_run_are_known_image_by_image(run, tmp_path, train_command, capsys):
    """The other fold's model has seen what is held out; that of the same fold has not."""
    folder, _, args = run
    words = [*args[:4], *SMALL, "--epochs", 1, "--weights", folder / "model"]
    assert train_command(*words, "--output", tmp_path / "other", "--fold", 1) == 2
    assert "was trained on 14 of the 14 images that fold 1 holds out" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert train_command(*words, "--output", tmp_path / "same", "--fold", 0) == 0
    # and what its own initial weights had seen is known of a model that started from it
    other = write_heads(tmp_path / "others", classes=("Pyriform", "Amorphous"))
    words = ["--dataset", "folder", *SMALL, "--epochs", 1]
    between = ["--data-dir", other, "--output", tmp_path / "between", "--weights", folder / "model"]
    assert train_command(*words, *between) == 0
    back = [*args[2:4], "--output", tmp_path / "back", "--fold", 1, "--weights", tmp_path / "between" / "model"]
    assert train_command(*words, *back) == 2
    assert "was trained on 14 of the 14 images" in capsys.readouterr().err
    # a cross-validation says so before its first fold
    options = RunConfig(
        "madrnet_test_resnet", "folder", tmp_path / "cv", args[3], folds=2, weights=str(folder / "model"),
        recipe=Recipe(epochs=1, img_size=48, batch_size=8),
    )  # fmt: skip
    with pytest.raises(InputError, match="that fold 1 holds out"):
        fold_configs(options)


def test_a_model_copied_out_of_its_run_is_found_out(run, tmp_path, train_command, capsys):
    """By the hashes in its folder; what it has seen can be left out of the measurement, and that is said."""
    folder, data, _ = run
    shutil.copytree(folder / "model", tmp_path / "copy")
    shutil.copytree(data, tmp_path / "others")
    for path in [*(tmp_path / "others").rglob("*.png")]:
        path.rename(path.with_name(f"renamed{path.name}"))
    listed = [f"{path.parent.name}/{path.name}" for path in sorted((tmp_path / "others").rglob("*.png"))]
    (tmp_path / "folds.csv").write_text("\n".join(["file,fold", *(f"{name},{i % 2}" for i, name in enumerate(listed))]))
    words = ["--data-dir", tmp_path / "others", *SMALL, "--epochs", 1, "--folds", tmp_path / "folds.csv"]
    words += ["--output", tmp_path / "out", "--weights", tmp_path / "copy"]
    assert train_command(*words) == 2
    found = re.search(r"was trained on (\d+) of the 14 images that fold 0 holds out", capsys.readouterr().err)
    assert found is not None
    count = int(found[1])
    assert 0 < count < 14
    assert train_command(*words, "--leave-out-seen") == 0
    said = f"measuring on the {14 - count} of fold 0 of 2"
    assert said in (out := capsys.readouterr().out)
    assert f"{count} more are left out, which it has seen before" in out
    seen = {row["pixel_sha256"] for row in rows(folder / "folds.csv") if row["fold"] == "1"}
    predicted = {row["pixel_sha256"] for row in rows(tmp_path / "out" / "predictions.csv")}
    trained = {row["pixel_sha256"] for row in rows(tmp_path / "out" / "folds.csv") if row["fold"] == "1"}
    assert len(predicted) == 14 - count
    assert not predicted & seen
    assert {row["pixel_sha256"] for row in rows(tmp_path / "out" / "model" / "seen.csv")} == seen | trained
    assert f"{count} more of them are left out" in (tmp_path / "out" / "model" / "README.md").read_text()
