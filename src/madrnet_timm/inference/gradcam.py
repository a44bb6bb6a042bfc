"""Grad-CAM++ on the maps of B, R and P (Figure 4 of the paper)."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ..models import MADRNet
from ..models.bilinear import BilinearPool

__all__ = ["attention_maps", "grad_cam_plus_plus", "mirrored_attention_maps"]


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


def attention_maps(
    model: nn.Module, x: torch.Tensor, classes: Sequence[int] | None = None, size: tuple[int, int] | None = None
) -> dict[str, torch.Tensor]:
    """What speaks for a class, where in the picture, after each stage of a MADRNet.

    Args:
        model: A MADRNet in eval mode.
        x: Pictures ``(batch, 3, h, w)`` as the network takes them.
        classes: Class id of each; the most probable one if None.
        size: Height and width of the maps; those of ``x`` if None.

    Returns:
        ``backbone`` (behind B), ``reversible`` (behind R) and ``bilinear`` (in P, behind the dual attention of its
        first branch), as far as the model has them: maps ``(batch, height, width)`` in [0, 1], enlarged bilinearly.

    Raises:
        ValueError: Not a MADRNet.
    """
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            output = output if output.requires_grad else output.detach().requires_grad_()
            kept[name] = output
            return output

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in _stage_modules(model).items()]  # type: ignore[arg-type]
    try:
        with torch.enable_grad():
            logits = model(x.detach())
            chosen = logits.argmax(dim=1) if classes is None else torch.as_tensor(classes, device=logits.device)
            score = logits.gather(1, chosen[:, None]).sum()
            gradients = torch.autograd.grad(score, list(kept.values()))
    finally:
        for handle in handles:
            handle.remove()
    size = size or (x.shape[2], x.shape[3])
    out = {}
    for (name, maps), gradient in zip(kept.items(), gradients, strict=True):
        cam = grad_cam_plus_plus(maps.detach(), gradient)
        out[name] = F.interpolate(cam[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return out


def mirrored_attention_maps(
    model: nn.Module, x: torch.Tensor, classes: Sequence[int] | None = None
) -> dict[str, torch.Tensor]:
    """Mean of `attention_maps` of the pictures and, mirrored back, of their mirror images.

    Strided convolutions pad one side more than the other, so that a cell of the last map looks up to half a cell away
    from where it is drawn (at 112 px and stride 32 an eighth of the picture). Heads have no handedness, and training
    mirrors them: the mean is right across the picture. From top to bottom the offset stays.

    Args:
        model: A MADRNet in eval mode.
        x: Pictures ``(batch, 3, h, w)``.
        classes: Class id of each; the most probable one of the picture itself if None.

    Raises:
        ValueError: Not a MADRNet.
    """
    if classes is None:
        with torch.no_grad():
            classes = model(x).argmax(dim=1).tolist()
    own, other = attention_maps(model, x, classes), attention_maps(model, x.flip(3), classes)
    return {stage: (maps + other[stage].flip(2)) / 2 for stage, maps in own.items()}
