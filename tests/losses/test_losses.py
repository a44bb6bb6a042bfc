"""Loss terms against loops in float64 and, as an oracle, pytorch-metric-learning."""

import math

import pytest
import torch
from pytorch_metric_learning import distances, losses, reducers
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
    total, parts = HybridLoss(normal_class=0, alpha=0.7, beta=0.2)(logits, embeddings, target, ratio)
    assert list(parts) == ["cross_entropy", "triplet", "harc"]
    expected = F.cross_entropy(logits, target) + 0.7 * loop_triplet(embeddings, target, 0.3, "mean")
    expected = expected + 0.2 * HARC(0)(logits, ratio)
    assert float(total) == pytest.approx(float(expected), rel=1e-10)


def test_hybrid_without_a_normal_class():
    total, parts = HybridLoss(None)(torch.randn(4, 3), torch.randn(4, 5), torch.tensor([0, 1, 0, 1]), torch.ones(4))
    assert list(parts) == ["cross_entropy", "triplet"]
    torch.testing.assert_close(total, parts["cross_entropy"] + 0.4 * parts["triplet"])


def test_bad_arguments():
    with pytest.raises(ValueError, match="reduction='sum'"):
        BatchAllTriplet(reduction="sum")
    with pytest.raises(ValueError, match="form='strict'"):
        HARC(0, "strict")
