"""Reversible interaction R, eqs. 5 and 6 of the paper."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from .attention import DualAttention
from .reversible import MEMORY_MODES, invert_couplings, run_couplings

__all__ = ["PerExecution", "ReversibleInteraction"]


class PerExecution(nn.Sequential):
    """Layers for the executions of a coupling: execution ``i`` uses layer ``i mod len``.

    One layer is shared by all executions; as many layers as executions give each its own. (A Sequential, because
    TorchScript takes no `forward` of a ModuleList.)
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.count = len(layers)

    def forward(self, x: torch.Tensor, execution: int) -> torch.Tensor:  # type: ignore[override]
        index = execution % self.count
        for i, layer in enumerate(self):  # TorchScript can't index by a variable
            if i == index:
                x = layer(x)
        return x


class _F(nn.Module):
    """``F(Norm(X2))`` of eq. 5: norm, Conv3×3, norm, GELU, dropout."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        norms: int,
        convs: int,
        norm_layer: Callable[..., nn.Module],
        drop_rate: float,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.pre_norm = PerExecution(*(norm_layer(in_chs, **dd) for _ in range(norms)))
        self.conv = PerExecution(*(nn.Conv2d(in_chs, out_chs, 3, padding=1, bias=False, **dd) for _ in range(convs)))
        self.norm = PerExecution(*(norm_layer(out_chs, **dd) for _ in range(norms)))
        self.act = nn.GELU()
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: torch.Tensor, execution: int) -> torch.Tensor:
        x = self.conv(self.pre_norm(x, execution), execution)
        return self.drop(self.act(self.norm(x, execution)))


class _G(nn.Module):
    """``G(X1)`` of eq. 5: dual attention, Conv3×3, norm, GELU."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        norms: int,
        convs: int,
        norm_layer: Callable[..., nn.Module],
        acrosome: bool,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.attn = PerExecution(*(DualAttention(in_chs, acrosome=acrosome, **dd) for _ in range(convs)))
        self.conv = PerExecution(*(nn.Conv2d(in_chs, out_chs, 3, padding=1, bias=False, **dd) for _ in range(convs)))
        self.norm = PerExecution(*(norm_layer(out_chs, **dd) for _ in range(norms)))
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor, execution: int) -> torch.Tensor:
        x = self.conv(self.attn(x, execution), execution)
        return self.act(self.norm(x, execution))


class ReversibleInteraction(nn.Module):
    """``R^(n)``: the channels of a map, split into two streams that correct each other ``depth`` times.

    One execution (eq. 5) and its inverse (eq. 6)::

        X1 = X1 + F(Norm(X2))        X2 = X2 - G(X1)
        X2 = X2 + G(X1)              X1 = X1 - F(Norm(X2))

    The weights of F and G are shared by all executions ("hierarchical parameter reuse"), so their number does not
    depend on ``depth``; every execution has normalisation layers of its own, because the variance before them
    differs up to 11-fold from one execution to the next and a shared running average would fit none of them.

    F is one 3×3 convolution without expansion, a choice: the paper says "simple convolution and normalization", and
    this setting meets its parameter counts. The scale of the last norm of F and G starts at zero, so that R starts as
    the identity; GELU after it has a slope at zero, without which F and G would never learn.

    Args:
        dim: Channels of the map; of an odd number the first stream takes the extra one.
        depth: Number n of executions, at least 1.
        share_coupling: One F and one G for all executions; False gives each execution its own.
        norm_layer: Called with the number of channels: BatchNorm2d, GroupNorm or LayerNorm2d as timm defines them.
        drop_rate: Dropout after F.
        acrosome: Passed to the `DualAttention` in G.
        memory: ``"plain"``, ``"checkpoint"`` or ``"reversible"``, see `run_couplings`; an attribute that may be changed
            at any time.
    """

    def __init__(
        self,
        dim: int,
        depth: int = 3,
        share_coupling: bool = True,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
        drop_rate: float = 0.0,
        acrosome: bool = True,
        memory: str = "plain",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if memory not in MEMORY_MODES:
            raise ValueError(f"memory={memory!r}: expected one of {', '.join(MEMORY_MODES)}")
        if dim < 2:
            raise ValueError(f"dim={dim}: two streams need at least 2 channels")
        if depth < 1:
            raise ValueError(f"depth={depth}: expected at least 1 execution")
        self.depth = depth
        self.memory = memory
        self.dim1 = dim - dim // 2
        convs = 1 if share_coupling else depth
        dd: dict[str, Any] = {"device": device, "dtype": dtype}
        self.f = _F(dim // 2, self.dim1, depth, convs, norm_layer, drop_rate, **dd)
        self.g = _G(self.dim1, dim // 2, depth, convs, norm_layer, acrosome, **dd)
        self.init_weights()

    @torch.jit.ignore
    def init_weights(self) -> None:
        """Start as the identity: zero scale of the last norm of F and G (eq. 5)."""
        for norm in [*self.f.norm, *self.g.norm]:
            if getattr(norm, "weight", None) is not None:
                nn.init.zeros_(norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = x[:, : self.dim1], x[:, self.dim1 :]
        if torch.jit.is_scripting():  # knows neither callables nor autograd functions
            for i in range(self.depth):
                x1 = x1 + self.f(x2, i)
                x2 = x2 + self.g(x1, i)
        else:
            x1, x2 = self._run(x1, x2)
        return torch.cat([x1, x2], dim=1)

    @torch.jit.unused
    def _run(self, x1: torch.Tensor, x2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return run_couplings(self._couplings(), self, x1, x2, self.memory)

    @torch.jit.ignore
    def _couplings(self) -> list[tuple[Callable, Callable]]:
        return [(partial(self.f, execution=i), partial(self.g, execution=i)) for i in range(self.depth)]

    @torch.jit.ignore
    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """The input that `forward` maps to ``y``, see `invert_couplings`."""
        return torch.cat(invert_couplings(self._couplings(), self, y[:, : self.dim1], y[:, self.dim1 :]), dim=1)
