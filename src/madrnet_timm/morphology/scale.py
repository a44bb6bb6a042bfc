"""The scale of a field: the length of its heads, the most common compact dark objects of one size."""

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .ground import Ground
from .regions import regions_at

__all__ = ["head_length"]

_LEVELS = (0.2, 0.33, 0.5)  # of the light that is absorbed
_LEAST_LENGTH = 9  # px
_LARGEST = 0.45  # of the image's shorter side
_HUMAN = (2.8, 7.0)  # µm, lengths of heads
_SPREAD = 0.15  # of the logarithm of the lengths of one field's heads


def head_length(dark: NDArray[np.uint8], ground: Ground, um_per_px: float | None = None) -> float | None:
    """Length in pixels around which the votes of compact dark regions gather, weighted by area and darkness.

    Args:
        dark: Part of the light that is absorbed, ``(h, w)``, 0 to 255.
        ground: Background.
        um_per_px: Micrometres per pixel of ``dark``.

    Returns:
        None where there is no compact dark region.
    """
    low, high = float(_LEAST_LENGTH), _LARGEST * min(dark.shape)
    if um_per_px is not None:
        low, high = max(low, _HUMAN[0] / um_per_px), min(high, _HUMAN[1] / um_per_px)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    lengths, weights = [], []
    for level in _LEVELS:
        if level < 5 * ground.noise:
            continue
        binary = cv2.morphologyEx((dark > 255 * level).astype(np.uint8), cv2.MORPH_OPEN, kernel)
        for region in regions_at(binary, 0.25 * low**2, 0.8 * high**2):
            compact = 1.1 < region.aspect_ratio < 2.6 and region.fill > 0.95 and region.solidity > 0.92
            if compact and low <= region.length <= high:
                lengths.append(region.length)
                weights.append(region.area * level)
    if not lengths:
        return None
    place, weight = np.log(lengths), np.array(weights)
    votes = (np.exp(-(((place[:, None] - place) / _SPREAD) ** 2) / 2) * weight).sum(axis=1)
    best = place[int(votes.argmax())]
    near = np.abs(place - best) < 2 * _SPREAD
    return float(np.exp(np.average(place[near], weights=weight[near])))
