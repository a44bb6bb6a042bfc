"""Distillation against formulas in float64."""

import numpy as np
import pytest
import torch

from madrnet_timm.losses import Distillation


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_parts_are_the_formulas(temperature):
    rng = np.random.default_rng(0)
    student, teachers = rng.normal(size=(5, 4)), rng.normal(size=(2, 5, 4))
    embedding, others = rng.normal(size=(5, 8)), rng.normal(size=(2, 5, 8))
    tensors = (torch.tensor(student), torch.tensor(embedding), [*torch.tensor(teachers)], [*torch.tensor(others)])
    found = Distillation(temperature)(*tensors)
    p = np.mean([softmax(t / temperature) for t in teachers], axis=0)
    q = softmax(student / temperature)
    assert found["probabilities"].item() == pytest.approx(temperature**2 * (p * np.log(p / q)).sum(1).mean(), rel=1e-5)
    mean = np.mean([o / np.linalg.norm(o, axis=1, keepdims=True) for o in others], axis=0)
    cosine = (embedding * mean).sum(1) / np.linalg.norm(embedding, axis=1) / np.linalg.norm(mean, axis=1)
    assert found["embedding"].item() == pytest.approx((1 - cosine).mean(), rel=1e-5)


def test_a_perfect_student_has_nothing_left_and_the_gradient_points_to_the_teacher():
    logits, embedding = torch.randn(6, 3), torch.randn(6, 8)
    found = Distillation()(logits, embedding, [logits], [embedding])
    assert all(abs(value.item()) < 1e-6 for value in found.values())
    student = torch.zeros(1, 3, requires_grad=True)
    teacher = torch.tensor([[3.0, 0.0, -3.0]])
    Distillation()(student, embedding[:1], [teacher], [embedding[:1]])["probabilities"].backward()
    assert student.grad[0, 0] < 0 < student.grad[0, 2]


def test_embeddings_of_another_width_are_left_out():
    embedding = torch.randn(4, 8, requires_grad=True)
    part = Distillation()(torch.randn(4, 3), embedding, [torch.randn(4, 3)], [torch.randn(4, 16)])["embedding"]
    part.backward()
    assert part.item() == 0
    assert (embedding.grad == 0).all()
    with pytest.raises(ValueError, match="temperature"):
        Distillation(0)
