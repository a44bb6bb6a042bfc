"""The empty background of a whole field: its light, the black surround of an eyepiece, how even it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["Ground", "absorption", "find_ground"]

_GRID = 72  # longer side of the small image that the light is fitted on
_BLACK = 0.25  # of the field's light: a surround is darker
_LEAST_SURROUND = 0.004  # of the field
_DEGREE = 4  # of the polynomial in x and y
_EVEN = 0.08  # relative deviation from the light up to which a pixel is background

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Ground:
    """Background of a field.

    Attributes:
        light: Gray level of the background, ``(h, w)`` float32 of the image that it was found on.
        surround: Where there is no field but the black around it, ``(h, w)`` bool.
        noise: Median absolute deviation of the background from the light, as a fraction of it.
        share: Part of the field that is background.
        level: Median of the light in gray levels.
    """

    light: FloatArray
    surround: NDArray[np.bool_]
    noise: float
    share: float
    level: float


def _surround(small: FloatArray) -> NDArray[np.bool_]:
    """Black areas of the small image that hold one of its corners, and are more than a head that is cut there."""
    dark = (small < _BLACK * np.percentile(small, 75)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
    corners = np.unique(labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    out = np.zeros(small.shape, dtype=bool)
    for label in corners[corners > 0]:
        if stats[label, cv2.CC_STAT_AREA] > _LEAST_SURROUND * small.size:
            out |= labels == label
    return cv2.dilate(out.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0 if out.any() else out


def _powers(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Powers 0 to `_DEGREE` of the columns' and the rows' place, -1 to 1: ``(width, n)`` and ``(height, n)``."""
    powers = np.arange(_DEGREE + 1)
    return (
        ((2 * np.arange(width) + 1) / width - 1)[:, None] ** powers,
        ((2 * np.arange(height) + 1) / height - 1)[:, None] ** powers,
    )


def find_ground(gray: NDArray[np.uint8]) -> Ground:
    """Fit the light of a field: a polynomial of the fourth degree through what is neither an object nor surround.

    Args:
        gray: ``(height, width)``, dark objects on a bright background.
    """
    height, width = gray.shape
    scale = min(_GRID / max(height, width), 1)
    size = (max(round(width * scale), 4), max(round(height * scale), 4))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    black = _surround(small)
    columns, rows = _powers(*size)
    chosen = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    design = np.stack([np.outer(rows[:, j], columns[:, i]) for i, j in chosen], axis=-1)[~black]
    values = small[~black].astype(np.float64)
    if len(values) < 10 * len(chosen):
        level = float(np.median(small))
        return Ground(np.full(gray.shape, max(level, 1), np.float32), np.ones(gray.shape, bool), 1.0, 0.0, level)
    ridge = 1e-6 * len(values) * np.eye(len(chosen))
    keep = values >= np.percentile(values, 40)
    for _ in range(4):
        part = design[keep]
        coefficients = np.linalg.solve(part.T @ part + ridge, part.T @ values[keep])
        residual = values - design @ coefficients
        middle = float(np.median(residual[keep]))
        spread = max(float(np.median(np.abs(residual[keep] - middle))), 0.5)
        keep = (residual > middle - 4 * spread) & (residual < middle + 4 * spread)
        if keep.sum() < 10 * len(chosen):
            keep = np.ones(len(values), dtype=bool)
    fitted = np.zeros(size[::-1])
    for (i, j), coefficient in zip(chosen, coefficients, strict=True):
        fitted += coefficient * np.outer(rows[:, j], columns[:, i])
    level = float(np.median(values[keep]))
    fitted = np.clip(fitted, max(0.2 * level, 1), 255).astype(np.float32)
    relative = residual / np.maximum(fitted[~black], 1)
    return Ground(
        cv2.resize(fitted, (width, height), interpolation=cv2.INTER_LINEAR),
        cv2.resize(black.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0,
        max(float(np.median(np.abs(relative[keep]))), 0.002),
        float((np.abs(relative) < _EVEN).mean()),
        level,
    )


def absorption(image: NDArray[np.uint8], ground: Ground) -> NDArray[np.uint8]:
    """Part of the light that is absorbed in each channel, 0 to 255; nothing in the surround.

    Args:
        image: ``(h, w, 3)``, of whose green channel the ground was found.
        ground: Its background.
    """
    sample = image[::4, ::4].reshape(-1, 3)
    light = ground.light[::4, ::4].reshape(-1)
    empty = (np.abs(sample[:, 1] / light - 1) < _EVEN) & ~ground.surround[::4, ::4].reshape(-1)
    colour = np.median(sample[empty], axis=0) if empty.any() else np.array([255.0, 255.0, 255.0])
    channels = [
        cv2.divide(
            cv2.extractChannel(image, c),
            ground.light,
            scale=float(255 * colour[1] / max(colour[c], 1)),
            dtype=cv2.CV_8U,
        )
        for c in range(3)
    ]
    out = 255 - cv2.merge(channels)
    out[ground.surround] = 0
    return out
