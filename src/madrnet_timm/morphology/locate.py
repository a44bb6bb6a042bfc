"""Which dark object of an image is the head: its core, in a frame that is the same for every image size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .background import Plane, fit_plane

__all__ = ["Located", "locate"]

_FRAME = 131  # long side of the working frame in pixels, that of HuSHeM's crops
_LEAST_CORE = 30  # px of the frame
_NEAR = 0.12  # of the frame's side: what lies farther from the middle than this counts for less and less
_NEIGHBOUR_AREA = 0.4  # of the head's core
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_DISC = _DISC | _DISC.T  # the same however the image lies

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Located:
    """The dark object nearest to the middle of an image.

    Attributes:
        core: Its darkest part, ``(h, w)`` bool, in the frame.
        scale: Pixels of the frame per pixel of the image.
        ground: Background of the image, in pixels of the image.
        others: Centres ``(x, y)`` of other dark objects of at least 0.4 of the core's size, ``(n, 2)``, in the frame.
    """

    core: BoolArray
    scale: float
    ground: Plane
    others: NDArray[np.float64]


def locate(green: NDArray[np.uint8]) -> Located | None:
    """The dark object nearest to the middle of an image's green channel ``(h, w)``, or None."""
    height, width = green.shape
    scale = _FRAME / max(height, width)
    if abs(scale - 1) > 0.01:
        size = (max(round(width * scale), 8), max(round(height * scale), 8))
        frame = cv2.resize(green, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    else:
        scale, frame = 1.0, green
    smooth = cv2.GaussianBlur(frame, (0, 0), 1)
    ground = fit_plane(smooth)
    levels = np.clip(ground.at(*smooth.shape) - smooth, 0, 255).astype(np.uint8)
    _, binary = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    binary = cv2.morphologyEx(binary, cv2.MORPH_OPEN, _DISC)
    count, labels, stats, centers = cv2.connectedComponentsWithStats(binary, connectivity=4)
    area = stats[1:, cv2.CC_STAT_AREA].astype(np.float64)
    if count < 2 or area.max() < _LEAST_CORE:
        return None
    middle = np.array([(frame.shape[1] - 1) / 2, (frame.shape[0] - 1) / 2])
    distance = np.linalg.norm(centers[1:] - middle, axis=1)
    score = np.where(area >= _LEAST_CORE, area / (1 + (distance / (_NEAR * _FRAME)) ** 4), -1)
    best = int(score.argmax())
    extent = np.maximum(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT])
    others = (area >= _NEIGHBOUR_AREA * area[best]) & (extent < _FRAME / 2)  # a black bar is the edge of the field
    others[best] = False
    return Located(labels == 1 + best, scale, ground.scaled(1 / scale), centers[1:][others])
