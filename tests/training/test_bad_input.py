"""A user's mistakes: one clear line, exit status 2, nothing written."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from PIL import Image

from madrnet_timm.errors import InputError
from madrnet_timm.training.initial_weights import create_model
from madrnet_timm.training.run_config import RunConfig

from ..conftest import EXAMPLES
from .conftest import SMALL, rows


@pytest.fixture
def refused(tmp_path, heads, train_command, capsys):
    """Run with arguments that should be refused; returns the message."""

    def run(*args, data=heads, output=tmp_path / "run", dataset="folder", written=False):
        base = ["--dataset", dataset, "--data-dir", data, "--output", output, *SMALL, "--epochs", 1]
        assert train_command(*base, *args) == 2
        err = capsys.readouterr().err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, err
        if not written:
            assert not (tmp_path / "run").exists()
        return lines[0]

    return run


def test_too_many_of_a_class_for_the_images(refused, train_command, heads, tmp_path):
    """Eight images to train on; a batch of the recipe would hold more, so there is one of whole groups."""
    options = ("--batch-size", 12, "--samples-per-class", 12)
    assert "--samples-per-class 12: there are only 8 training images; choose fewer" in refused(*options)
    args = ["--dataset", "folder", "--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 1]
    assert train_command(*args, "--batch-size", 12, "--samples-per-class", 3) == 0


def test_missing_folder(refused, tmp_path):
    message = refused(data=tmp_path / "nowhere")
    assert "nowhere: no such folder; --data-dir expects" in message


def test_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: holds no folders; expected one folder of images per class" in refused(data=tmp_path / "empty")


def test_empty_class(refused, heads):
    (heads / "Pyriform").mkdir()
    assert "Pyriform: holds no images" in refused()


def test_no_data_dir(train_command, capsys):
    assert train_command("--dataset", "hushem") == 2
    assert "needs --data-dir" in capsys.readouterr().err


def test_one_class(refused, heads):
    for path in (heads / "Tapered").iterdir():
        path.unlink()
    (heads / "Tapered").rmdir()
    assert "only one class folder (Normal)" in refused()


def test_unknown_class_folder(refused, heads):
    message = refused(dataset="hushem")
    assert "Normal: not a class of HuSHeM; expected the folders 01_Normal, 02_Tapered" in message


@pytest.mark.parametrize("content", [b"", b"not an image", "truncated"])
def test_unreadable_image(refused, heads, content):
    path = heads / "Normal" / "3.png"
    path.write_bytes(path.read_bytes()[:900] if content == "truncated" else content)
    message = refused()
    assert f"{path}: can't read it as an image" in message
    assert "remove the file" in message


def test_all_unreadable_images_at_once(refused, heads, train_command, tmp_path, caplog):
    for name in ("Normal/3.png", "Tapered/0.png"):
        (heads / name).write_bytes(b"")
    assert "2 of 16 images can't be read:" in refused()
    run = tmp_path / "run"
    args = ["--dataset", "folder", "--data-dir", heads, "--output", run, *SMALL, "--epochs", 1, "--skip-unreadable"]
    assert train_command(*args) == 0
    assert "left out 2 of 16 images that can't be read" in caplog.text
    files = {row["file"] for row in rows(run / "folds.csv")}
    assert len(files) == 14
    assert not files & {"Normal/3.png", "Tapered/0.png"}
    assert train_command(*args, "--resume") == 0


def test_tiny_image(refused, heads):
    Image.new("RGB", (7, 30)).save(heads / "Normal" / "3.png")
    assert "3.png: 7×30 pixels, expected at least 8×8" in refused()


def test_learned_weights_of_a_part_that_is_off(refused):
    message = refused("--loss-weights", "learned", "--beta", 0)
    assert "--loss-weights learned with --alpha 0.4 and --beta 0.0: expected both above 0" in message


def test_too_few_groups_for_the_folds(refused):
    assert "class Normal: 8 groups of images" in refused("--folds", 9)


def test_unknown_model(refused):
    message = refused("--model", "madrnet_resnet51")
    assert "--model madrnet_resnet51: timm knows no such model; did you mean" in message
    assert "madrnet_resnet50" in message


def test_unknown_model_argument(refused):
    assert "--model-kwargs {'depths': 2}" in refused("--model-kwargs", "depths=2")


def test_model_that_can_not_be_made(refused):
    assert "can't be made" in refused("--model-kwargs", "norm_layer=nonsense")


def test_arguments_that_no_model_folder_carries(refused):
    assert "'features_only' is no argument that a model folder may carry" in refused(
        "--model-kwargs", "features_only=1"
    )
    assert "--model-kwargs pretrained: say that with --pretrained" in refused("--model-kwargs", "pretrained=True")


def test_a_bug_of_a_model_is_no_mistake_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(timm.models.resnet.ResNet, "forward", lambda model, x: model.nowhere)
    options = RunConfig("test_resnet", "synthetic", tmp_path / "run")
    with pytest.raises(AttributeError, match="nowhere"):
        create_model(options, ["a", "b"])
    with pytest.raises(InputError, match="can't be made") as told:
        create_model(replace(options, model_kwargs={"depth": 2}), ["a", "b"])
    assert isinstance(told.value.__cause__, TypeError)


def test_seed_folds_and_tracker(refused):
    assert "--seed -1: expected a number from 0 to 4294967295" in refused("--seed", -1)
    assert "--workers -1: expected 0 or more" in refused("--workers", -1)
    assert "--folds 1: expected at least 2" in refused("--folds", 1)
    assert "nonsense" in refused("--tracker", "nonsense")


def test_fold_out_of_range(refused):
    assert "--fold 2: expected 0 to 1" in refused("--fold", 2)


def test_hybrid_loss_for_a_plain_model(refused):
    assert "use --loss ce" in refused("--model", "test_resnet", "--loss", "hybrid")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--pipeline", "turned", "invalid choice: 'turned' (choose from"),
        ("--epochs", 0, "expected more than 0"),
        ("--label-smoothing", 1, "expected a number in [0, 1)"),
        ("--batch-size", 1, "expected at least 2"),
        ("--augmentation", "wild", "invalid choice: 'wild' (choose from"),
    ],
)
def test_recipe_out_of_range(refused, option, value, expected):
    assert expected in refused(option, value)


def test_weights_missing(refused, tmp_path):
    assert "none.safetensors: no such weights file" in refused("--backbone-weights", tmp_path / "none.safetensors")


def test_weights_pickled(refused, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'exploded'}",)

    torch.save({"w": Bomb()}, tmp_path / "weights.pth")
    assert "a pickled checkpoint, which is never opened" in refused("--backbone-weights", tmp_path / "weights.pth")
    assert not (tmp_path / "exploded").exists()


def test_weights_cut_off(refused, tmp_path, lite0_weights):
    (tmp_path / "cut.safetensors").write_bytes(lite0_weights.read_bytes()[:5000])
    assert "not a whole safetensors file" in refused("--backbone-weights", tmp_path / "cut.safetensors")


def test_weights_that_do_not_fit(refused, lite0_weights):
    message = refused("--backbone-weights", lite0_weights)
    assert "does not fit madrnet_test_resnet" in message
    assert "not in the file" in message


def test_output_holds_another_run(refused, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.yaml").write_text("model: other\ndataset: npy\n")
    assert "old: holds another run; choose another --output, or continue" in refused(output=tmp_path / "old")
    message = refused("--resume", output=tmp_path / "old")
    assert "--resume needs the same options" in message
    assert (tmp_path / "old" / "config.yaml").read_text() == "model: other\ndataset: npy\n"


def test_output_not_empty(refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert "mine: is not empty" in refused(output=tmp_path / "mine")


def test_nothing_to_resume(refused, tmp_path):
    assert "holds no run to --resume" in refused("--resume", output=tmp_path / "none")


def test_output_can_not_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "can't be written" in refused(output=tmp_path / "file" / "run")
    assert "is a file; --output expects a folder" in refused(output=tmp_path / "file")


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_full_disk_leaves_no_half_written_file(tmp_path, heads):
    """A limit on the size of files stands for the full disk: the tables fit, the checkpoint does not."""
    code = """
import resource, signal
from examples.train import main
from madrnet_timm.command import run_command
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
run_command(main)
"""
    args = ["--dataset", "folder", "--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 1]
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 2, run.stderr
    assert "checkpoint: can't be written" in run.stderr
    assert "Traceback" not in run.stderr
    left = {p.name for p in (tmp_path / "run").iterdir()}
    assert left <= {"config.yaml", "folds.csv", "history.csv", ".lock"}
