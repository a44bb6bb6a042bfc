"""Crops of the heads of a field, as a person would have cut them for a data set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..morphology import HeadMorphology

__all__ = ["HeadCrop", "cut_head"]

UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class HeadCrop:
    """A head and the square around it.

    Attributes:
        image: ``(side, side, 3)`` RGB uint8.
        head: What was measured on the field, in the crop's pixels.
        origin: Of the crop's upper left corner ``(x, y)`` in the field; negative where the crop goes beyond it.
    """

    image: UInt8Array
    head: HeadMorphology
    origin: tuple[int, int]


def cut_head(field: UInt8Array, head: HeadMorphology, side: int) -> HeadCrop:
    """Cut the square around a head out of its field.

    Args:
        field: RGB ``(height, width, 3)`` uint8.
        head: One of its heads, in the field's pixels.
        side: Of the square in pixels. What of it lies beyond the field gets the median colour of the rest of the
            crop, which is the background's.

    Raises:
        ValueError: ``head`` is none.
    """
    if head.center is None or head.box is None:
        raise ValueError("cut_head: there is no head")
    left, top = (round(value + 0.5 - side / 2) for value in head.center)
    height, width = field.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    seen, there = np.s_[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    moved = head.moved(-left, -top, (side, side))
    image = np.empty((side, side, 3), np.uint8)
    if (x1 - x0, y1 - y0) != (side, side):
        image[:] = np.rint(np.median(field[seen][~moved.mask[there]].reshape(-1, 3), axis=0))
    image[there] = field[seen]
    return HeadCrop(image, moved, (left, top))
