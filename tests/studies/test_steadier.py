"""Averaged weights, mixup within a class: their values, and the command on drawn heads."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from examples.studies.steadier import TRAININGS, WAYS, mean_weights, mixed_within_class
from tests.training.conftest import SMALL, rows, write_heads

SCRIPT = "studies/steadier.py"


def test_the_mean_of_weights():
    torch.manual_seed(0)
    parts = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict() for _ in range(3)]
    for number, part in enumerate(parts):
        part["1.num_batches_tracked"] = torch.tensor(number + 5)
    found = mean_weights(parts)
    assert found["1.num_batches_tracked"] == 5
    expected = sum(part["0.weight"].double() for part in parts) / 3
    torch.testing.assert_close(found["0.weight"].double(), expected)
    assert found.keys() == parts[0].keys()


def test_images_are_mixed_with_others_of_their_class():
    rng = np.random.default_rng(0)
    values = torch.tensor([0, 100, 200, 250], dtype=torch.uint8)  # of each image, which is of one colour
    batch = {
        "image": values.view(4, 1, 1, 1).expand(4, 3, 2, 2),
        "label": torch.tensor([0, 0, 1, 2]),
        "aspect_ratio": torch.tensor([1.0, 2.0, float("nan"), 1.5], dtype=torch.float64),
    }
    for _ in range(20):
        mixed = mixed_within_class(batch, rng)
        assert mixed["image"].dtype == torch.uint8
        assert mixed["label"].tolist() == [0, 0, 1, 2]
        first, second, *alone = mixed["image"][:, 0, 0, 0].tolist()
        assert alone == [200, 250]  # there is no other of their class
        for value, ratio in zip((first, second), mixed["aspect_ratio"][:2].tolist(), strict=True):
            assert 0 <= value <= 100
            assert ratio == pytest.approx(1 + value / 100, abs=0.006)
        assert mixed["aspect_ratio"][2].isnan()
    assert (mixed["image"] == mixed["image"][:, :1, :1, :1]).all()
    many = [mixed_within_class(batch, rng)["image"][0, 0, 0, 0].item() for _ in range(400)]
    assert np.mean(np.array(many) == 0) > 0.5  # half with itself; the shares of the others are mostly near 0 or 1


def test_the_command(example, tmp_path):
    heads, out = write_heads(tmp_path / "heads", per_class=10), tmp_path / "out"
    command = ("--dataset", "folder", "--data-dir", heads, "--output", out, *SMALL, "--epochs", 4)
    run = example(SCRIPT, *command)
    assert run.returncode == 0, run.stderr
    tables = {way: rows(out / f"{way.replace(' ', '-')}.csv") for way in WAYS}
    places = [(row["fold"], row["file"], row["label"]) for row in tables["single"]]
    assert len(set(places)) == 20
    for way, table in tables.items():
        assert [(row["fold"], row["file"], row["label"]) for row in table] == places
        count = sum(row["label"] == row["prediction"] for row in table)
        assert f"{way:<14} {100 * count / 20:5.1f} %, {count} of 20, seeds 0, against single" in run.stdout
    shares = {way: np.array([float(row["p_Normal"]) for row in table]) for way, table in tables.items()}
    expected = np.mean([shares[training] for training in TRAININGS], axis=0)
    np.testing.assert_allclose(shares["three models"], expected, atol=2e-6)
    ends = [load_file(out / training / "seed0-fold0" / "end.safetensors") for training in TRAININGS]
    single, mixup, again = (end["classifier.weight"] for end in ends)
    assert not torch.equal(single, again)
    assert not torch.equal(again, mixup)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(before) == 12
    shutil.rmtree(out / "again" / "seed0-fold1")
    (out / "soup-of-three.csv").unlink()
    run = example(SCRIPT, *command, "--trainings", "mixup")
    assert run.returncode == 0, run.stderr
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert after.items() < before.items()  # nothing is trained again
    assert len(rows(out / "soup-of-two.csv")) == 20
    assert not (out / "soup-of-three.csv").exists()  # of a seed there are all folds, or none
