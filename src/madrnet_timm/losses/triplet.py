"""Triplet loss over all triplets of a batch, eq. 13."""

from contextlib import nullcontext

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = ["BatchAllTriplet"]

_CHUNK = 2**24  # triplets at a time: 64 MiB in float32


class BatchAllTriplet(nn.Module):
    """Mean of ``max(d(a, p) - d(a, n) + margin, 0)`` over all valid triplets of a batch (eq. 13).

    Valid are a and p of one class, a ≠ p, and n of another. ``d(u, v) = 1 - cos(u, v)``, a choice: the paper calls d
    the cosine similarity, but eq. 13 needs a distance. So is the margin, which the paper does not print.

    Under several processes the batch is that of all of them: embeddings are gathered with their gradients, so that two
    processes of 32 images have the loss, and after the mean of gradients that `DistributedDataParallel` takes the
    gradient, of one with 64. Every process must then have a batch of the same size.

    A batch of more than 256 images is computed in parts, and these again in the backward pass: its memory grows with
    the square of the batch, and `torch.func` can't differentiate it.

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
        kind = unit.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            distance = 1 - unit @ unit.T  # in 16 bits the differences that count would be lost
        same = target[:, None] == target[None, :]
        positive = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        total, count = distance.sum() * 0, torch.zeros((), dtype=torch.long, device=target.device)
        anchors = max(_CHUNK // max(len(target), 1) ** 2, 1)  # memory grows no further than with this many at a time
        parts = torch.arange(len(target), device=target.device).split(anchors)
        for part in parts:
            args = (distance[part], positive[part], same[part])
            # several parts are computed again in the backward pass, one after the other
            loss, number = self._part(*args) if len(parts) == 1 else checkpoint(self._part, *args, use_reentrant=False)
            total, count = total + loss, count + number
        return total / count.clamp(min=1)

    def _part(
        self, distance: torch.Tensor, positive: torch.Tensor, same: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the hinges and number of the triplets of some anchors, each argument ``(anchors, batch)``."""
        valid = positive[:, :, None] & ~same[:, None, :]
        hinge = (distance[:, :, None] - distance[:, None, :] + self.margin).clamp(min=0) * valid
        return hinge.sum(), (valid if self.reduction == "mean" else hinge > 0).sum()
