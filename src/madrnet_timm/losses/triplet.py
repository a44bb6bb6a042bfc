"""Triplet loss over all triplets of a batch, eq. 13."""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["BatchAllTriplet"]


class BatchAllTriplet(nn.Module):
    """Mean of ``max(d(a, p) - d(a, n) + margin, 0)`` over all valid triplets of a batch (eq. 13).

    Valid are a and p of one class, a ≠ p, and n of another. ``d(u, v) = 1 - cos(u, v)``, a choice: the paper calls d
    the cosine similarity, but eq. 13 needs a distance. So is the margin, which the paper does not print.

    Args:
        margin: Wanted difference of the distances.
        reduction: ``"mean"`` over all valid triplets, as eq. 13 says; ``"nonzero"`` over those above zero.
    """

    def __init__(self, margin: float = 0.3, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "nonzero"):
            raise ValueError(f"reduction={reduction!r}: expected 'mean' or 'nonzero'")
        self.margin = margin
        self.reduction = reduction

    def forward(self, embeddings: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(batch, dim)`` and classes ``(batch,)`` to a scalar; 0 (with a graph) without a triplet."""
        unit = F.normalize(embeddings if embeddings.dtype == torch.float64 else embeddings.float(), dim=1)
        distance = 1 - unit @ unit.T
        same = target[:, None] == target[None, :]
        positive = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        valid = positive[:, :, None] & ~same[:, None, :]
        hinge = (distance[:, :, None] - distance[:, None, :] + self.margin).clamp(min=0) * valid
        count = valid.sum() if self.reduction == "mean" else (hinge > 0).sum()
        return hinge.sum() / count.clamp(min=1)
