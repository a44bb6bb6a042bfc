"""Grad-CAM++ on the maps of B, R and P (Figure 4 of the paper)."""

from collections.abc import Sequence

import torch
from timm.layers import AvgPool2dSame, Conv2dSame, ScaledStdConv2dSame, StdConv2dSame, get_same_padding
from timm.layers.pool2d_same import MaxPool2dSame
from torch import nn
from torch.nn import functional as F

from ..models import MADRNet
from ..models.bilinear import BilinearPool

__all__ = ["CellPositions", "attention_maps", "grad_cam_plus_plus"]

_SAME = (Conv2dSame, StdConv2dSame, ScaledStdConv2dSame, AvgPool2dSame, MaxPool2dSame)  # pad as TensorFlow does


def grad_cam_plus_plus(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, eq. 19) of a score's gradient on maps.

    With the exponential of the score as the output, the second and third derivatives are powers of the first, so that
    ``α = g² / (2 g² + Σ A · g³)``, weights are ``Σ α · relu(g)``, and the map is ``relu(Σ_k w_k A_k)``.

    Args:
        maps: ``A``, ``(batch, channels, h, w)``.
        gradients: ``g``, of the class score, of the same shape.

    Returns:
        ``(batch, h, w)``, scaled to a largest value of 1 (0 where nothing speaks for the class).
    """
    squared = gradients**2
    below = 2 * squared + maps.sum(dim=(2, 3), keepdim=True) * gradients**3
    alpha = torch.where(below != 0, squared / torch.where(below != 0, below, torch.ones_like(below)), 0.0)
    weights = (alpha * gradients.clamp(min=0)).sum(dim=(2, 3), keepdim=True)
    cam = (weights * maps).sum(dim=1).clamp(min=0)
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


def _stage_modules(model: nn.Module) -> dict[str, nn.Module]:
    if not isinstance(model, MADRNet):
        raise ValueError("attention maps need a MADRNet: a plain timm model has no R and no P")
    stages: dict[str, nn.Module] = {"backbone": model.to_map}
    if model.depth:
        stages["reversible"] = model.reversible
    if isinstance(model.pool, BilinearPool):
        stages["bilinear"] = model.pool.branch1.attn
    return stages


def _pair(value: int | Sequence[int]) -> Sequence[int]:
    return (value, value) if isinstance(value, int) else value


class CellPositions:
    """Where in the image the cells of a backbone's maps look: the middle of their receptive fields.

    A strided convolution moves it. A ResNet's first cell looks at the image's corner, not at the middle of the 32
    pixels that it stands for; padding as in TensorFlow moves cells the other way. What makes a map smaller and is
    neither a convolution nor a pool (Swin's merging of patches) counts as centred.

    It notes the strided layers while the backbone runs, until its `handles` are removed.

    Args:
        backbone: Any timm model.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.steps: dict[tuple[int, int], tuple[float, int, int]] = {}
        kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
        self.handles = [m.register_forward_hook(self._note) for m in backbone.modules() if isinstance(m, kinds)]

    def _note(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        for axis in (0, 1):
            kernel, stride, dilation, padding = (
                _pair(getattr(module, name, 1))[axis] for name in ("kernel_size", "stride", "dilation", "padding")
            )
            size = inputs[0].shape[2 + axis]
            if isinstance(module, _SAME):
                padding = get_same_padding(size, kernel, stride, dilation) // 2
            if stride > 1:  # of several branches the first
                shift = dilation * (kernel - 1) / 2 - padding
                self.steps.setdefault((axis, size), (shift, stride, output.shape[2 + axis]))

    def along(self, axis: int, size: int, cells: int) -> tuple[float, float]:
        """Pixel of the first cell, and pixels from one cell to the next.

        Args:
            axis: 0 for rows, 1 for columns.
            size: Height or width of the image.
            cells: That of the map.
        """
        first, step = 0.0, 1.0
        while size > cells and (axis, size) in self.steps:
            shift, stride, size = self.steps[axis, size]
            first, step = first + shift * step, step * stride
        left = size / cells
        return first + (left - 1) / 2 * step, step * left

    def draw(self, cams: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Maps ``(batch, h, w)`` in the image, ``(batch, *size)``: linear between the cells, constant beyond."""
        axes = []
        for axis, (pixels, cells) in enumerate(zip(size, cams.shape[1:], strict=True)):
            first, step = self.along(axis, pixels, cells)
            axes.append(2 * (torch.arange(pixels) - first) / (step * max(cells - 1, 1)) - 1)
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=2).to(cams)
        grid = grid.expand(len(cams), -1, -1, -1)
        return F.grid_sample(cams[:, None], grid, padding_mode="border", align_corners=True)[:, 0]


def attention_maps(model: nn.Module, x: torch.Tensor, classes: Sequence[int] | None = None) -> dict[str, torch.Tensor]:
    """What speaks for a class, where in the image, after each stage of a MADRNet.

    Args:
        model: A MADRNet in eval mode.
        x: Images ``(batch, 3, h, w)`` as the network takes them.
        classes: Class id of each; the most probable one if None.

    Returns:
        ``backbone`` (after B), ``reversible`` (after R) and ``bilinear`` (in P, after the dual attention of its
        first branch), as far as the model has them: maps ``(batch, h, w)`` in [0, 1], each cell drawn where it
        looks (`CellPositions`), interpolated between. Grad-CAM++ is made for maps that are not negative, as after a
        ReLU; those in P are signed, and where what speaks against the class outweighs, its map is 0 everywhere.

    Raises:
        ValueError: Not a MADRNet.
        RuntimeError: The model is in train mode, where a pass would change its batch statistics; or inference mode is
            on, in which there are no gradients.
    """
    if any(part.training for part in model.modules()):
        raise RuntimeError("attention maps need a model in eval mode: call model.eval() first")
    if torch.is_inference_mode_enabled():
        raise RuntimeError("attention maps need gradients: leave torch.inference_mode(); torch.no_grad() will do")
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            output = output if output.requires_grad else output.detach().requires_grad_()
            kept[name] = output
            return output

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in _stage_modules(model).items()]  # type: ignore[arg-type]
    positions = CellPositions(model.backbone)  # type: ignore[arg-type]
    try:
        with torch.enable_grad():
            logits = model(x.clone() if x.is_inference() else x.detach())
            chosen = logits.argmax(dim=1) if classes is None else torch.as_tensor(classes, device=logits.device)
            score = logits.gather(1, chosen[:, None]).sum()
            gradients = torch.autograd.grad(score, list(kept.values()))
    finally:
        for handle in (*handles, *positions.handles):
            handle.remove()
    return {
        name: positions.draw(grad_cam_plus_plus(maps.detach(), gradient), (x.shape[2], x.shape[3]))
        for (name, maps), gradient in zip(kept.items(), gradients, strict=True)
    }
