"""Loss terms against loops in float64 and, as an oracle, pytorch-metric-learning."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning import distances, losses, reducers
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import nn
from torch.nn import functional as F

from madrnet_timm.losses import HARC, BatchAllTriplet, HybridLoss


def loop_triplet(embeddings, target, margin, reduction):
    values = []
    n = len(target)
    unit = [e / math.sqrt(float((e * e).sum())) for e in embeddings]
    for a in range(n):
        for p in range(n):
            for q in range(n):
                if a != p and target[a] == target[p] and target[a] != target[q]:
                    d_ap, d_an = 1 - float(unit[a] @ unit[p]), 1 - float(unit[a] @ unit[q])
                    values.append(max(d_ap - d_an + margin, 0.0))
    if reduction == "nonzero":
        values = [v for v in values if v > 0]
    return sum(values) / len(values) if values else 0.0


def test_triplet_under_autocast_is_that_of_float32():
    """Nearly alike embeddings, as early in training: their distances differ by less than a step of bfloat16."""
    torch.manual_seed(0)
    embeddings = (torch.randn(1, 32) + 0.05 * torch.randn(24, 32)).requires_grad_()
    target = torch.arange(24) % 3
    expected = BatchAllTriplet()(embeddings, target)
    with torch.autocast("cpu", torch.bfloat16):
        found = BatchAllTriplet()(embeddings, target)
    assert torch.equal(found, expected)
    ours, theirs = (torch.autograd.grad(loss, embeddings)[0] for loss in (found, expected))
    assert torch.equal(ours, theirs)


def test_triplet_keeps_no_more_than_a_part(monkeypatch):
    """Bytes held for the backward pass: by the square of the batch, not its cube."""

    def kept(batch):
        total = 0

        def pack(x):
            nonlocal total
            total += x.numel() * x.element_size()
            return x

        embeddings, target = torch.randn(batch, 8, requires_grad=True), torch.arange(batch) % 4
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = BatchAllTriplet()(embeddings, target)
        loss.backward()
        return total

    monkeypatch.setattr("madrnet_timm.losses.triplet._CHUNK", 2**12)
    assert kept(128) < 4.5 * kept(64) < 4.5 * 64**2 * 30


@pytest.mark.parametrize("reduction", ["mean", "nonzero"])
@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_triplet_is_equation_13(reduction, margin):
    embeddings = torch.randn(11, 5, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 0, 1, 1, 2, 0, 0, 3, 1])
    value = BatchAllTriplet(margin, reduction)(embeddings, target)
    assert float(value) == pytest.approx(loop_triplet(embeddings, target, margin, reduction), rel=1e-12)


@pytest.mark.parametrize(
    ("reduction", "reducer"), [("mean", reducers.MeanReducer), ("nonzero", reducers.AvgNonZeroReducer)]
)
def test_triplet_agrees_with_pytorch_metric_learning(reduction, reducer):
    embeddings, target = torch.randn(24, 16), torch.randint(0, 4, (24,))
    # their cosine similarity is inverted: larger is closer, as in 1 - d
    oracle = losses.TripletMarginLoss(margin=0.3, distance=distances.CosineSimilarity(), reducer=reducer())
    torch.testing.assert_close(BatchAllTriplet(0.3, reduction)(embeddings, target), oracle(embeddings, target))


@pytest.mark.parametrize("target", [[1, 1, 1], [0, 1, 2], [0]])
def test_no_valid_triplet_is_zero_with_a_graph(target):
    embeddings = torch.randn(len(target), 4, requires_grad=True)
    value = BatchAllTriplet()(embeddings, torch.tensor(target))
    assert float(value.detach()) == 0
    value.backward()
    assert embeddings.grad.abs().sum() == 0


def test_triplet_gradient():
    embeddings = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 0, 1, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda e: BatchAllTriplet(0.5)(e, target), (embeddings,))


def test_zero_embeddings_are_finite():
    embeddings = torch.zeros(4, 3, requires_grad=True)
    BatchAllTriplet()(embeddings, torch.tensor([0, 0, 1, 1])).backward()
    assert embeddings.grad.isfinite().all()


RATIOS = [1.5, 1.1, 2.4, float("nan"), 1.85, 1.8]
EXCESS = [0.0, 0.1, 0.6, 0.0, 0.05, 0.0]


def test_harc_coupled():
    logits = torch.randn(6, 4, dtype=torch.float64)
    expected = 0.0
    for row, excess in zip(logits, EXCESS, strict=True):
        exps = [math.exp(v) for v in row.tolist()]
        expected += exps[2] / sum(exps) * excess
    value = HARC(normal_class=2)(logits, torch.tensor(RATIOS, dtype=torch.float64))
    assert float(value) == pytest.approx(expected / 6, rel=1e-6)


def test_harc_literal_is_equation_14_and_teaches_nothing():
    logits = torch.randn(6, 4, requires_grad=True)
    value = HARC(0, "literal")(logits, torch.tensor(RATIOS))
    assert float(value.detach()) == pytest.approx(sum(EXCESS) / 6, rel=1e-5)
    value.backward()
    assert logits.grad.abs().sum() == 0


def test_harc_coupled_pushes_probability_off_normal():
    logits = torch.zeros(1, 4, requires_grad=True)
    HARC(1)(logits, torch.tensor([2.5])).backward()
    assert logits.grad[0, 1] > 0
    assert (logits.grad[0, [0, 2, 3]] < 0).all()


def test_hybrid_is_equations_11_and_12():
    logits, embeddings = torch.randn(8, 4, dtype=torch.float64), torch.randn(8, 5, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    ratio = torch.linspace(1.0, 2.6, 8, dtype=torch.float64)
    total, parts = HybridLoss(logits.shape[1], 0, alpha=0.7, beta=0.2)(logits, embeddings, target, ratio)
    assert list(parts) == ["cross_entropy", "triplet", "harc"]
    expected = F.cross_entropy(logits, target) + 0.7 * loop_triplet(embeddings, target, 0.3, "mean")
    expected = expected + 0.2 * HARC(0)(logits, ratio)
    assert float(total) == pytest.approx(float(expected), rel=1e-10)


def test_hybrid_without_a_normal_class():
    total, parts = HybridLoss(3, None)(torch.randn(4, 3), torch.randn(4, 5), torch.tensor([0, 1, 0, 1]), torch.ones(4))
    assert list(parts) == ["cross_entropy", "triplet"]
    torch.testing.assert_close(total, parts["cross_entropy"] + 0.4 * parts["triplet"])


def test_bad_arguments():
    with pytest.raises(ValueError, match="reduction='sum'"):
        BatchAllTriplet(reduction="sum")
    with pytest.raises(ValueError, match="form='strict'"):
        HARC(0, "strict")


@pytest.mark.parametrize("reduction", ["mean", "nonzero"])
def test_triplets_in_chunks_are_the_same(reduction, monkeypatch):
    embeddings, target = torch.randn(40, 8, dtype=torch.float64, requires_grad=True), torch.randint(0, 4, (40,))
    whole = BatchAllTriplet(0.3, reduction)(embeddings, target)
    expected = torch.autograd.grad(whole, embeddings)[0]
    monkeypatch.setattr("madrnet_timm.losses.triplet._CHUNK", 7 * 40 * 40)
    parts = BatchAllTriplet(0.3, reduction)(embeddings, target)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, embeddings)[0], expected)


def test_triplet_of_bfloat16_is_computed_in_float32():
    embeddings, target = torch.randn(12, 8).bfloat16(), torch.randint(0, 3, (12,))
    value = BatchAllTriplet()(embeddings, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, BatchAllTriplet()(embeddings.float(), target))


def test_learned_weights_settle_where_the_barrier_says():
    """``w₀ / (1 + term)``, for terms that stay as they are."""
    loss = HybridLoss(3, 0, alpha=0.4, beta=0.3, weights="learned")
    logits, embeddings = torch.randn(8, 3), torch.randn(8, 5)
    target, ratio = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), torch.tensor([1.0, 2.5, 1.5, 2.4, 0.9, 1.2, 2.2, 1.9])
    assert loss.weights() == pytest.approx({"triplet": 0.4, "harc": 0.3})
    total, parts = loss(logits, embeddings, target, ratio)
    fixed, _ = HybridLoss(3, 0)(logits, embeddings, target, ratio)
    torch.testing.assert_close(total, fixed)  # the barrier is zero at the start
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        loss(logits, embeddings, target, ratio)[0].backward()
        optimizer.step()
    expected = {"triplet": 0.4 / (1 + float(parts["triplet"])), "harc": 0.3 / (1 + float(parts["harc"]))}
    assert loss.weights() == pytest.approx(expected, rel=1e-3)


def test_other_losses_take_the_place_of_the_cross_entropy():
    logits, embeddings, target = torch.randn(6, 3), torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    for chosen in (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), LabelSmoothingCrossEntropy(0.1)):
        _, parts = HybridLoss(3, 0, cross_entropy=chosen)(logits, embeddings, target, torch.ones(6))
        torch.testing.assert_close(parts["cross_entropy"], chosen(logits, target))


def test_soft_targets():
    """Mixed targets, as timm's mixup makes them: the loss by the formula, the triplets by the larger class."""
    logits, embeddings = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    hard = torch.tensor([0, 1, 2, 0, 1, 2])
    soft = 0.7 * nn.functional.one_hot(hard, 3) + 0.3 * nn.functional.one_hot(hard.roll(1), 3)
    expected = -(soft * logits.log_softmax(1)).sum(1).mean()
    for chosen in (SoftTargetCrossEntropy(), nn.CrossEntropyLoss()):
        _, parts = HybridLoss(3, 0, cross_entropy=chosen)(logits, embeddings, soft, torch.ones(6))
        torch.testing.assert_close(parts["cross_entropy"], expected)
        torch.testing.assert_close(parts["triplet"], BatchAllTriplet(0.3)(embeddings, hard))


def test_bad_arguments_of_the_hybrid_loss():
    with pytest.raises(ValueError, match="normal_class=3"):
        HybridLoss(3, 3)
    with pytest.raises(ValueError, match="weights='free'"):
        HybridLoss(3, 0, weights="free")
    with pytest.raises(ValueError, match="can't be learned"):
        HybridLoss(3, 0, alpha=0.0, weights="learned")


def test_two_processes_have_the_loss_and_the_gradient_of_one():
    """Embeddings gathered with gradients: 2 × 32 equals 1 × 64, in float64."""
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.losses.distributed_loss"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]
    assert max(json.loads(run.stdout).values()) < 1e-12, run.stdout
