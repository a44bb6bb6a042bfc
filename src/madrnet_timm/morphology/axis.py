"""The long axis of a head and what lies along it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["ROWS", "Profile", "principal_axis", "profile"]

ROWS = 64
"""Rows that a head is taken apart into, from end to end."""

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def principal_axis(mask: BoolArray) -> tuple[tuple[float, float], tuple[float, float], float, float]:
    """Centre ``(x, y)``, unit vector of the long axis, and the variances along and across it, in pixels.

    Central second moments of the mask's pixels, 1/12 added for the extent of a pixel.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    moments = cv2.moments(mask[y : y + height, x : x + width].astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    xx, yy, xy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12, moments["mu11"] / area
    mean, difference = (xx + yy) / 2, (xx - yy) / 2
    spread = float(np.hypot(difference, xy))
    angle = 0.5 * float(np.arctan2(2 * xy, xx - yy))
    center = (x + moments["m10"] / area, y + moments["m01"] / area)
    return center, (float(np.cos(angle)), float(np.sin(angle))), mean + spread, max(mean - spread, 1 / 12)


@dataclass(frozen=True)
class Profile:
    """A head turned upright: `ROWS` rows from one end to the other, a column for each pixel across.

    Attributes:
        cover: Part of each cell that is head, ``(rows, columns)``, from 0 to 1.
        stain: Gray levels below the background, ``(rows, columns)``.
        width: Pixels across, ``(rows,)``.
        darkness: Mean gray levels below the background, ``(rows,)``.
        axis: Unit vector ``(x, y)`` from row 0 to the last row.
        center: Centroid ``(x, y)``.
        length: Pixels from end to end.
        along: Variance along the axis.
        across: Variance across it.
    """

    cover: FloatArray
    stain: FloatArray
    width: NDArray[np.float64]
    darkness: NDArray[np.float64]
    axis: tuple[float, float]
    center: tuple[float, float]
    length: float
    along: float
    across: float


def profile(mask: BoolArray, darkness: FloatArray, contour: NDArray[np.int32]) -> Profile:
    """Profile of a head along its long axis; ``contour`` is its outline ``(points, 2)`` in the mask's pixels."""
    center, axis, *variances = principal_axis(mask)
    offset = contour - np.array(center)
    along, across = offset @ np.array(axis), offset @ np.array((-axis[1], axis[0]))
    low, high = float(along.min()) - 0.5, float(along.max()) + 0.5
    half = int(np.abs(across).max()) + 2
    step = (high - low) / ROWS
    # from cells to pixels of the mask; rows lie along the axis, columns across it
    start = low + step / 2
    matrix = np.array(
        [
            [-axis[1], step * axis[0], center[0] + start * axis[0] + half * axis[1]],
            [axis[0], step * axis[1], center[1] + start * axis[1] - half * axis[0]],
        ]
    )
    size, flags = (2 * half + 1, ROWS), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cover = cv2.warpAffine(mask.astype(np.float32), matrix, size, flags=flags)
    stain = cv2.warpAffine(darkness, matrix, size, flags=flags)
    width = cover.sum(axis=1, dtype=np.float64)
    dark = (cover * stain).sum(axis=1, dtype=np.float64) / np.maximum(width, 1e-6)
    return Profile(cover, stain, width, dark, axis, center, high - low, *variances)
