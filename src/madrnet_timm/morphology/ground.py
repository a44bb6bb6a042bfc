"""The empty background of a whole field: its light, the black surround of an eyepiece, how even it is."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["Ground", "find_ground"]

_GRID = 72  # longer side of the small image that the light is fitted on
_BLACK = 0.25  # of the field's light: a surround is darker
_LEAST_SURROUND = 0.004  # of the field
_DEGREE = 4  # of the polynomial in x and y
_ROUNDS = 4  # of the fit
_SAMPLED = 8  # px between those that the grain is taken of
_EVEN = 0.08  # relative deviation from the light up to which a pixel is background

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Ground:
    """Background of a field.

    Attributes:
        light: Gray level of the background in the green channel, ``(h, w)`` uint8, of the image that it was found on.
        colour: Level of red, green and blue over that of green.
        surround: Where there is no field but the black around it, ``(h, w)`` bool; None where it is all field.
        noise: Median absolute deviation of the background from the light, as a fraction of it, after much averaging.
        grain: The same of single pixels of the image, in gray levels.
        share: Part of the field that is background.
        level: Median of the light in gray levels.
    """

    light: UInt8Array
    colour: NDArray[np.float64]
    surround: NDArray[np.bool_] | None
    noise: float
    grain: float
    share: float
    level: float

    def absorbed_green(self, image: UInt8Array) -> UInt8Array:
        """Part of the green light that is absorbed, 0 to 255, nothing in the surround; of the image of the light."""
        out = 255 - cv2.divide(cv2.extractChannel(image, 1), self.light, scale=255)
        if self.surround is not None:
            out[self.surround] = 0
        return out

    def absorbed(self, image: UInt8Array, light: UInt8Array) -> UInt8Array:
        """Part of the light that is absorbed in each channel, 0 to 255.

        Args:
            image: ``(h, w, 3)``, a part of the image of the light, or that at another size.
            light: The light there, ``(h, w)``.
        """
        channels = [
            cv2.divide(channel, light, scale=255 / colour)
            for channel, colour in zip(cv2.split(image), self.colour.tolist(), strict=True)
        ]
        return 255 - cv2.merge(channels)


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


@lru_cache(maxsize=4)
def _design(width: int, height: int) -> NDArray[np.float64]:
    """The polynomial's terms at each pixel, ``(height, width, terms)``."""
    powers = np.arange(_DEGREE + 1)
    columns = ((2 * np.arange(width) + 1) / width - 1)[:, None] ** powers
    rows = ((2 * np.arange(height) + 1) / height - 1)[:, None] ** powers
    chosen = [(i, j) for i in powers for j in powers if i + j <= _DEGREE]
    return np.stack([np.outer(rows[:, j], columns[:, i]) for i, j in chosen], axis=-1)


def _fit(
    values: NDArray[np.float64], design: NDArray[np.float64]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.float64], NDArray[np.bool_]]:
    """Coefficients, residuals and which values are background: begun with the brighter ones, as objects are dark."""
    ridge = 1e-6 * len(values) * np.eye(design.shape[1])
    keep = values >= np.percentile(values, 40)
    for _ in range(_ROUNDS):
        part = design[keep]
        coefficients = np.linalg.solve(part.T @ part + ridge, part.T @ values[keep])
        residual = values - design @ coefficients
        middle = float(np.median(residual[keep]))
        spread = max(float(np.median(np.abs(residual[keep] - middle))), 0.5)
        keep = np.abs(residual - middle) < 4 * spread
        if keep.sum() < 10 * design.shape[1]:
            keep = np.ones(len(values), dtype=bool)
    return coefficients, residual, keep


def _grain(image: UInt8Array, light: UInt8Array, covered: NDArray[np.bool_] | None) -> float:
    """Median absolute deviation of pixels, most of which are background, from their median; at least half a level."""
    some = np.s_[::_SAMPLED, ::_SAMPLED]
    difference = image[..., 1][some].astype(np.float32) - light[some]
    values = difference.ravel() if covered is None else difference[~covered[some]]
    return max(float(np.median(np.abs(values - np.median(values)))), 0.5)


def find_ground(image: NDArray[np.uint8]) -> Ground:
    """Fit the light of a field: a polynomial of the fourth degree through what is neither an object nor surround.

    Args:
        image: ``(height, width, 3)`` RGB, dark objects on a bright background.
    """
    height, width = image.shape[:2]
    scale = min(_GRID / max(height, width), 1)
    size = (max(round(width * scale), 4), max(round(height * scale), 4))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    green = small[..., 1].astype(np.float32)
    black = _surround(green)
    design = _design(*size)
    values = green[~black].astype(np.float64)
    if len(values) < 10 * design.shape[2]:
        return Ground(np.full((height, width), 255, np.uint8), np.ones(3), None, 1.0, 0.5, 0.0, float(np.median(green)))
    coefficients, residual, keep = _fit(values, design[~black])
    level = float(np.median(values[keep]))
    fitted = np.clip(np.rint(design @ coefficients), max(0.2 * level, 1), 255).astype(np.uint8)
    relative = residual / fitted[~black]
    colour = np.median(small[~black][keep], axis=0)
    covered = None
    if black.any():
        covered = cv2.resize(black.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    light = cv2.resize(fitted, (width, height), interpolation=cv2.INTER_LINEAR)
    return Ground(
        light,
        np.maximum(colour, 1) / max(float(colour[1]), 1),
        covered,
        max(float(np.median(np.abs(relative[keep]))), 0.002),
        _grain(image, light, covered),
        float((np.abs(relative) < _EVEN).mean()),
        level,
    )
