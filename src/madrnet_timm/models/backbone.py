"""Any timm model as backbone B of eq. 1: its last feature map, brought to NCHW."""

import logging
import math
from typing import Any

import timm
import torch
from timm.models import register_notrace_function
from torch import nn

__all__ = ["create_backbone"]

_logger = logging.getLogger(__name__)


class _MapFromNHWC(nn.Module):
    """``(batch, h, w, C)`` to ``(batch, C, h, w)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 1, 2)


@register_notrace_function
def _grid_height(tokens: int, grid_height: int, grid_width: int) -> int:
    """Rows of a grid of ``tokens`` tokens in the shape of ``grid_height × grid_width``."""
    return round(math.sqrt(tokens * grid_height / grid_width))


class _MapFromTokens(nn.Module):
    """``(batch, prefix + h*w, C)``, or channels first, to ``(batch, C, h, w)``.

    Prefix tokens are dropped, the rest is laid out on its grid.

    Where the input's size is free, the number of tokens varies: the grid then keeps the shape found when built.
    """

    def __init__(self, num_prefix_tokens: int, grid_size: tuple[int, int], channels_first: bool = False) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.channels_first = channels_first
        self.grid_height, self.grid_width = grid_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.channels_first:
            x = x.transpose(1, 2)
        x = x[:, self.num_prefix_tokens :]
        height = _grid_height(x.shape[1], self.grid_height, self.grid_width)
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], height, x.shape[1] // height)


class _LastOfList(nn.Module):
    """The last map of a family that gives a list of them."""

    def __init__(self, to_map: nn.Module) -> None:
        super().__init__()
        self.to_map = to_map

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        return self.to_map(x[-1])


def _remove_unused(module: nn.Module, unused: set[str], prefix: str = "") -> None:
    """Put `nn.Identity` in the place of every submodule (the largest) whose parameters are all in `unused`."""
    for name, child in module.named_children():
        path = f"{prefix}{name}."
        params = {path + n for n, _ in child.named_parameters()}
        if params and params <= unused:
            setattr(module, name, nn.Identity())
        elif params & unused:
            _remove_unused(child, unused, path)
    for name, _ in list(module.named_parameters(recurse=False)):
        if prefix + name in unused:
            setattr(module, name, None)


def _grid(tokens: int, prefix: int | None, input_size: tuple[int, int, int]) -> tuple[int, tuple[int, int]]:
    """Number of prefix tokens and grid ``(h, w)`` of ``tokens`` tokens, in the shape of the input picture."""
    _, height, width = input_size
    for skip in range(min(tokens, 17)) if prefix is None else [prefix]:
        h = math.isqrt((tokens - skip) * height // width)
        if h > 0 and (tokens - skip) % h == 0 and abs((tokens - skip) // h * height - h * width) < max(height, width):
            return skip, (h, (tokens - skip) // h)
    raise ValueError(f"{tokens} tokens ({prefix} of them prefix) fill no grid of the shape {height}×{width}")


def _to_map(
    features: Any, backbone: nn.Module, input_size: tuple[int, int, int]
) -> tuple[nn.Module, tuple[int, int, int]]:
    """The module that brings such ``features`` to NCHW, and the size ``(C, h, w)`` of the map."""
    if isinstance(features, list | tuple):
        to_map, size = _to_map(features[-1], backbone, input_size)
        return _LastOfList(to_map), size
    if features.ndim == 4 and str(getattr(backbone, "output_fmt", "NCHW")).upper().endswith("NHWC"):
        return _MapFromNHWC(), (features.shape[3], features.shape[1], features.shape[2])
    if features.ndim == 4:
        return nn.Identity(), tuple(features.shape[1:])
    if features.ndim == 3:
        info = getattr(backbone, "feature_info", None) or [{}]
        channels_first = features.shape[1] == info[-1].get("num_chs") != features.shape[2]
        tokens, channels = features.shape[1:] if not channels_first else features.shape[:0:-1]
        prefix, grid = _grid(tokens, getattr(backbone, "num_prefix_tokens", None), input_size)
        return _MapFromTokens(prefix, grid, channels_first), (channels, *grid)
    raise ValueError(f"forward_features gives the shape {tuple(features.shape)}, expected a map or tokens")


def _probe(
    name: str, input_size: tuple[int, int, int], **kwargs: Any
) -> tuple[nn.Module, tuple[int, int, int], set[str]]:
    """How `forward_features` of a timm model is brought to a map, and which of its parameters the map does not use.

    Runs forward and backward of a twin on the meta device: no memory, no arithmetic.

    Returns:
        The module that makes the map, the map's size ``(C, h, w)``, and the names of the parameters that no gradient
        reaches.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.enable_grad():
        twin = timm.create_model(name, num_classes=0, in_chans=input_size[0], **kwargs).eval().requires_grad_()
        called: set[str] = set()
        hooks = [m.register_forward_hook(lambda *_, n=n: called.add(n)) for n, m in twin.named_modules()]
        x = torch.empty((1, *input_size))
        features = twin.forward_features(x)
        for hook in hooks:
            hook.remove()
        to_map, size = _to_map(features, twin, input_size)
        names, params = zip(*twin.named_parameters(), strict=True)
        grads = torch.autograd.grad(to_map(features).sum(), params, allow_unused=True)
        unused = {name for name, grad in zip(names, grads, strict=True) if grad is None}
        try:
            _remove_unused(twin, unused)
            fits = to_map(twin.forward_features(x)).shape[1:] == size
        except Exception:  # whatever the family's code raises where a layer is missing
            fits = False
    if not fits:  # layers of another branch, which run all the same
        unused = {name for name in unused if name.rpartition(".")[0] not in called}
    return to_map, size, unused


def create_backbone(
    name: str,
    in_chans: int = 3,
    pretrained: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> tuple[Any, nn.Module, tuple[int, int, int]]:
    """Build a timm model without its head.

    Layers that only the head used are removed, so that every parameter of the result takes part in
    `forward_features`.

    Args:
        name: timm architecture, with or without a tag.
        in_chans: Channels of the picture.
        pretrained: Load timm's weights for it.
        device: Device of its parameters.
        dtype: Their type.
        kwargs: Passed to `timm.create_model`.

    Returns:
        The backbone, a module that brings the output of its `forward_features` to ``(batch, C, h, w)``, and the size
        ``(C, h, w)`` at the backbone's own input size.

    Raises:
        ValueError: The output can't be laid out as a map.
    """
    dd = {k: v for k, v in (("device", device), ("dtype", dtype)) if v is not None}
    backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=in_chans, **kwargs, **dd)
    img_size = kwargs.get("img_size") or backbone.pretrained_cfg["input_size"][1:]
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    input_size = (in_chans, height, width)
    try:
        to_map, size, unused = _probe(name, input_size, **kwargs)
    except ValueError as error:
        raise ValueError(f"{name} can't be a backbone: {error}") from None
    if unused:
        _logger.debug("%s: the map doesn't use %s", name, ", ".join(sorted(unused)))
        _remove_unused(backbone, unused)
    return backbone, to_map, size
