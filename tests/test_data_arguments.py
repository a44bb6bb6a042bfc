"""The data set that is meant where none is named."""

import argparse
import shutil

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.commands.data_arguments import add_data_arguments, add_fold_arguments, settle_dataset
from madrnet_timm.data.folds import assign_folds, divided_records
from madrnet_timm.data.sources import load, normal_class
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError


def told(capsys, *words):
    parser = argparse.ArgumentParser()
    add_data_arguments(parser)
    args = parser.parse_args([str(word) for word in words])
    settle_dataset(args)
    return args.dataset, capsys.readouterr().err


@pytest.fixture
def copy(hushem_dir, tmp_path):
    """Two images of each class of HuSHeM."""
    for folder in hushem_dir.iterdir():
        if folder.is_dir():
            (tmp_path / "data" / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:2]:
                shutil.copy(path, tmp_path / "data" / folder.name)
    return tmp_path / "data"


def test_the_data_set_is_told_from_its_folder(copy, tmp_path, capsys):
    name, said = told(capsys, "--data-dir", copy)
    assert (name, said) == ("hushem", f"{copy}: taken as --dataset hushem (its images are those of HuSHeM)\n")
    Image.fromarray(draw_head("Normal", 1).image).save(copy / "01_Normal" / "mine.png")
    name, said = told(capsys, "--data-dir", copy)
    assert name == "folder"
    assert "its folders are named like those of HuSHeM, but its images are others" in said
    assert told(capsys, "--data-dir", copy, "--dataset", "hushem") == ("hushem", "")
    (tmp_path / "own" / "a").mkdir(parents=True)
    assert told(capsys, "--data-dir", tmp_path / "own")[0] == "folder"
    np.save(tmp_path / "own" / "images.npy", np.zeros((2, 8, 8), np.uint8))
    assert told(capsys, "--data-dir", tmp_path / "own")[0] == "npy"
    assert told(capsys, "--data-dir", tmp_path / "nowhere")[0] == "folder"


def test_without_a_folder_heads_are_drawn_and_that_is_said(capsys, tmp_path):
    name, said = told(capsys)
    assert (name, said) == ("synthetic", "taken as --dataset synthetic (drawn heads, as no --data-dir is given)\n")
    with pytest.raises(InputError, match="the data set 'synthetic' is drawn, it has no folder"):
        load("synthetic", tmp_path)


def test_the_commands_take_it_so(copy, madrnet):
    run = madrnet("data", "stats", "--data-dir", copy)
    assert run.returncode == 0, run.stderr
    assert run.stderr == f"{copy}: taken as --dataset hushem (its images are those of HuSHeM)\n"  # and no bar
    run = madrnet("data", "folds", "--data-dir", copy, "--folds", 2, "--seed", -1)
    assert (run.returncode, run.stderr.splitlines()[-1]) == (
        2,
        "error: --seed -1: expected a number from 0 to 4294967295",
    )


@pytest.mark.parametrize("text", ["²", "２²", "x", ""])
def test_a_number_of_folds(text, capsys):
    parser = argparse.ArgumentParser()
    add_fold_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--folds", text])
    assert "expected a number of folds or a CSV file" in capsys.readouterr().err


def test_a_class_in_one_fold_alone_is_refused(copy, tmp_path):
    """Where that fold is held out, nothing is left to learn it from."""
    records = load("hushem", copy)
    lines = [f"{file},{int(label == 2 or number % 2)}" for number, (file, label) in
             enumerate(zip(records["file"], records["label"], strict=True))]  # fmt: skip
    (tmp_path / "folds.csv").write_text("\n".join(["file,fold", *lines]))
    with pytest.raises(InputError, match=r"folds\.csv: all images of the class Pyriform lie in fold 1, so that none"):
        divided_records("hushem", copy, folds=tmp_path / "folds.csv")
    (tmp_path / "folds.csv").write_text("\n".join(["file,fold", f"{records['file'][0]},²"]))
    with pytest.raises(InputError, match="line 2: fold '²', expected a number from 0"):
        assign_folds("hushem", records, folds=tmp_path / "folds.csv")


def test_the_class_of_normal_heads():
    assert normal_class(["a", "Normal", "normal"]) == "Normal"
    assert normal_class(["a", " NORMAL"]) == " NORMAL"
    assert normal_class(["normal", "NORMAL"]) is None  # which of them?
    assert normal_class(["Abnormal", "b"]) is None
    assert normal_class(["ok", "b"], "OK") == "ok"
    with pytest.raises(InputError, match="--normal-class fine: no such class; expected one of a, b"):
        normal_class(["a", "b"], "fine")
