"""Any timm model as backbone B of eq. 1: its last feature map, brought to NCHW."""

import copy
import functools
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import timm
import torch
from timm.models import register_notrace_function
from torch import nn
from torch.nn import functional as F

__all__ = ["create_backbone", "remove_idle"]

_logger = logging.getLogger(__name__)


class _Map(nn.Module):
    """A map as it is. Here and below, what makes a map is also told the height and width of the images."""

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        return x


class _MapFromNHWC(nn.Module):
    """``(batch, h, w, C)`` to ``(batch, C, h, w)``."""

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        return x.permute(0, 3, 1, 2)


@register_notrace_function
def grid_rows(tokens: int, aspect: float) -> int:
    """Rows of a grid of ``tokens`` tokens, ``aspect`` times as high as wide. (torch.fx skips names with "_".)"""
    return int(math.sqrt(tokens * aspect) + 0.5)  # round() is a float in TorchScript


class _MapFromTokens(nn.Module):
    """``(batch, prefix + h*w, C)``, or channels first, to ``(batch, C, h, w)``.

    Prefix tokens are dropped, the rest is laid out on its grid.

    Where the input's size is free, the number of tokens varies: the grid then has the shape of the image.

    Args:
        num_prefix_tokens: Tokens that are no part of the grid.
        grid_size: Height and width of the grid of images of ``image_size``.
        image_size: Height and width in pixels.
        channels_first: The tokens come as ``(batch, C, tokens)``.
    """

    def __init__(
        self,
        num_prefix_tokens: int,
        grid_size: tuple[int, int],
        image_size: tuple[int, int],
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.channels_first = channels_first
        self.stretch = grid_size[0] * image_size[1] / (grid_size[1] * image_size[0])  # 1 unless patches are oblong

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        if self.channels_first:
            x = x.transpose(1, 2)
        x = x[:, self.num_prefix_tokens :]
        rows = grid_rows(x.shape[1], self.stretch * height / width)
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], rows, x.shape[1] // rows)


class _LastOfList(nn.Module):
    """The last map of a family that gives a list of them."""

    def __init__(self, to_map: nn.Module) -> None:
        super().__init__()
        self.to_map = to_map

    def forward(self, x: list[torch.Tensor], height: int, width: int) -> torch.Tensor:
        return self.to_map(x[-1], height, width)


class _AllOfList(nn.Module):
    """All maps of a family that gives one for each of its branches, averaged to the grid of the last, side by side."""

    def __init__(self, to_maps: Iterable[nn.Module]) -> None:
        super().__init__()
        self.to_maps = nn.ModuleList(to_maps)

    def forward(self, x: list[torch.Tensor], height: int, width: int) -> torch.Tensor:
        maps = [to_map(x[i], height, width) for i, to_map in enumerate(self.to_maps)]
        return torch.cat([F.adaptive_avg_pool2d(one, maps[-1].shape[-2:]) for one in maps], dim=1)


Maps = list[torch.Tensor]


def _remove(module: nn.Module, names: set[str], prefix: str = "") -> None:
    """Take parameters out of ``module``: whole layers where all of theirs are among ``names``."""
    for name, child in module.named_children():
        path = f"{prefix}{name}."
        params = {path + n for n, _ in child.named_parameters()}
        is_container = isinstance(child, nn.ModuleList | nn.ModuleDict | nn.Sequential)  # code may count or slice it
        if params and params <= names and not is_container:
            setattr(module, name, nn.Identity())
        elif params & names:
            _remove(child, names, path)
    for name, param in list(module.named_parameters(recurse=False)):
        if prefix + name in names:  # code may still read it
            delattr(module, name)
            module.register_buffer(name, param.detach(), persistent=False)


