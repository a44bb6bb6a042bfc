"""The training command: what it writes, that it learns, that it can be continued."""

import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from madrnet_timm.commands.training_arguments import add_arguments, from_arguments
from madrnet_timm.evaluation.calibration import calibrate, tempered
from madrnet_timm.evaluation.guarantee import guarantee
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.inference import Classifier
from madrnet_timm.losses import HybridLoss
from madrnet_timm.training import loop
from madrnet_timm.training.loop import _Progress as Progress
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.run_folder import RunFolder

from .conftest import SMALL, killed_in, rows, write_heads, written


def test_run_folder(run):
    folder, _, _ = run
    assert {p.name for p in folder.iterdir()} == {
        "config.yaml", "folds.csv", "history.csv", "metrics.json", "predictions.csv", "learning_curves.png",
        "confusion_matrix.png", "model", ".lock",
    }  # fmt: skip
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["model"], config["epochs"], config["img_size"]) == ("madrnet_test_resnet", 3, 48)
    assert [int(row["epoch"]) for row in rows(folder / "history.csv")] == [1, 2, 3]
    first = rows(folder / "history.csv")[0]
    total = sum(w * float(first[f"loss_{k}"]) for k, w in (("cross_entropy", 1), ("triplet", 0.4), ("harc", 0.3)))
    assert float(first["loss"]) == pytest.approx(total, rel=1e-5)


def test_predictions_are_of_the_held_out_fold_and_give_the_metrics(run):
    folder, _, _ = run
    held_out = {row["file"] for row in rows(folder / "folds.csv") if row["fold"] == "0"}
    predictions = rows(folder / "predictions.csv")
    assert {row["file"] for row in predictions} == held_out
    metrics = json.loads((folder / "metrics.json").read_text())
    right = sum(row["label"] == row["prediction"] for row in predictions)
    assert metrics["accuracy"] == pytest.approx(right / len(predictions))
    for row in predictions:
        assert float(row["p_Normal"]) + float(row["p_Tapered"]) == pytest.approx(1, abs=1e-5)


LOAD = """
import sys, torch, timm, madrnet_timm
model = timm.create_model("local-dir:" + sys.argv[1], pretrained=True).eval()
torch.manual_seed(0)
x = torch.randn(2, 3, 48, 48)
with torch.no_grad():
    torch.save(model(x), sys.argv[2])
config = timm.data.resolve_model_data_config(model)
print(model.pretrained_cfg["label_names"], config["input_size"], config["mean"], config["crop_pct"])
"""


