"""Suspect labels without the fold that is measured on: what is said by whom, targets, the command."""

from itertools import combinations

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value

from examples.studies.suspect_labels import said_without, softened_targets, suspects_of, without
from madrnet_timm.training.division import Division
from tests.training.conftest import SMALL, rows, write_heads

SCRIPT = "studies/suspect_labels.py"
NAMES = ["a", "b"]


@pytest.fixture
def division():
    """Twelve images in three folds."""
    features = Features({"label": ClassLabel(names=NAMES), "file": Value("string")})
    records = Dataset.from_dict({"label": [0, 1] * 6, "file": [f"{k}.png" for k in range(12)]}, features)
    folds, nothing = np.repeat([0, 1, 2], 4), np.zeros(12, dtype=bool)
    return Division(records, folds, [], nothing, nothing, 0, None)


def pairs_of(division, share):
    """Rows of the networks without two folds; ``share`` gives the probability of ``a`` from image and pair."""
    out = {}
    for pair in combinations(range(3), 2):
        held_out = np.flatnonzero(np.isin(division.folds, pair)).tolist()
        found = {i: share(i, pair) for i in held_out}
        out[pair] = [{"file": f"{i}.png", "p_a": f"{p}", "p_b": f"{1 - p}"} for i, p in found.items()]
    return out


def test_a_network_that_saw_the_fold_or_the_image_says_nothing(division):
    said = said_without(1, division, pairs_of(division, lambda i, pair: i / 100 + pair[0] / 1000 + pair[1] / 2000))
    assert np.isnan(said[4:8]).all()
    for image, pair in ((0, (0, 1)), (3, (0, 1)), (8, (1, 2)), (11, (1, 2))):  # its own fold and the one measured on
        assert said[image, 0] == pytest.approx(image / 100 + pair[0] / 1000 + pair[1] / 2000)
    assert said.sum(axis=1)[:4] == pytest.approx(1)


def test_suspects_and_their_targets(division):
    wrong = {3: 0.9, 4: 0.1, 8: 0.2}  # probability of a; 3 is called b, 4 and 8 are called a
    pairs = pairs_of(division, lambda i, _: wrong.get(i, 0.8 if i % 2 == 0 else 0.3))
    suspect, said = suspects_of(0, division, pairs)
    assert np.flatnonzero(suspect).tolist() == [4, 8]  # 3 is measured on
    part = without(division, [0])
    assert np.flatnonzero(part.trained).tolist() == list(range(4, 12))
    assert np.flatnonzero(part.tested).tolist() == list(range(4))
    targets = softened_targets(part, suspect, said)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 4)
    expected[0] = torch.tensor([(1 + 0.1) / 2, 0.9 / 2])
    expected[4] = torch.tensor([(1 + 0.2) / 2, 0.8 / 2])
    torch.testing.assert_close(targets, expected)
    assert np.flatnonzero(suspects_of(1, division, pairs)[0]).tolist() == [3, 8]


def test_the_command(example, tmp_path):
    heads, out = write_heads(tmp_path / "heads", per_class=9), tmp_path / "out"
    command = ["--dataset", "folder", "--data-dir", heads, "--output", out, *SMALL, "--epochs", 2, "--first-epochs", 2]
    run = example(SCRIPT, *command)
    assert run.returncode == 2
    assert run.stderr.endswith("--folds 2: without two of them nothing is left to train on; expected 3 or more\n")
    command += ["--folds", 3]
    run = example(SCRIPT, *command)
    assert run.returncode == 0, run.stderr
    for way in ("left-out", "softened"):
        table = rows(out / f"{way}.csv")
        assert len({row["file"] for row in table}) == len(table) == 18
        assert f"pooled: {sum(row['label'] == row['prediction'] for row in table)} of 18 right" in run.stdout
    for pair in combinations(range(3), 2):
        assert {row["file"] for row in rows(out / f"without-{pair[0]}-{pair[1]}.csv")} == {
            row["file"] for row in table if int(row["fold"]) in pair
        }
    assert all(path.is_file() for path in out.iterdir())
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-?.csv") if "suspects" not in path.name}
    assert len(before) == 9
    assert example(SCRIPT, *command).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is trained again
