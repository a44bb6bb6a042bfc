"""From an image to what the network sees: named pipelines, the same in training, evaluation and prediction."""

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..morphology import HeadMorphology, align, measure
from ..morphology.align import Keep
from ..opencv import cv2

__all__ = ["PIPELINES", "WITH_REFERENCE_BACKGROUND", "check_pipeline", "prepare"]

PIPELINES = {
    "raw": "the image as it lies: shorter side resized, centre crop",
    "aligned": "head centred and upright, acrosome up",
    "aligned-normalized": "aligned, background colour mapped to a reference",
    "head-only": "aligned, everything but the head replaced by the reference background",
    "head-and-neck": "as head-only, but the neck stays, up to half of the head's width and as far as the view reaches",
}

WITH_REFERENCE_BACKGROUND = ("aligned-normalized", "head-only", "head-and-neck")
"""Pipelines whose images all have the same background, `REFERENCE_BACKGROUND`."""

_KEPT: dict[str, Keep] = {"head-only": "head", "head-and-neck": "head-and-neck"}

UInt8Array = NDArray[np.uint8]


def _resize_and_crop(image: UInt8Array, size: int, crop_pct: float) -> UInt8Array:
    """timm's evaluation transform: the shorter side to ``size / crop_pct``, then the middle ``size × size``."""
    height, width = image.shape[:2]
    scale = math.floor(size / crop_pct) / min(height, width)
    target = (max(round(width * scale), size), max(round(height * scale), size))
    image = cv2.resize(image, target, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    top, left = (target[1] - size) // 2, (target[0] - size) // 2
    return image[top : top + size, left : left + size]


def prepare(
    image: UInt8Array, pipeline: str, size: int, crop_pct: float = 1.0, morphology: HeadMorphology | None = None
) -> UInt8Array:
    """Apply a pipeline to an image.

    Args:
        image: RGB, ``(height, width, 3)`` uint8.
        pipeline: A name of `PIPELINES`.
        size: Side of the result in pixels.
        crop_pct: Part of the shorter side that ``raw`` keeps.
        morphology: What `measure` found on it, if that is known already.

    Returns:
        ``(size, size, 3)`` RGB uint8. Without a head the aligned pipelines take the image's middle as it lies.

    Raises:
        InputError: Unknown pipeline.
    """
    check_pipeline(pipeline)
    if pipeline == "raw":
        return _resize_and_crop(image, size, crop_pct)
    morphology = morphology or measure(image)
    keep = _KEPT.get(pipeline, "all")
    return align(image, morphology, size, keep=keep, reference=pipeline in WITH_REFERENCE_BACKGROUND)


def check_pipeline(pipeline: str) -> None:
    """Raise `InputError` for a name that is not one of `PIPELINES`."""
    if pipeline not in PIPELINES:
        raise InputError(f"pipeline {pipeline!r}: expected one of {', '.join(PIPELINES)}")
