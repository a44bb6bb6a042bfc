"""Bilinear pooling P, eqs. 7-10 of the paper."""

from typing import Any

import torch
from torch import nn

from .attention import DualAttention

__all__ = ["BilinearPool", "signed_sqrt"]


def signed_sqrt(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Eq. 9: ``sign(x) * sqrt(|x| + eps)``, elementwise; zero stays zero."""
    return x.sign() * (x.abs() + eps).sqrt()


class _Branch(nn.Sequential):
    """Eq. 7: ``B_k = GAP(DA(Conv1×1(X)))``, from ``(batch, in_chs, h, w)`` to ``(batch, out_chs)``."""

    def __init__(self, in_chs: int, out_chs: int, acrosome: bool, **dd: Any) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chs, out_chs, 1, **dd)
        self.attn = DualAttention(out_chs, acrosome=acrosome, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attn(self.proj(x)).mean((2, 3))


class BilinearPool(nn.Module):
    """Second-order pooling of a feature map into ``num_features`` numbers.

    Two branches with weights of their own (eq. 7), their outer product (eq. 8, ``bilinear_dim × bilinear_dim``), the
    signed square root (eq. 9) and a reduction ``Linear, BatchNorm, ReLU, Linear`` (eq. 10).

    Args:
        in_chs: Channels of the map, ``(batch, in_chs, height, width)``.
        bilinear_dim: Width D of the branches. 64 is a choice: the paper does not print it, and 64 meets both of the
            parameter counts that it does print.
        hidden_dim: Width between the two linear layers.
        num_features: Width of the output, ``(batch, num_features)``.
        acrosome: Passed to the branches' `DualAttention`.
    """

    def __init__(
        self,
        in_chs: int,
        bilinear_dim: int = 64,
        hidden_dim: int = 64,
        num_features: int = 256,
        acrosome: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        dd: dict[str, Any] = {"device": device, "dtype": dtype}
        self.branch1 = _Branch(in_chs, bilinear_dim, acrosome, **dd)
        self.branch2 = _Branch(in_chs, bilinear_dim, acrosome, **dd)
        self.fc1 = nn.Linear(bilinear_dim * bilinear_dim, hidden_dim, **dd)
        self.norm = nn.BatchNorm1d(hidden_dim, **dd)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(hidden_dim, num_features, **dd)

    def outer_product(self, x: torch.Tensor) -> torch.Tensor:
        """Eqs. 7 and 8: ``(batch, in_chs, h, w)`` to the matrix ``B_1ᵀ B_2``, ``(batch, D, D)``."""
        return self.branch1(x).unsqueeze(2) * self.branch2(x).unsqueeze(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = signed_sqrt(self.outer_product(x).flatten(1))
        return self.fc2(self.act(self.norm(self.fc1(x))))
