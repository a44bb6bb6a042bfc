"""What a model costs: parameters, multiplications and activations, in the units of timm's tables."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Cost", "cost_of"]

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Cost:
    """Of one image.

    Attributes:
        parameters: Number of the weights.
        gmacs: Multiplications with addition, in billions.
        macts: Outputs of convolutions and linear layers, in millions.
    """

    parameters: int
    gmacs: float
    macts: float


def cost_of(model: nn.Module, img_size: int) -> Cost:
    """Count one image ``(1, 3, img_size, img_size)`` through a model in eval mode, wherever it lies; meta will do."""
    activations = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal activations
        activations += output.numel()

    hooks = [module.register_forward_hook(count) for module in model.modules() if isinstance(module, _COUNTED)]
    x = torch.zeros(1, 3, img_size, img_size, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(x)
    for hook in hooks:
        hook.remove()
    parameters = sum(weight.numel() for weight in model.parameters())
    return Cost(parameters, flops.get_total_flops() / 2e9, activations / 1e6)
