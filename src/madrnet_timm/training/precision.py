"""What a training in half precision computes in float32 all the same, because the processor is slow at it."""

import torch
from torch import nn

__all__ = ["depthwise_in_float32"]


class _InFloat32:
    """Put before a layer's own class: it computes in float32 whatever autocast says."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())  # type: ignore[misc]


def depthwise_in_float32(model: nn.Module) -> None:
    """Let the depthwise convolutions of a model compute in float32 under autocast.

    On a CPU, oneDNN has no fast backward pass for them in bfloat16: with strides or kernels of 5 × 5 it takes 3 to 20
    times as long as in float32. Without them a step of MADRNet around EfficientNet-Lite0 takes three quarters of the
    time (``python -m examples.studies.precision``). Weights and names stay as they are.

    Args:
        model: Changed in place.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 and layer.kernel_size != (1, 1):
            kind = type(layer)
            layer.__class__ = type(kind.__name__, (_InFloat32, kind), {})  # a copy of the model has it, too
