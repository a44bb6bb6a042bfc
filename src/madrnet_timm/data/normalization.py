"""From the values of an image to what a network takes: one way for training and prediction, on any device."""

from collections.abc import Sequence

import torch

__all__ = ["normalized"]


def normalized(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """What the network takes.

    Args:
        images: ``(batch, channels, height, width)`` uint8, on any device.
        mean: Per channel, subtracted after scaling to [0, 1].
        std: Per channel, divided by.
    """
    x = images.to(torch.float32).mul_(1 / 255)
    mean_, std_ = (x.new_tensor(values).view(-1, 1, 1) for values in (mean, std))
    return x.sub_(mean_).div_(std_)
