"""The scale of a field: the length of its heads, the most common compact dark objects of one size."""

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .ground import Ground
from .regions import Region, regions_at

__all__ = ["HUMAN_LENGTHS", "head_lengths", "is_green"]

HUMAN_LENGTHS = (2.8, 7.0)
"""In µm: where the scale is known, heads of another typical length are not looked for."""

_LEVELS = (0.2, 0.33, 0.5)  # of the light that is absorbed
_LEAST_LENGTH = 9.0  # px
_LARGEST = 0.45  # of the image's shorter side
_SPREAD = 0.15  # of the logarithm of the lengths of one field's heads
_MOST_SCALES = 3
_MOST_VOTERS = 3000  # a scan has more, which would not change the outcome
_LEAST_VOTES = 0.2  # of those of the first scale

UInt8Array = NDArray[np.uint8]


def is_green(absorbance: NDArray[np.float64]) -> bool:
    """Whether an object of this absorbance in red, green and blue is green, as no stained nucleus is."""
    red, green, blue = absorbance.tolist()
    return green < 0.85 * min(red, blue)


def head_lengths(image: UInt8Array, dark: UInt8Array, ground: Ground, um_per_px: float | None = None) -> list[float]:
    """Lengths in pixels around which the votes of compact dark regions gather, the one with most votes first.

    Larger and darker regions weigh more, round ones less, because tiny debris and round cells may outnumber heads.

    Args:
        image: RGB, ``(h, w, 3)``.
        dark: Part of its green light that is absorbed, ``(h, w)``, 0 to 255.
        ground: Its background.
        um_per_px: Micrometres per pixel of it.
    """
    low, high = _LEAST_LENGTH, _LARGEST * min(dark.shape)
    if um_per_px is not None:
        low, high = max(low, HUMAN_LENGTHS[0] / um_per_px), min(high, HUMAN_LENGTHS[1] / um_per_px)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    lengths, weights = [], []
    for level in _LEVELS:
        if level < 5 * ground.noise:
            continue
        _, binary = cv2.threshold(dark, 255 * level, 1, cv2.THRESH_BINARY)
        binary = cv2.morphologyEx(binary, cv2.MORPH_OPEN, kernel)
        for region in regions_at(binary, 0.25 * low**2, 0.8 * high**2):
            weight = level * _weight(region) if low <= region.length <= high else 0
            if weight > 0 and not _is_green_region(image, ground, region):
                lengths.append(region.length)
                weights.append(weight)
    return _peaks(np.log(lengths), np.array(weights))


def _weight(region: Region) -> float:
    """How much a region counts: nothing unless it is like an ellipse, less where it is round."""
    if region.fill < 0.95 or region.solidity < 0.92 or region.squareness > 0.87 or region.aspect_ratio > 2.6:
        return 0.0
    return float(region.area**0.75 * np.clip((region.aspect_ratio - 1.05) / 0.2, 0, 1))


def _is_green_region(image: UInt8Array, ground: Ground, region: Region) -> bool:
    x0, y0, x1, y1 = region.box
    absorbed = ground.absorbed(image[y0:y1, x0:x1], ground.light[y0:y1, x0:x1])
    mean = np.array(cv2.mean(absorbed, region.mask)[:3])
    return is_green(-np.log(1 - np.minimum(mean, 250) / 255))


def _peaks(place: NDArray[np.float64], weight: NDArray[np.float64]) -> list[float]:
    """Up to `_MOST_SCALES` places with most votes, none near another, as lengths."""
    out: list[float] = []
    if len(place) > _MOST_VOTERS:
        heaviest = np.argpartition(weight, -_MOST_VOTERS)[-_MOST_VOTERS:]
        place, weight = place[heaviest], weight[heaviest]
    votes = (np.exp(-(((place[:, None] - place) / _SPREAD) ** 2) / 2) * weight).sum(axis=1)
    left = np.ones(len(place), dtype=bool)
    while left.any() and len(out) < _MOST_SCALES:
        best = int(np.where(left, votes, -1).argmax())
        if votes[best] < _LEAST_VOTES * votes.max():
            break
        near = np.abs(place - place[best]) < 2 * _SPREAD
        out.append(float(np.exp(np.average(place[near], weights=weight[near]))))
        left &= np.abs(place - place[best]) > 3 * _SPREAD
    return out
