"""A model on another data set: norms, figures, refusals."""

import csv
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch import nn

from examples.studies.generality import adapt_norms, figures, without_seen
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from tests.inference.conftest import write_model

SCRIPT = "studies/generality.py"
RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_norms_take_the_statistics_of_all_batches():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2), nn.BatchNorm1d(2)
    ).eval()
    batches = list((2 + 3 * torch.randn(4, 5, 3, 8, 8)).unbind())
    model(batches[0])
    adapt_norms(model, batches)
    maps = [model[0](batch).transpose(0, 1).flatten(1).double() for batch in batches]
    mean = torch.stack([m.mean(1) for m in maps]).mean(0)
    var = torch.stack([m.var(1) for m in maps]).mean(0)
    torch.testing.assert_close(model[1].running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[1].running_var.double(), var, rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in model.modules())


def test_figures_by_counting():
    rows = [
        {"label": label, "p": str(p)}
        for label, p in (("normal", 0.9), ("normal", 0.4), ("abnormal", 0.6), ("abnormal", 0.1), ("abnormal", 0.2))
    ]
    found = figures(rows, "p")
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["AUC"] == pytest.approx((3 + 2) / 6)  # pairs in which the normal head has the higher probability


def test_table_and_refusals(example, tmp_path):
    """Things that are no sperm, and images in one batch more than one, are no trouble; misuse is a line."""
    model = write_model(tmp_path / "model")
    for label, name in enumerate(("Normal", "Tapered")):
        (tmp_path / "heads" / name).mkdir(parents=True)
        for index in range(4 + label):
            Image.fromarray(draw_head(name, 10 * label + index).image).save(tmp_path / "heads" / name / f"{index}.png")
    base = ("--model", model, "--dataset", "folder", "--data-dir", tmp_path / "heads", "--output", tmp_path / "out.csv")
    run = example(SCRIPT, *base, "--batch-size", 4)
    assert run.returncode == 0, run.stderr
    with (tmp_path / "out.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["label"] for row in rows] == ["normal"] * 4 + ["abnormal"] * 5
    assert any(row["normal"] != row["normal_adapted"] for row in rows)
    for more, words in (
        (("--batch-size", 1), "--batch-size 1: expected at least 2"),
        (("--dataset", "synthetic"), "--data-dir"),
        (("--normal-class", "fine"), "--normal-class fine: no such class"),
    ):
        run = example(SCRIPT, *base, *more)
        assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
        assert words in run.stderr


def test_images_that_the_model_was_trained_on(example, hushem_dir, tmp_path):
    """HuSHeM's own under other names, as somebody's folder: refused, or left out and said."""
    for folder, name in (("01_Normal", "Normal"), ("02_Tapered", "Tapered")):
        (tmp_path / "heads" / name).mkdir(parents=True)
        for number, path in enumerate(sorted((hushem_dir / folder).iterdir())[:4]):
            shutil.copy(path, tmp_path / "heads" / name / f"mine{number}{path.suffix}")
        Image.fromarray(draw_head(name, 7).image).save(tmp_path / "heads" / name / "other.png")
    base = ("--model", "madrnet_tf_efficientnet_lite0.hushem", "--data-dir", tmp_path / "heads")
    run = example(SCRIPT, *base)
    assert run.returncode == 2
    assert "--model madrnet_tf_efficientnet_lite0.hushem: was trained on 8 of the 10 images" in run.stderr
    run = example(SCRIPT, *base, "--leave-out-seen", "--output", tmp_path / "out.csv")
    assert run.returncode == 0, run.stderr
    assert "left out: 8 of 10 images" in run.stderr
    with (tmp_path / "out.csv").open(newline="") as opened:
        assert [row["file"] for row in csv.DictReader(opened)] == ["Normal/other.png", "Tapered/other.png"]


def test_what_is_stored_is_what_the_command_writes(example, hushem_dir, tmp_path):
    """docs/results/smids-on-hushem.csv, with this checkout's model and code."""
    name, out = "madrnet_tf_efficientnet_lite0.smids", tmp_path / "out.csv"
    run = example(SCRIPT, "--model", name, "--dataset", "hushem", "--data-dir", hushem_dir, "--output", out)
    assert run.returncode == 0, run.stderr
    tables = []
    for path in (out, RESULTS / "smids-on-hushem.csv"):
        with path.open(newline="") as opened:
            tables.append({row["file"]: row for row in csv.DictReader(opened)})
    assert tables[0].keys() == tables[1].keys()
    for file, row in tables[0].items():
        for key in ("normal", "normal_adapted"):
            assert float(row[key]) == pytest.approx(float(tables[1][file][key]), abs=0.01)


def test_cells_of_which_an_image_was_seen_are_left_out_whole():
    records = Dataset.from_dict({"pixel_sha256": list("abcd"), "group": [0, 0, 1, 2]})
    args = Namespace(model="m", leave_out_seen=True)
    assert without_seen(records, {"a", "z"}, args)["pixel_sha256"] == ["c", "d"]
    with pytest.raises(InputError, match="has seen the cells of all 4 images"):
        without_seen(records, {"a", "c", "d"}, args)
