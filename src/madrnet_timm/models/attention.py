"""Dual attention (DA), eqs. 2-4 of the paper."""

import torch
from torch import nn

__all__ = ["DualAttention"]


class DualAttention(nn.Module):
    """Channel and spatial attention that share one global average pooling and one multiplication.

    For ``X`` of shape ``(batch, dim, height, width)``:

    - eq. 2, channels: ``A_c = sigmoid(W_c(GAP(X))) * sigmoid(Linear(GAP(X)))`` with ``W_c`` a bottleneck of 1×1
      convolutions ``dim -> dim/16 -> dim``; the second factor is the acrosome (region of interest) mask;
    - eq. 3, space: ``A_s = sigmoid(Conv3×3(X))``, one channel;
    - eq. 4, output: ``X * (A_c + A_s)``, of the shape of ``X``.

    Args:
        dim: Channels of the input.
        acrosome: Use the acrosome mask; False leaves the bottleneck factor alone (the ablation of Table V).
        reduction: Ratio of the bottleneck.
    """

    def __init__(
        self,
        dim: int,
        acrosome: bool = True,
        reduction: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        hidden = max(dim // reduction, 1)
        self.channel_reduce = nn.Conv2d(dim, hidden, 1, device=device, dtype=dtype)
        self.channel_act = nn.ReLU()
        self.channel_expand = nn.Conv2d(hidden, dim, 1, device=device, dtype=dtype)
        self.acrosome = nn.Linear(dim, dim, device=device, dtype=dtype) if acrosome else None
        self.spatial = nn.Conv2d(dim, 1, 3, padding=1, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        channel = self.channel_expand(self.channel_act(self.channel_reduce(pooled))).sigmoid()
        if self.acrosome is not None:
            mask = self.acrosome(pooled.flatten(1)).sigmoid()
            channel = channel * mask[:, :, None, None]
        return x * (channel + self.spatial(x).sigmoid())
