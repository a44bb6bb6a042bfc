"""Training and prediction on a GPU; skipped where there is none."""

import numpy as np
import pytest
import torch

from madrnet_timm.inference import Classifier
from madrnet_timm.losses import HybridLoss

from .conftest import SMALL, killed_in, rows, write_heads

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.usefixtures("own_precision"),
]


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_trains_in_every_precision(tmp_path, train_command, monkeypatch, precision):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    data = write_heads(tmp_path / "heads", per_class=16)
    args = ["--dataset", "folder", "--data-dir", data, "--output", tmp_path / "run", *SMALL, "--epochs", 12]
    assert train_command(*args, "--workers", 2) == 0
    history, predictions = (rows(tmp_path / "run" / name) for name in ("history.csv", "predictions.csv"))
    assert float(history[-1]["loss_cross_entropy"]) < 0.75 * float(history[0]["loss_cross_entropy"])
    files = [data / row["file"] for row in predictions]
    on_cpu, on_gpu = (Classifier(tmp_path / "run" / "model", device=device)(files) for device in ("cpu", "cuda"))
    for a, b, row in zip(on_cpu, on_gpu, predictions, strict=True):
        assert np.allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=0.01)
        assert max(float(row["p_Normal"]), float(row["p_Tapered"])) < 0.6 or a.label == row["prediction"]


def test_continues_where_it_was(tmp_path, train_command):
    data = write_heads(tmp_path / "heads", per_class=8)
    args = ["--dataset", "folder", "--data-dir", data, "--output", tmp_path / "run", *SMALL, "--epochs", 3]
    with killed_in(2):
        assert train_command(*args) == 130
    assert train_command(*args, "--resume") == 0
    assert [int(row["epoch"]) for row in rows(tmp_path / "run" / "history.csv")] == [1, 2, 3]


def test_hybrid_loss_is_the_cpus():
    logits, embeddings = torch.randn(64, 4), torch.randn(64, 128)
    target, ratio = torch.randint(0, 4, (64,)), 1 + torch.rand(64)
    ratio[::7] = float("nan")
    values = []
    for device in ("cpu", "cuda"):
        inputs = [x.to(device) for x in (logits, embeddings, target, ratio)]
        total, parts = HybridLoss(4, 0).to(device)(*inputs)
        values.append([float(total), *map(float, parts.values())])
    assert values[1] == pytest.approx(values[0], rel=1e-4)