def _idle_parameters(twin: nn.Module, run: Callable[[Any], Maps]) -> tuple[set[str], bool]:
    """Names of the parameters on which ``run(twin)`` does not depend, and whether those are all.

    Some families run layers whose result they drop, and fail without them: these are not among the names.
    """
    twin.train().eval()  # some families keep attention biases of an earlier run in eval mode, and train() drops them
    pruned = copy.deepcopy(twin)
    called: set[str] = set()
    hooks = [m.register_forward_hook(lambda *_, n=n: called.add(n)) for n, m in twin.named_modules()]
    maps = run(twin)
    for hook in hooks:
        hook.remove()
    names, params = zip(*twin.named_parameters(), strict=True)
    total = sum(one.sum() for one in maps)
    grads = torch.autograd.grad(total, params, allow_unused=True)  # type: ignore[arg-type]
    idle = {name for name, grad in zip(names, grads, strict=True) if grad is None}
    _remove(pruned, idle)
    try:
        if [one.shape for one in run(pruned)] == [one.shape for one in maps]:
            return idle, True
    except Exception as error:  # whatever the family's code raises where a layer is missing
        _logger.debug("%s runs layers for nothing: %s", type(twin).__name__, error)
    return {name for name in idle if name.rpartition(".")[0] not in called}, False


def remove_idle(
    backbone: nn.Module, input_size: tuple[int, int, int], run: Callable[[Any, torch.Tensor], Maps]
) -> list[torch.Size]:
    """Take out the layers on which the maps ``run(backbone, images)`` do not depend.

    A copy on the meta device tells: no arithmetic.

    Returns:
        Shapes of the maps of one image.
    """
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.train()  # see `_idle_parameters`
    try:
        twin = copy.deepcopy(backbone)
    finally:
        for module, mode in modes:
            module.training = mode
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        twin = twin.to("meta").eval().requires_grad_()
        x = torch.empty((1, *input_size))
        idle, _ = _idle_parameters(twin, lambda module: run(module, x))
        shapes = [one.shape for one in run(twin, x)]
    _remove(backbone, idle)
    return shapes


def _grid(tokens: int, prefix: int | None, input_size: tuple[int, int, int]) -> tuple[int, tuple[int, int]]:
    """Number of prefix tokens and grid ``(h, w)`` of ``tokens`` tokens, in the shape of the input image."""
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
    if features.ndim == 4 and str(getattr(backbone, "output_fmt", "NCHW")).upper().endswith("NHWC"):
        return _MapFromNHWC(), (features.shape[3], features.shape[1], features.shape[2])
    if features.ndim == 4:
        return _Map(), tuple(features.shape[1:])
    if features.ndim == 3:
        info = getattr(backbone, "feature_info", None) or [{}]
        channels_first = features.shape[1] == info[-1].get("num_chs") != features.shape[2]
        tokens, channels = features.shape[1:] if not channels_first else features.shape[:0:-1]
        prefix, grid = _grid(tokens, getattr(backbone, "num_prefix_tokens", None), input_size)
        return _MapFromTokens(prefix, grid, input_size[1:], channels_first), (channels, *grid)
    raise ValueError(f"forward_features gives the shape {tuple(features.shape)}, expected a map or tokens")


def _candidates(
    features: Any, backbone: nn.Module, input_size: tuple[int, int, int]
) -> list[tuple[nn.Module, tuple[int, int, int]]]:
    """Modules that bring the output of `forward_features` to NCHW with the size of the map, the preferred one first."""
    if isinstance(features, torch.Tensor):
        return [_to_map(features, backbone, input_size)]
    last, size = _to_map(features[-1], backbone, input_size)
    out: list[tuple[nn.Module, tuple[int, int, int]]] = [(_LastOfList(last), size)]
    try:
        to_maps, sizes = zip(*(_to_map(one, backbone, input_size) for one in features), strict=True)
    except ValueError:  # not all of them are maps
        return out
    return [*out, (_AllOfList(to_maps), (sum(channels for channels, *_ in sizes), *size[1:]))]


def _maps_of(backbone: Any, to_map: nn.Module, x: torch.Tensor) -> Maps:
    return [to_map(backbone.forward_features(x), *x.shape[-2:])]


