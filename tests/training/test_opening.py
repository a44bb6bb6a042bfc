"""What a training says before it begins, what it refuses to begin with, and that it has its folder for itself."""

import os
import signal
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from madrnet_timm.commands.training_arguments import add_arguments
from madrnet_timm.errors import InputError
from madrnet_timm.hub.timm_weights import check_timm_weights
from madrnet_timm.training import run_folder
from madrnet_timm.training.finite import check_loss, check_weights
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_checks import check
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.run_folder import RunFolder
from madrnet_timm.training.threads import cores, few_threads, threads_for
from madrnet_timm.training.training_command import training_command

from .conftest import SMALL, killed_in, rows, write_heads

HUB = Path(__file__).parents[2] / "hub"
PUBLISHED = "madrnet_tf_efficientnet_lite0.hushem"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (PUBLISHED, f"give --model madrnet_tf_efficientnet_lite0 --weights {PUBLISHED} to start from them, or --model"),
        ("madrnet_resnet18.a1_in1k", "no published model has the tag a1_in1k; give --model madrnet_resnet18 with"),
        ("resnet18.a1_in1k", "loaded with --pretrained-backbone only; add it, or --model resnet18 alone"),
        ("hf-hub:someone/heads", "to start from a model, give --weights hf-hub:someone/heads"),
    ],
)
def test_a_tag_names_weights_which_the_option_model_does_not_load(model, words, tmp_path):
    with pytest.raises(InputError) as raised:
        check(RunConfig(model, "folder", tmp_path))
    assert f"--model {model}: " in str(raised.value)
    assert words in str(raised.value)


def test_weights_by_model_arguments_are_refused(tmp_path):
    options = RunConfig("madrnet_resnet18", "folder", tmp_path, model_kwargs={"pretrained_backbone": True})
    with pytest.raises(InputError, match="--model-kwargs pretrained_backbone: say that with --pretrained-backbone"):
        check(options)


def test_weights_that_can_not_be_had_are_said_at_once(tmp_path):
    """With the way out; timm itself asks the Hub again and again."""
    asked = replace(RunConfig("madrnet_resnet18", "folder", tmp_path), pretrained_backbone=True)
    with pytest.raises(InputError) as raised:
        check(asked)
    assert "--pretrained-backbone: timm/resnet18.a1_in1k is not in the cache, and HF_HUB_OFFLINE" in str(raised.value)
    assert "give it with --backbone-weights FILE" in str(raised.value)
    with pytest.raises(InputError, match="timm has no weights for efficientnet_b8"):
        check_timm_weights("madrnet_efficientnet_b8")
    missing = RunConfig("madrnet_resnet18", "folder", tmp_path, backbone_weights=tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"no such weights file; timm's are .* https://huggingface.co/timm/resnet18"):
        check(missing)


def test_a_madrnets_file_without_its_folder_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(load_file(HUB / PUBLISHED / "model.safetensors"), file)
    options = RunConfig("madrnet_tf_efficientnet_lite0", "folder", tmp_path, backbone_weights=file)
    with pytest.raises(InputError, match="nobody can tell what it was trained on"):
        check(options)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_seeds_that_numpy_does_not_take(seed, tmp_path):
    with pytest.raises(InputError, match=rf"--seed {seed}: expected a number from 0 to 4294967295"):
        check(RunConfig("madrnet_resnet18", "folder", tmp_path, seed=seed))
    check(RunConfig("madrnet_resnet18", "folder", tmp_path, seed=2**32 - 1))


@pytest.mark.parametrize("name", ["margin", "lr_head", "alpha", "clip_grad", "weight_decay", "distill_temperature"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_recipes_hold_finite_numbers(name, value):
    with pytest.raises(InputError, match=rf"--{name.replace('_', '-')} {value}: expected a finite number"):
        Recipe(**{name: value})


def test_a_begun_run_goes_on_with_newer_options(tmp_path):
    """What its config.yaml lacks has the default; another value is another run."""
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path / "run", folds=2)
    old = options.to_dict()
    for key in ("class_weights", "views", "normal_class", "leave_out_seen", "mixed_precision"):
        del old[key]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(old))
    folder = RunFolder(tmp_path / "run")
    folder.check(replace(options, resume=True))
    assert folder.read_config() == options
    other = replace(options, recipe=Recipe(class_weights="balanced"))
    with pytest.raises(InputError, match="that run has class_weights = none, not balanced"):
        folder.check(replace(other, resume=True))


