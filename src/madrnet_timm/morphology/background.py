"""The background of an image: a plane through what is neither head nor debris."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["Plane", "background_planes", "fit_plane"]

_STEP = 4  # px of the grid that the plane is fitted on
_REACH = 3  # median absolute deviations from the plane that still are background

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """Plane ``level + along_x · x + along_y · y`` in gray levels, and the noise around it.

    Attributes:
        level: Gray level at the middle of the first pixel.
        along_x: Gray levels per pixel.
        along_y: Gray levels per pixel.
        noise: Median absolute deviation of the background from the plane, at least half a gray level.
    """

    level: float
    along_x: float
    along_y: float
    noise: float

    def at(self, height: int, width: int, left: float = 0, top: float = 0, step: float = 1) -> FloatArray:
        """Values of the plane on a grid ``(height, width)`` that begins at ``(left, top)``, ``step`` pixels apart."""
        x = np.arange(width, dtype=np.float32) * np.float32(self.along_x * step)
        y = np.arange(height, dtype=np.float32)[:, None] * np.float32(self.along_y * step)
        return x + (y + np.float32(self.level + self.along_x * left + self.along_y * top))

    def scaled(self, scale: float) -> "Plane":
        """The same plane over an image ``scale`` times as large."""
        shift = 0.5 / scale - 0.5
        level = self.level + (self.along_x + self.along_y) * shift
        return Plane(level, self.along_x / scale, self.along_y / scale, self.noise)


def _median(values: NDArray[np.float64]) -> float:
    """Median; of an even number the upper one of the two in the middle."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def fit_plane(channel: NDArray[np.uint8] | FloatArray) -> Plane:
    """The plane through the background of a channel ``(h, w)``.

    Fitted on a grid of every fourth pixel, as far from the one border as from the other: first to what lies within 3
    median absolute deviations (MAD) of the median, then twice to what lies within 3 MAD of the plane.
    """
    height, width = channel.shape
    top, left = (height - 1) % _STEP // 2, (width - 1) % _STEP // 2
    values = channel[top::_STEP, left::_STEP].astype(np.float64)
    rows, columns = values.shape
    grid = np.ones((3, rows, columns))
    grid[1] = np.arange(columns) - (columns - 1) / 2
    grid[2] = (np.arange(rows) - (rows - 1) / 2)[:, None]
    design, values = grid.reshape(3, -1), values.reshape(-1)
    coef = np.array([_median(values), 0.0, 0.0])
    residual, noise = values - coef[0], 0.5
    for _ in range(3):
        noise = max(_median(np.abs(residual - _median(residual))), 0.5)
        keep = (np.abs(residual) <= _REACH * noise).astype(np.float64)
        if keep.sum() < 12:
            break
        kept = design * keep
        # the least norm where a single row or column of the grid leaves a slope open
        coef = np.linalg.lstsq(kept @ design.T, kept @ values, rcond=1e-10)[0]
        residual = values - coef @ design
    along_x, along_y = coef[1] / _STEP, coef[2] / _STEP
    middle_x, middle_y = left + _STEP * (columns - 1) / 2, top + _STEP * (rows - 1) / 2
    level = coef[0] - along_x * middle_x - along_y * middle_y
    return Plane(float(level), float(along_x), float(along_y), noise)


def background_planes(image: NDArray[np.uint8]) -> FloatArray:
    """Background of an RGB image, one plane per channel, ``(height, width, 3)``."""
    smooth = cv2.GaussianBlur(image, (0, 0), 1)
    return np.stack([fit_plane(smooth[..., c]).at(*image.shape[:2]) for c in range(3)], axis=2)
