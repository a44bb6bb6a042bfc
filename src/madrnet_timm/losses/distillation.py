"""Distillation: a student follows the probabilities and the embeddings of one teacher or several."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Distillation"]


class Distillation(nn.Module):
    """What a student's logits and embeddings differ by from those of its teachers.

    ``probabilities``: ``T² · KL(mean_k softmax(t_k / T) ‖ softmax(s / T))`` (Hinton, Vinyals, Dean 2015), T² so that
    its gradient keeps its size whatever T is; ``embedding``: one minus the cosine of the student's embedding and the
    mean of the teachers' unit embeddings, 0 where their widths differ from the student's.

    Args:
        temperature: T, above 0.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature}: expected more than 0")
        self.temperature = temperature

    def forward(
        self,
        logits: torch.Tensor,
        embeddings: torch.Tensor,
        teacher_logits: Sequence[torch.Tensor],
        teacher_embeddings: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Logits ``(batch, classes)`` and embeddings ``(batch, dim)`` of the student and of each teacher to two "
        "scalars."""
        t = self.temperature
        target = torch.stack([(value.float() / t).softmax(dim=1) for value in teacher_logits]).mean(dim=0)
        student = (logits.float() / t).log_softmax(dim=1)
        parts = {"probabilities": t * t * F.kl_div(student, target, reduction="batchmean")}
        fitting = [F.normalize(value.float(), dim=1) for value in teacher_embeddings if value.shape == embeddings.shape]
        if fitting:
            mean = torch.stack(fitting).mean(dim=0)
            parts["embedding"] = (1 - F.cosine_similarity(embeddings.float(), mean, dim=1)).mean()
        else:
            parts["embedding"] = 0 * embeddings.sum()
        return parts
