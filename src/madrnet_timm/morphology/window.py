"""Measuring one object of a field, whose place is known."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .ground import Ground
from .head import HeadMorphology, measure_object
from .judge import Candidate
from .regions import Region

__all__ = ["measure_in_field"]

_MARGIN = 0.9  # of the root of a head's area: what `measure_object` looks at around it, and a little more
_NEAR = 2  # px: an outline that comes so near to the surround is cut by it

UInt8Array = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


def measure_in_field(
    rgb: UInt8Array,
    ground: Ground,
    owner: NDArray[np.int32],
    candidate: Candidate,
    um_per_px: float | None,
) -> HeadMorphology:
    """What `measure_object` gives for a candidate, in the field's coordinates.

    Args:
        rgb: The field, ``(height, width, 3)``.
        ground: Its background, on a smaller image of it.
        owner: Number of the candidate that is nearest to each pixel, on another smaller image, that of the candidates.
        candidate: The head.
        um_per_px: Micrometres per pixel, if known.
    """
    size = rgb.shape[:2]
    view = _View.around(candidate.region, owner.shape, size)
    near = view.source(owner.shape)
    own = owner[near] == candidate.number
    core = _within(candidate.region, near, own.shape)
    others = ~view.of_mask(own, owner.shape)
    if ground.surround is not None:
        surround = view.of_mask(ground.surround[view.source(ground.surround.shape)], ground.surround.shape)
        others |= surround
    light = view.of(ground.light[view.source(ground.light.shape)].astype(np.float32), ground.light.shape)
    left, top = view.corner
    found = measure_object(
        rgb[top : top + view.extent[1], left : left + view.extent[0]],
        view.of_mask(core, owner.shape),
        others=others,
        ground=(light, ground.grain),
        um_per_px=um_per_px,
    )
    if found.box is None:
        return found.moved(left, top, size)
    cut = _is_near_border(view, found.box, size)
    if ground.surround is not None and surround.any():
        cut = cut or bool((_widened(found.mask) & surround).any())
    flags = found.flags - {"touches_border", "two_heads"}
    flags |= {"touches_border"} if cut else set()
    flags |= {"touching"} if candidate.touching else set()
    return replace(found.moved(left, top, size), flags=flags)


@dataclass(frozen=True)
class _View:
    """A part of a field, in whose pixels other images of the field are seen.

    Attributes:
        corner: ``(x, y)`` in the field.
        extent: Width and height.
        size: Height and width of the field.
    """

    corner: tuple[int, int]
    extent: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def around(cls, region: Region, shape: tuple[int, ...], size: tuple[int, int]) -> "_View":
        """What lies around a region of an image of this shape."""
        margin = _MARGIN * math.sqrt(region.area)
        x, y = size[1] / shape[1], size[0] / shape[0]
        x0, y0, x1, y1 = region.box
        left, top = max(math.floor((x0 - margin) * x), 0), max(math.floor((y0 - margin) * y), 0)
        right, bottom = min(math.ceil((x1 + margin) * x), size[1]), min(math.ceil((y1 + margin) * y), size[0])
        return cls((left, top), (right - left, bottom - top), size)

    def source(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """The part of an image of the field, of this shape, that the view needs."""
        rows, columns = (
            slice(max(int(first * part / whole) - 1, 0), int((first + count) * part / whole) + 2)
            for first, count, part, whole in zip(self.corner[::-1], self.extent[::-1], shape, self.size, strict=True)
        )
        return rows, columns

    def of(self, part: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """That part, at the field's resolution."""
        y, x = (at / whole for at, whole in zip(shape, self.size, strict=True))
        rows, columns = self.source(shape)
        matrix = np.array(
            [
                [x, 0, (self.corner[0] + 0.5) * x - 0.5 - columns.start],
                [0, y, (self.corner[1] + 0.5) * y - 0.5 - rows.start],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(part, matrix, self.extent, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def of_mask(self, part: BoolArray, shape: tuple[int, ...]) -> BoolArray:
        """That part of a mask, at the field's resolution."""
        return self.of(part.view(np.uint8) * np.uint8(255), shape) > 127


def _within(region: Region, part: tuple[slice, slice], shape: tuple[int, int]) -> BoolArray:
    """The mask of a region in a part of its image, which has this shape; a large one may go beyond it."""
    x0, y0, x1, y1 = region.box
    top, left = part[0].start, part[1].start
    rows, columns = slice(max(y0, top), min(y1, top + shape[0])), slice(max(x0, left), min(x1, left + shape[1]))
    out = np.zeros(shape, dtype=bool)
    out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = region.mask[
        rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0
    ]
    return out


def _widened(mask: BoolArray) -> BoolArray:
    return cv2.dilate(mask.view(np.uint8), np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)).view(bool)


def _is_near_border(view: _View, box: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Whether a box in the view's pixels comes near to the border of the field."""
    x, y = view.corner
    return min(box[0] + x, box[1] + y) < _NEAR or box[2] + x > size[1] - _NEAR or box[3] + y > size[0] - _NEAR