def test_a_run_with_options_that_are_gone_is_read_but_not_continued(tmp_path):
    """Distillation on images without labels."""
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path / "run", folds=2)
    old = options.to_dict() | {"unlabelled": ["/more"], "unlabelled_batch": 32}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(old))
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run" / "unlabelled.csv").write_text("pixel_sha256\nx\n")
    assert folder.read_config() == options
    with pytest.raises(InputError, match="that run learned from images without labels, too, which is gone"):
        folder.check(replace(options, resume=True))


def test_old_spellings_in_a_config(tmp_path):
    recipe = Recipe(samples_per_class=4)
    config = RunConfig("madrnet_test_resnet", "folder", tmp_path, protocol="image-level", folds=2, recipe=recipe)
    old = config.to_dict() | {"per_class": 4, "protocol": "published", "recipe": "quick"}  # the last one is no option's
    del old["samples_per_class"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    assert RunConfig.read(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--per-class", "4"], "argument --per-class: is now --samples-per-class"),
        (["--protocol", "published"], "argument --protocol: --protocol published is now image-level"),
    ],
)
def test_old_spellings_on_the_command_line(given, words, capsys):
    parser = ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(given)
    assert words in capsys.readouterr().err
    assert "--per-class" not in parser.format_help().replace("--samples-per-class", "")


@pytest.mark.parametrize("content", ["a: [", "just words", "[1, 2]", "\x00"])
def test_a_damaged_config_is_one_line(content, tmp_path):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(InputError, match=r"config\.yaml: (can't be read|not the config of a run)"):
        RunFolder(tmp_path).read_config()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": "many"}, "epochs = 'many'; expected a whole number"),
        ({"epochs": -1}, "--epochs -1: expected more than 0"),
        ({"seed": True}, "seed = True; expected a whole number"),
        ({"folds": [2]}, r"folds = \[2\]; expected a whole number or a path"),
        ({"teachers": "runs/a"}, "teachers = 'runs/a'; expected a list of texts"),
        ({"alpha": float("nan")}, "alpha = nan; expected a number"),
        ({"model": None}, "model is missing"),
        ({"model_kwargs": 3}, "model_kwargs = 3; expected names and values"),
    ],
)
def test_a_value_that_no_run_can_have_is_one_line(change, words, tmp_path):
    config = RunConfig("madrnet_test_resnet", "folder", tmp_path, teachers=(str(tmp_path / "t"),), weights="hf-hub:a/b")
    config.write(tmp_path / "config.yaml")
    assert RunConfig.read(tmp_path / "config.yaml") == config
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict() | {"new": [1]} | change))
    with pytest.raises(InputError, match=rf"config\.yaml: {words}") as error:
        RunConfig.read(tmp_path / "config.yaml")
    assert "\n" not in str(error.value)


def test_the_command_names_no_path_of_this_machine(tmp_path):
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path, folds=tmp_path / "mine.csv")
    for weights in (f"local-dir:{tmp_path}/mine", str(tmp_path / "gone"), f"local-dir:{tmp_path}/cv/s/model"):
        command = training_command(replace(options, weights=weights), [0], "runs/x")
        assert "--folds mine.csv" in command
        assert str(tmp_path) not in command
    assert "--normal-class ok --" in training_command(replace(options, normal_class="ok"), [0], "runs/x")


