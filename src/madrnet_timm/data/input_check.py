"""Whether a model is given images that were prepared as it was trained: told from their border, cheaply."""

import warnings
from collections.abc import Sequence

import torch

from .._compat import is_functorch_wrapped_tensor
from ..morphology.align import REFERENCE_BACKGROUND

__all__ = ["InputCheck"]

_BATCHES = 3  # that are looked at: a look waits for the device
_FAR = 14 / 255
"""Of the reference colour. A quarter of the border's pixels lies nearer on all of HuSHeM's images prepared by the
pipelines with a reference background and on 98 % of SMIDS's, and on none of either as they lie."""


class InputCheck:
    """Warns once where most of the first images are not on the reference background, as those of the training were.

    It looks at a few batches in eval mode, and never while a model is compiled, exported or traced. A model that is
    trained again is left alone: it learns from whatever images it is given.

    Args:
        pipeline: With a reference background.
        mean: Subtracted from the images' values.
        std: What they were divided by.
    """

    def __init__(self, pipeline: str, mean: Sequence[float], std: Sequence[float]) -> None:
        self.pipeline, self.mean, self.std = pipeline, tuple(mean), tuple(std)
        self.left = _BATCHES
        self.images = self.far = 0

    def __call__(self, x: torch.Tensor, training: bool) -> None:
        """Look at normalised images ``(batch, 3, height, width)``, on any device."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or self.left == 0:
            return
        if training:
            self.left = 0
        elif type(x) is torch.Tensor and _has_values(x):
            self.left -= 1
            self._look(x.detach())

    def _look(self, x: torch.Tensor) -> None:
        border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], dim=2).float()
        mean, std, reference = (border.new_tensor(values).view(1, 3, 1) for values in (self.mean, self.std, _REFERENCE))
        distances = (border * std + mean - reference).abs().amax(dim=1)
        distance = distances.kthvalue(max(distances.shape[1] // 4, 1), dim=1).values
        self.images += len(x)
        self.far += int((distance > _FAR).sum())
        if 2 * self.far > self.images:
            self.left = 0
            warnings.warn(
                f"this model was trained on images prepared by the pipeline {self.pipeline!r}, and these look "
                "otherwise; its classes mean little on them: prepare images with madrnet_timm.create_transform(model)",
                stacklevel=8,  # where the model is called
            )


_REFERENCE = tuple(value / 255 for value in REFERENCE_BACKGROUND)


def _has_values(x: torch.Tensor) -> bool:
    """The values can be looked at: no meta tensor, none while a CUDA graph is recorded, none under `torch.vmap`."""
    if x.is_meta or x.ndim != 4 or x.shape[1] != 3 or len(x) == 0:
        return False
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        return False
    return not is_functorch_wrapped_tensor(x)
