"""Measuring one object of a field, in a window in which all else is background."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .ground import Ground
from .head import HeadMorphology, measure
from .judge import Candidate

__all__ = ["measure_in_field"]

_SIDE = 2.7  # head lengths, about what a crop of HuSHeM shows
_NEAR = 2  # px: an outline that comes so near to the border is cut by it

UInt8Array = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


def measure_in_field(
    rgb: UInt8Array,
    ground: Ground,
    owner: NDArray[np.int32],
    candidate: Candidate,
    length: float,
    um_per_px: float | None,
) -> HeadMorphology:
    """What `measure` gives for a candidate, in the field's coordinates.

    Args:
        rgb: The field, ``(height, width, 3)``.
        ground: Its background, on a smaller image of it.
        owner: Number of the candidate that is nearest to each pixel, on another smaller image, that of the candidates.
        candidate: The head.
        length: Of the field's heads in pixels of the field.
        um_per_px: Micrometres per pixel, if known.
    """
    height, width = rgb.shape[:2]
    scale = np.array([width / owner.shape[1], height / owner.shape[0]])
    side = round(_SIDE * length)
    left, top = np.rint((np.array(candidate.region.center) + 0.5) * scale - 0.5 - side / 2).astype(int).tolist()
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    own = _own(owner, candidate.number, scale, (left, top), side)
    cut = np.zeros((side, side), dtype=bool)
    if ground.surround is not None:
        cut = _part(ground.surround, (width, height), (left, top), side)
    level = _part(ground.light, (width, height), (left + side // 2, top + side // 2), 1)
    window = np.full((side, side), level, np.uint8)
    window[inside] = np.where(own[inside] & ~cut[inside], rgb[y0:y1, x0:x1, 1], window[inside])
    cut |= _beyond((side, side), inside)
    return _in_field(
        measure(window, um_per_px), candidate.touching, cut, (left, top), (x0, y0, x1, y1), (height, width)
    )


def _part(image: NDArray[np.generic], size: tuple[int, int], corner: tuple[int, int], side: int) -> NDArray[np.generic]:
    """A square of an image as if it had another size; beyond the border its outermost pixels go on."""
    x, y = image.shape[1] / size[0], image.shape[0] / size[1]
    matrix = np.array([[x, 0, (corner[0] + 0.5) * x - 0.5], [0, y, (corner[1] + 0.5) * y - 0.5]])
    sampling = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    if image.dtype == bool:
        return cv2.warpAffine(image.astype(np.uint8) * 255, matrix, (side, side), **sampling) > 127
    return cv2.warpAffine(image, matrix, (side, side), **sampling)


def _own(
    owner: NDArray[np.int32], number: int, scale: NDArray[np.float64], corner: tuple[int, int], side: int
) -> BoolArray:
    """What of a window lies nearest to a candidate, see `measure_in_field`."""
    low = np.floor(np.array(corner) / scale).astype(int) - 1
    high = np.ceil((np.array(corner) + side) / scale).astype(int) + 1
    x0, y0 = np.maximum(low, 0).tolist()
    mine = (owner[y0 : high[1], x0 : high[0]] == number).view(np.uint8) * np.uint8(255)
    shift = (np.array(corner) + 0.5) / scale - 0.5 - (x0, y0)
    matrix = np.array([[1 / scale[0], 0, shift[0]], [0, 1 / scale[1], shift[1]]])
    return cv2.warpAffine(mine, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 127


def _beyond(shape: tuple[int, int], inside: tuple[slice, slice]) -> BoolArray:
    """What of a window lies beyond the field."""
    out = np.ones(shape, dtype=bool)
    out[inside] = False
    return out


def _in_field(
    found: HeadMorphology,
    touching: bool,
    cut: BoolArray,
    corner: tuple[int, int],
    visible: tuple[int, int, int, int],
    size: tuple[int, int],
) -> HeadMorphology:
    """What was measured in a window, in the field's coordinates.

    Args:
        found: The measurement.
        touching: Whether it is several heads.
        cut: What of the window isn't the field.
        corner: Of the window in the field, ``(x, y)``.
        visible: The window's part of the field, ``(x0, y0, x1, y1)``.
        size: Height and width of the field.
    """
    if found.center is None or found.box is None:
        return found
    left, top = corner
    x0, y0, x1, y1 = visible
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    mask, neck = np.zeros((2, *size), dtype=bool)
    mask[y0:y1, x0:x1] = found.mask[inside]
    neck[y0:y1, x0:x1] = found.neck[inside]
    flags = set(found.flags) - {"touches_border", "two_heads"}
    if touching:
        flags.add("touching")
    bx0, by0, bx1, by1 = found.box
    around = np.s_[max(by0 - _NEAR, 0) : by1 + _NEAR, max(bx0 - _NEAR, 0) : bx1 + _NEAR]
    if cut[around].any():
        near = cv2.dilate(found.mask[around].astype(np.uint8), np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)) > 0
        if (near & cut[around]).any():
            flags.add("touches_border")
    x, y, width, height = cv2.boundingRect(found.mask[inside].astype(np.uint8))
    if width == 0:
        return replace(found, center=None)
    return replace(
        found,
        mask=mask,
        neck=neck,
        contour=found.contour + np.array(corner, dtype=np.float32),
        center=(found.center[0] + left, found.center[1] + top),
        box=(x0 + x, y0 + y, x0 + x + width, y0 + y + height),
        flags=frozenset(flags),
    )