def test_threads(monkeypatch):
    assert [threads_for(112, available) for available in (1, 2, 4, 8, 64)] == [1, 1, 2, 4, 4]
    assert [threads_for(512, available) for available in (1, 2, 64)] == [1, 2, 64]
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    with few_threads(112) as words:
        assert torch.get_num_threads() == threads_for(112, cores())
        assert words.startswith(f"{torch.get_num_threads()} of {cores()} cores (OMP_NUM_THREADS=N")
    assert torch.get_num_threads() == before


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_found():
    recipe, fine = Recipe(lr_head=1e30), torch.tensor(1.0)
    check_loss(fine, fine, 0, 0, recipe)
    with pytest.raises(
        InputError, match=r"epoch 3, step 5: the loss \(nan\) is not finite.* lower a learning rate \(--lr-h"
    ):
        check_loss(torch.tensor(torch.nan, requires_grad=True), None, 2, 4, recipe)
    with pytest.raises(InputError, match="epoch 3, step 5: the gradient is not finite"):
        check_loss(fine, torch.tensor(torch.inf), 2, 4, recipe)
    norm = torch.nn.BatchNorm1d(3)
    check_weights(norm, 0, recipe)
    norm.running_var[1] = torch.inf
    with pytest.raises(InputError, match="epoch 1: running_var is not finite"):
        check_weights(norm, 0, recipe)


def test_a_training_out_of_bounds_is_stopped_and_nothing_is_shipped(tmp_path, heads, train_command, capsys):
    args = ["--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 2, "--lr-head", 1e30]
    assert train_command(*args) == 2
    err = capsys.readouterr().err
    assert (
        "is not finite, so that the training is stopped and no model is written; lower a learning rate (--lr-he" in err
    )
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_the_first_lines_and_no_bar_in_a_file(tmp_path, heads, train_command, capsys):
    """The data set is told from the folder; a batch that is too large, a run without checkpoint: said."""
    args = ["--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 1, "--batch-size", 64]
    with killed_in(0):
        assert train_command(*args) == 130
    out = capsys.readouterr()
    assert f"{heads}: taken as --dataset folder (one folder of images per class)" in out.err
    for line in (
        "model: madrnet_test_resnet, starts from random numbers",
        "training on 8 images of own folder: 4 Normal, 4 Tapered",
        "measuring on the 8 of fold 0 of 2: 4 Normal, 4 Tapered",
        "--batch-size 64 is more than there are: 8 images per step",
        "threads: ",
    ):
        assert line in out.out
    assert train_command(*args, "--resume") == 0
    out = capsys.readouterr()
    assert "no checkpoint was written yet: starts again with the first epoch" in out.out
    assert out.out.count("epoch   1/1  loss") == 1
    assert "%|" not in out.err + out.out
    assert "Generating" not in out.err


def test_a_normal_class_of_any_case_or_name(tmp_path, train_command, capsys):
    data = write_heads(tmp_path / "heads")
    (data / "Normal").rename(data / "normal")
    args = ["--data-dir", data, *SMALL, "--epochs", 1]
    assert train_command(*args, "--output", tmp_path / "a") == 0
    assert "loss_harc" in rows(tmp_path / "a" / "history.csv")[0]
    (data / "normal").rename(data / "typical")
    assert train_command(*args, "--output", tmp_path / "b", "--normal-class", "Typical") == 0
    assert "loss_harc" in rows(tmp_path / "b" / "history.csv")[0]
    config = yaml.safe_load((tmp_path / "b" / "model" / "config.json").read_text())
    assert config["madrnet"]["normal_class"] == "typical"
    assert train_command(*args, "--output", tmp_path / "c", "--normal-class", "fine") == 2
    assert "--normal-class fine: no such class; expected one of Tapered, typical" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


HOLD = """
import sys, time
from madrnet_timm.training.run_folder import RunFolder
folder = RunFolder(sys.argv[1])
folder.lock()
print("locked", flush=True)
time.sleep(300)
"""


def test_two_trainings_in_one_folder(tmp_path, heads, train_command, capsys, monkeypatch):
    """One of them is refused; a training that was killed keeps nobody out."""
    monkeypatch.setattr(run_folder, "_LOCK_SECONDS", 0.2)
    args = ["--data-dir", heads, "--output", tmp_path / "run", *SMALL, "--epochs", 1]
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        assert train_command(*args) == 2
        assert "another training is running in it; wait for its end" in capsys.readouterr().err
        assert not (tmp_path / "run" / "config.yaml").exists()
        os.kill(other.pid, signal.SIGKILL)
    assert train_command(*args) == 0
    with pytest.raises(InputError, match="holds another run"):  # what began meanwhile is not written over
        RunFolder(tmp_path / "run").begin(RunConfig("x", "folder", tmp_path), rows(tmp_path / "run" / "folds.csv"))
