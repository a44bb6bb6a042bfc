"""Triplet loss over all triplets of a batch, eq. 13."""

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

__all__ = ["BatchAllTriplet"]

_CHUNK = 2**24  # triplets at a time: 64 MiB in float32


class BatchAllTriplet(nn.Module):
    """Mean of ``max(d(a, p) - d(a, n) + margin, 0)`` over all valid triplets of a batch (eq. 13).

    Valid are a and p of one class, a ≠ p, and n of another. ``d(u, v) = 1 - cos(u, v)``, a choice: the paper calls d
    the cosine similarity, but eq. 13 needs a distance. So is the margin, which the paper does not print.

    Under several processes the batch is that of all of them: embeddings are gathered with their gradients, so that two
    processes of 32 images have the loss, and after the mean of gradients that `DistributedDataParallel` takes the
    gradient, of one with 64. Every process must then have a batch of the same size.

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
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            embeddings, target = torch.cat(all_gather(embeddings)), torch.cat(all_gather(target))
        unit = F.normalize(embeddings if embeddings.dtype == torch.float64 else embeddings.float(), dim=1)
        distance = 1 - unit @ unit.T
        same = target[:, None] == target[None, :]
        positive = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        total, count = distance.sum() * 0, torch.zeros((), dtype=torch.long, device=target.device)
        anchors = max(_CHUNK // max(len(target), 1) ** 2, 1)  # memory grows no further than with this many at a time
        for part in torch.arange(len(target), device=target.device).split(anchors):
            valid = positive[part, :, None] & ~same[part, None, :]
            hinge = (distance[part, :, None] - distance[part, None, :] + self.margin).clamp(min=0) * valid
            total = total + hinge.sum()
            count = count + (valid if self.reduction == "mean" else hinge > 0).sum()
        return total / count.clamp(min=1)
