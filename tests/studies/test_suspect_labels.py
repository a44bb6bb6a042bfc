"""Suspect labels without the fold that is measured on: what is said by whom, targets, the command."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value

from examples.studies.suspect_labels import INNER_FOLDS, said_by_others, softened_targets, suspects_of, without
from madrnet_timm.training.division import Division
from tests.training.conftest import SMALL, rows, write_heads

SCRIPT = "studies/suspect_labels.py"
NAMES = ["a", "b"]
WRONG = [3, 40, 61]


@pytest.fixture
def division():
    """Ninety images in three folds, two of a cell, that one feature tells apart but for those of `WRONG`."""
    features = Features(
        {
            "label": ClassLabel(names=NAMES),
            "file": Value("string"),
            "group": Value("int64"),
            "pixel_sha256": Value("string"),
        }
    )
    numbers = range(90)
    true = [k // 2 % 2 for k in numbers]
    records = Dataset.from_dict(
        {
            "label": [1 - label if k in WRONG else label for k, label in zip(numbers, true, strict=True)],
            "file": [f"{k}.png" for k in numbers],
            "group": [k // 2 for k in numbers],
            "pixel_sha256": [f"{k * 37 % 90:02d}" for k in numbers],
        },
        features,
    )
    folds, nothing = np.repeat([0, 1, 2], 30), np.zeros(90, dtype=bool)
    return Division(records, folds, [], nothing, nothing, 0, None)


@pytest.fixture
def features(division):
    """One feature that follows the true class, and one without meaning."""
    true = np.array([k // 2 % 2 for k in range(90)])
    noise = np.random.default_rng(0).normal(size=(90, 2))
    return np.stack([2.0 * true, np.zeros(90)], axis=1) + 0.05 * noise


def test_what_an_image_is_said_to_be_comes_from_other_cells(division, features):
    labels = np.array(division.records["label"])
    said = said_by_others([features], division.records)
    assert said.sum(axis=1) == pytest.approx(1)
    assert np.flatnonzero(said.argmax(axis=1) != labels).tolist() == WRONG
    # features that tell nothing but the cell: whoever had learned from its other image would know the class
    said = said_by_others([np.eye(45)[division.records["group"]]], division.records)
    assert len(np.unique(said.round(6), axis=0)) <= INNER_FOLDS


def test_suspects_and_their_targets(division, features):
    suspect, said = suspects_of(0, division, [features])
    assert np.flatnonzero(suspect).tolist() == [40, 61]  # 3 is measured on
    assert np.isnan(said[:30]).all()
    assert not np.isnan(said[30:]).any()
    part = without(division, 0)
    assert np.flatnonzero(part.trained).tolist() == list(range(30, 90))
    assert np.flatnonzero(part.tested).tolist() == list(range(30))
    targets = softened_targets(part, suspect, said)
    labels = np.array(division.records["label"])
    expected = torch.eye(2)[labels[30:]]
    for image in (40, 61):
        expected[image - 30] = (expected[image - 30] + torch.tensor(said[image])) / 2
    torch.testing.assert_close(targets, expected)
    assert np.flatnonzero(suspects_of(1, division, [features])[0]).tolist() == [3, 61]


def test_the_command(example, tmp_path):
    heads, out = write_heads(tmp_path / "heads", per_class=9), tmp_path / "out"
    (heads / "Tapered" / "0.png").rename(heads / "Normal" / "9.png")
    command = ["--dataset", "folder", "--data-dir", heads, "--output", out, *SMALL, "--epochs", 2, "--folds", 3]
    run = example(SCRIPT, *command)
    assert run.returncode == 0, run.stderr
    for way in ("left-out", "softened"):
        table = rows(out / f"{way}.csv")
        assert len({row["file"] for row in table}) == len(table) == 18
        assert f"pooled: {sum(row['label'] == row['prediction'] for row in table)} of 18 right" in run.stdout
    folds = {row["file"]: row["fold"] for row in table}
    found = [row["file"] for path in out.glob("suspects-?.csv") for row in rows(path)]
    assert found.count("Normal/9.png") == 2  # not where it is measured on
    for path in out.glob("suspects-?.csv"):
        for row in rows(path):
            assert row["label"] != row["said"]
            assert folds[row["file"]] != path.stem[-1]
    assert all(path.is_file() for path in out.iterdir())
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-?.csv") if "suspects" not in path.name}
    assert len(before) == 6
    assert example(SCRIPT, *command).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is trained again