def test_model_folder_in_a_fresh_process(run, tmp_path):
    folder, _, _ = run
    assert {p.name for p in (folder / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "confusion_matrix.png",
        "seen.csv",
    }
    assert len({p.stat().st_mode for p in (folder / "model").iterdir()}) == 1  # who reads one file reads all
    model = timm.create_model("madrnet_test_resnet", num_classes=2).eval()
    model.load_state_dict(load_file(folder / "model" / "model.safetensors"))
    torch.manual_seed(0)
    with torch.no_grad():
        expected = model(torch.randn(2, 3, 48, 48))
    command = [sys.executable, "-c", LOAD, str(folder / "model"), str(tmp_path / "logits.pt")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert torch.equal(torch.load(tmp_path / "logits.pt"), expected)
    mean = list(timm.get_pretrained_cfg("test_resnet").mean)
    assert out.strip() == f"['Normal', 'Tapered'] (3, 48, 48) {mean} 1.0"


def test_classifier_repeats_the_held_out_predictions(run):
    """The network's probabilities, and from them those that the calibration makes."""
    folder, data, _ = run
    predictions = rows(folder / "predictions.csv")
    classifier = Classifier(folder / "model")
    own = classifier([data / row["file"] for row in predictions])
    raw = np.array([[float(row[f"p_{name}"]) for name in classifier.label_names] for row in predictions])
    expected = tempered(raw, classifier.calibration.temperature)
    labels = [classifier.label_names.index(row["label"]) for row in predictions]
    groups = [int(row["group"]) for row in predictions]
    again = calibrate(raw, labels, groups)
    assert classifier.calibration.temperature == pytest.approx(again.temperature, abs=1e-3)
    promised = guarantee(raw, labels, groups)
    assert (classifier.guarantee.cells, classifier.promised_risk) == (len(set(groups)), promised.risk)
    assert classifier.threshold == pytest.approx(promised.chosen.threshold, abs=1e-3)
    assert classifier.guarantee.sets.thresholds == pytest.approx(promised.sets.thresholds, abs=1e-3)
    for row, prediction, p in zip(predictions, own, expected, strict=True):
        assert prediction.label == row["prediction"]
        assert list(prediction.probabilities.values()) == pytest.approx(p, abs=1e-3)


def test_card(run):
    folder, _, _ = run
    text = (folder / "model" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert front["library_name"] == "timm"
    figures = front["model-index"][0]["results"][0]["metrics"]
    assert figures[0] == {"type": "accuracy", "name": "Accuracy", "value": round(metrics["accuracy"], 4)}
    assert "import madrnet_timm" in text.split("```")[1]
    assert "not a medical device" in text


def test_learns_the_training_images(tmp_path, heads, train_command):
    assert train_command(
        "--dataset", "folder", "--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 12,
        "--augmentation", "none",
    ) == 0  # fmt: skip
    history = rows(tmp_path / "run" / "history.csv")
    assert float(history[-1]["loss"]) < 0.75 * float(history[0]["loss"])


def test_plain_timm_model(tmp_path, heads, train_command):
    args = ["--dataset", "folder", "--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 1]
    assert train_command(*args, "--model", "test_resnet") == 0
    assert "loss_triplet" not in rows(tmp_path / "run" / "history.csv")[0]
    model = timm.create_model(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == ["Normal", "Tapered"]


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_continues_to_the_same_weights(run, tmp_path, train_command, workers):
    """With worker processes and without: they change nothing."""
    folder, _, args = run
    args = [*args, "--workers", workers]
    other = tmp_path / "other"
    args = [other if a == folder else a for a in args]
    with killed_in(2):
        assert train_command(*args) == 130
    assert not (other / "model").exists()
    assert train_command(*args, "--resume") == 0
    expected, own = (load_file(f / "model" / "model.safetensors") for f in (folder, other))
    assert all(torch.equal(expected[k], own[k]) for k in expected)
    assert (other / "history.csv").read_text() == (folder / "history.csv").read_text()


def test_a_finished_run_given_again_stays_what_it_is(run, tmp_path, train_command):
    """It has no checkpoint, whose optimizer is larger than the model."""
    folder, _, args = run
    again = shutil.copytree(folder, tmp_path / "again")
    (again / ".checkpoint.old").mkdir()  # left by a process that was killed
    assert not (again / "checkpoint").exists()
    assert train_command(*(again if a == folder else a for a in args), "--resume") == 0
    assert written(again) == written(folder)


def test_killed_before_its_checkpoint_is_removed(run, tmp_path, train_command, capsys):
    folder, _, args = run
    other = tmp_path / "other"
    args = [other if a == folder else a for a in args]

    def killed(self):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "remove_checkpoint", killed)
        assert train_command(*args) == 130
    assert f"{other}: go on with the same command and --resume\n" in capsys.readouterr().err
    assert (other / "checkpoint").is_dir()
    assert train_command(*args, "--resume") == 0
    assert not (other / "checkpoint").exists()
    assert written(other) == written(folder)


def test_killed_while_its_model_is_written_anew(run, tmp_path, train_command):
    """Between the two renames that put the new folder in the place of the old one."""
    folder, _, args = run
    again = shutil.copytree(folder, tmp_path / "again")
    (again / "model").rename(again / ".model.old")
    assert train_command(*(again if a == folder else a for a in args), "--resume") == 0
    assert written(again) == written(folder)
    assert not (again / ".model.old").exists()


def test_a_checkpoint_of_other_processes_is_refused(run, tmp_path, train_command, capsys):
    """Their steps are not those of this training."""
    folder, _, args = run
    args = [tmp_path / "cut" if a == folder else a for a in args]
    with pytest.MonkeyPatch.context() as patch, killed_in(2):
        patch.setattr(loop, "_Progress", lambda processes: Progress(processes + 1))
        assert train_command(*args) == 130
    assert train_command(*args, "--resume") == 2
    message = capsys.readouterr().err
    assert "begun by 2 processes, and these are 1" in message
    assert "accelerate launch --num_processes 2" in message
    assert "Traceback" not in message


def test_precision_is_part_of_a_run(monkeypatch, tmp_path):
    """It decides the result, and ``accelerate launch`` says it."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--dataset", "synthetic", "--output", str(tmp_path)])
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert from_arguments(args).to_dict()["mixed_precision"] == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    options = from_arguments(args)
    assert options.to_dict()["mixed_precision"] == "bf16"
    options.write(tmp_path / "config.yaml")
    assert RunConfig.read(tmp_path / "config.yaml").mixed_precision == "bf16"


def test_mixed_views_are_noted_and_resumed(tmp_path, heads, train_command):
    args = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--epochs", "2", "--views", "mixed"]
    assert train_command(*args, "--output", tmp_path / "whole") == 0
    with killed_in(1):
        assert train_command(*args, "--output", tmp_path / "cut") == 130
    assert train_command(*args, "--output", tmp_path / "cut", "--resume") == 0
    whole, cut = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert json.loads((tmp_path / "cut" / "model" / "config.json").read_text())["madrnet"]["mixed_views"] is True


def test_learned_loss_weights_are_logged_and_resumed(tmp_path, heads, train_command):
    args = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--epochs", "2", "--loss-weights", "learned"]
    assert train_command(*args, "--output", tmp_path / "whole") == 0
    history = rows(tmp_path / "whole" / "history.csv")
    triplet, harc = ([float(row[f"weight_{name}"]) for row in history] for name in ("triplet", "harc"))
    assert 0.4 > triplet[0] >= triplet[1] > 0.1  # towards w₀ / (1 + term)
    assert 0.3 >= harc[0] >= harc[1] > 0.1
    with killed_in(1):
        assert train_command(*args, "--output", tmp_path / "cut") == 130
    assert train_command(*args, "--output", tmp_path / "cut", "--resume") == 0
    assert rows(tmp_path / "cut" / "history.csv") == history


def test_resume_refuses_other_images(run, tmp_path, train_command, capsys):
    folder, data, args = run
    shutil.copytree(folder, tmp_path / "run")
    shutil.copytree(data, tmp_path / "heads")
    moved = {folder: tmp_path / "run", data: tmp_path / "heads"}
    args = [moved.get(a, a) if not isinstance(a, str | int) else a for a in args]
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(data), str(tmp_path / "heads")))
    assert train_command(*args, "--resume") == 0
    (tmp_path / "heads" / "Normal" / "0.png").unlink()
    assert train_command(*args, "--resume") == 2
    assert "folds.csv: the images, their labels or their folds are not what they were" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 11])
def test_schedule_of_any_length(steps):
    from madrnet_timm.training.optimizer import create_optimizer, create_scheduler

    recipe = Recipe()
    model = timm.create_model("madrnet_test_resnet", num_classes=4)
    optimizer = create_optimizer(model, HybridLoss(4, 0), recipe)
    names = {group["name"] for group in optimizer.param_groups}
    assert names == {p + s for p in ("backbone", "reversible", "head") for s in ("", "_no_decay")}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))
    scheduler = create_scheduler(optimizer, recipe, steps)
    highest = dict.fromkeys(names, 0.0)
    for _ in range(steps):
        for group in optimizer.param_groups:
            highest[group["name"]] = max(highest[group["name"]], group["lr"])
        optimizer.step()
        if scheduler.last_epoch < steps - 1:
            scheduler.step()
    if steps == 10:
        assert highest["backbone"] == pytest.approx(recipe.lr_backbone)
        assert highest["reversible"] == pytest.approx(recipe.lr_reversible)
        assert highest["head_no_decay"] == pytest.approx(recipe.lr_head)


def test_folders_are_replaced_whole(tmp_path):
    from madrnet_timm.files import replacing_folder, settle_folder

    path = tmp_path / "model"
    for text in ("first", "second"):
        with replacing_folder(path) as beside:
            (beside / "a").write_text(text)

    def half() -> None:
        with replacing_folder(path) as beside:
            (beside / "a").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert (path / "a").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    path.rename(tmp_path / ".model.old")  # killed between the two renames
    settle_folder(path)
    assert (path / "a").read_text() == "second"


def test_tsne_shows_what_was_held_out(run, tmp_path, madrnet):
    """The images of the other fold are pale, and nothing is where nobody can tell what a model has seen."""
    folder, data, _ = run
    seen = RunFolder(folder).trained_on()
    assert seen == {row["pixel_sha256"] for row in rows(folder / "folds.csv") if row["fold"] == "1"}
    shutil.copytree(folder / "model", tmp_path / "model")
    (tmp_path / "model" / "seen.csv").unlink()  # as a model that does not say it
    colours = []
    for name, model in (("run", folder / "model"), ("alone", tmp_path / "model")):
        words = ("--dataset", "folder", "--data-dir", data, "--output", tmp_path / f"{name}.png")
        result = madrnet("tsne", "--model", model, *words)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"{tmp_path / name}.png: t-SNE of ")
        with Image.open(tmp_path / f"{name}.png") as opened:
            colours.append(np.asarray(opened.convert("RGB")).reshape(-1, 3))
    # C0 at 20 % on white: there beside the run alone
    pale = [(np.abs(c - np.array([210, 228, 240])).max(axis=1) <= 2).sum() for c in colours]
    assert pale[0] > 50
    assert pale[1] < 10


def test_two_processes(tmp_path, heads):
    """Accelerate's launcher with two processes: every held-out image counted once."""
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "madrnet_timm.commands.train", "--dataset", "folder", "--data-dir", str(heads),
        "--output", str(tmp_path / "run"), *SMALL, "--batch-size", "4", "--epochs", "1", "--workers", "1",
    ]  # fmt: skip
    subprocess.run(command, env=env, check=True, timeout=300)
    predictions = rows(tmp_path / "run" / "predictions.csv")
    assert len(predictions) == 8
    assert len({row["file"] for row in predictions}) == 8
    own = Classifier(tmp_path / "run" / "model")([heads / row["file"] for row in predictions])
    temperature = Classifier(tmp_path / "run" / "model").calibration.temperature
    for row, prediction in zip(predictions, own, strict=True):  # both processes scored the model that is saved
        expected = tempered([[float(row["p_Normal"]), float(row["p_Tapered"])]], temperature)[0, 0]
        assert prediction.probabilities["Normal"] == pytest.approx(expected, abs=1e-4)
    total = np.sum(json.loads((tmp_path / "run" / "metrics.json").read_text())["confusion_matrix"])
    assert total == 8


def test_balanced_batches_and_class_weights(tmp_path, train_command):
    """A rare class: in every batch by --samples-per-class, and counted as much as the other by --class-weights."""
    from madrnet_timm.training import setup
    from madrnet_timm.training.batch_loss import BatchLoss

    data = write_heads(tmp_path / "heads", per_class=12)
    for path in sorted((data / "Tapered").iterdir())[4:]:
        path.unlink()
    seen, weights = [], []
    plain, create = BatchLoss.__call__, setup._create_criterion

    def loss(self, batch):
        seen.append(batch["label"].tolist())
        return plain(self, batch)

    def criterion(*args):
        out = create(*args)
        weights.append(out.cross_entropy.weight.tolist())
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchLoss, "__call__", loss)
        patch.setattr(setup, "_create_criterion", criterion)
        arguments = ["--dataset", "folder", "--data-dir", data, "--output", tmp_path / "run", *SMALL, "--epochs", 2]
        arguments += ["--batch-size", 4, "--samples-per-class", 2, "--class-weights", "balanced", "--workers", 1]
        assert train_command(*arguments) == 0
    assert all(sorted(batch) == [0, 0, 1, 1] for batch in seen)
    assert weights[0] == pytest.approx([8 / (2 * 6), 8 / (2 * 2)])  # six and two of the training images


def test_protocols_and_files_of_folds(tmp_path, heads, train_command):
    """--protocol image-level, and --folds FILE with an image that it leaves out."""
    base = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--epochs", 1]
    assert train_command(*base, "--output", tmp_path / "a", "--protocol", "image-level") == 0
    assert "protocol image-level" in (tmp_path / "a/model/README.md").read_text()
    listed = [f"{name}/{i}.png,{i % 2}" for name in ("Normal", "Tapered") for i in range(8)][1:]
    (tmp_path / "folds.csv").write_text("\n".join(["file,fold", *listed]) + "\n")
    assert train_command(*base, "--output", tmp_path / "b", "--folds", tmp_path / "folds.csv", "--fold", 1) == 0
    held_out = {row["file"] for row in rows(tmp_path / "b/predictions.csv")}
    assert held_out == {f"{name}/{i}.png" for name in ("Normal", "Tapered") for i in (1, 3, 5, 7)}
    assert len(rows(tmp_path / "b/folds.csv")) == 15
    assert "folds from folds.csv; they divide no cell" in (tmp_path / "b/model/README.md").read_text()


def test_nothing_is_promised_by_a_cell_that_was_trained_on(tmp_path, train_command):
    heads = write_heads(tmp_path / "heads")
    shutil.copy(heads / "Normal/1.png", heads / "Normal/8.png")
    files = [f"{name}/{i}.png" for name in ("Normal", "Tapered") for i in range(8)]
    listed = [f"{file},{i % 2}" for i, file in enumerate(files)] + ["Normal/8.png,0"]
    (tmp_path / "folds.csv").write_text("\n".join(["file,fold", *listed]) + "\n")
    options = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--epochs", 1, "--folds", tmp_path / "folds.csv"]
    assert train_command(*options, "--output", tmp_path / "run", "--fold", 1) == 0
    predictions = rows(tmp_path / "run/predictions.csv")
    assert {row["file"] for row in predictions} == set(files[1::2])
    cells = [row["file"] for row in predictions if row["aspect_ratio"] and row["file"] != "Normal/1.png"]
    assert ModelFolder(tmp_path / "run/model").info.guarantee.cells == len(cells)
    assert len(cells) >= 5


def test_where_nothing_is_held_out_a_class_may_be_small(tmp_path, train_command):
    heads = write_heads(tmp_path / "heads")
    for number in range(2, 8):
        (heads / "Tapered" / f"{number}.png").unlink()
    options = ["--dataset", "folder", "--data-dir", heads, *SMALL[:-2], "--epochs", 1]
    assert train_command(*options, "--output", tmp_path / "run", "--fold", "none") == 0
    assert len(rows(tmp_path / "run/folds.csv")) == 10
    assert RunFolder(tmp_path / "run").trained_on() == {row["pixel_sha256"] for row in rows(tmp_path / "run/folds.csv")}