def _probe(
    name: str, input_size: tuple[int, int, int], **kwargs: Any
) -> tuple[nn.Module, tuple[int, int, int], set[str]]:
    """How `forward_features` of a timm model is brought to a map, and which of its parameters the map does not use.

    Runs forward and backward of a twin on the meta device: no memory, no arithmetic.

    Returns:
        The module that makes the map, the map's size ``(C, h, w)``, and the names of the idle parameters.
    """
    found = []
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        twin = timm.create_model(name, num_classes=0, in_chans=input_size[0], **kwargs).eval().requires_grad_()
        x = torch.empty((1, *input_size))
        for to_map, size in _candidates(twin.forward_features(x), twin, input_size):
            idle, all_of_them = _idle_parameters(twin, functools.partial(_maps_of, to_map=to_map, x=x))
            found.append((to_map, size, idle))
            if all_of_them:  # of several branches all are taken only where the last alone leaves layers idle
                return found[-1]
    return found[0]


_known_probe = functools.lru_cache(maxsize=32)(_probe)

_HEADLESS: dict[type, type] = {}  # by the family's own class


def _headless(family: Any) -> Any:
    """The class of a backbone: calling it gives its features.

    torch.fx wraps the functions that timm keeps untraced only in modules that are called, and TorchScript compiles
    `forward`, whose head is gone. A bound method on the instance would not follow it into replicas and copies.
    """
    if family not in _HEADLESS:
        members = {"forward": family.forward_features, "__reduce_ex__": _reduce, "__module__": family.__module__}
        _HEADLESS[family] = type(family.__name__, (family,), members)
    return _HEADLESS[family]


def _new_headless(family: Any) -> nn.Module:
    made = _headless(family)
    return made.__new__(made)


def _reduce(backbone: nn.Module, _: Any) -> tuple[Any, ...]:
    """For copy and pickle, which find no class that was made on the way."""
    return _new_headless, (type(backbone).__mro__[1],), backbone.__dict__.copy()


_FROM_OUTSIDE = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"}
"""Arguments of `timm.create_model` that let it open files and addresses."""


def create_backbone(
    name: str,
    in_chans: int = 3,
    pretrained: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> tuple[Any, nn.Module, tuple[int, int, int], tuple[int, int]]:
    """Build a timm model without its head.

    Layers that only the head used are removed, so that every parameter of the result takes part in
    `forward_features`, and calling the result is calling that.

    Args:
        name: timm architecture, with or without a tag; no folder and no repository.
        in_chans: Channels of the image.
        pretrained: Load timm's weights for it.
        device: Device of its parameters.
        dtype: Their type.
        kwargs: Passed to `timm.create_model`.

    Returns:
        The backbone, a module that brings the output of its `forward_features`, given the images' height and width,
        too, to ``(batch, C, h, w)``, the size ``(C, h, w)`` at the backbone's own input size, and that size
        ``(height, width)``.

    Raises:
        ValueError: Another name, an argument that names a file, or the output can't be laid out as a map.
    """
    if ":" in name:  # timm would read its config.json from there
        raise ValueError(f"backbone={name!r}: expected an architecture of timm, such as resnet50")
    if outside := _FROM_OUTSIDE & kwargs.keys():  # a model folder from elsewhere may ask for them
        raise ValueError(
            f"{min(outside)}: not taken; load a safetensors file with madrnet_timm.hub.load_backbone_weights"
        )
    dd = {k: v for k, v in (("device", device), ("dtype", dtype)) if v is not None}
    backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=in_chans, **kwargs, **dd)
    img_size = kwargs.get("img_size") or backbone.pretrained_cfg["input_size"][1:]
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    input_size = (in_chans, height, width)
    # a model is often built twice in a row, and the probe is most of the time that it takes
    plain = all(isinstance(value, bool | int | float | str | tuple) for value in kwargs.values())
    try:
        to_map, size, idle = (_known_probe if plain else _probe)(name, input_size, **kwargs)
    except ValueError as error:
        raise ValueError(f"{name} can't be a backbone: {error}") from None
    _remove(backbone, idle)
    backbone.__class__ = _headless(type(backbone))
    return backbone, copy.deepcopy(to_map), size, (height, width)
