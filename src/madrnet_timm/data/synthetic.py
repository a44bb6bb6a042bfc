"""Drawn sperm heads with known axes: the embedded data set, and ground truth for the measurement.

Four shapes in the stain colours of HuSHeM's smears, with a pale acrosome, a tail and now and then debris. They are
drawn to be learned in a minute, not to be mistaken for cells.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["ASPECT_RATIOS", "SHAPES", "SyntheticHead", "coverage", "draw_head", "moments", "outline"]

SHAPES = ("Normal", "Tapered", "Pyriform", "Amorphous")
ASPECT_RATIOS = {"Normal": 1.5, "Tapered": 2.15, "Pyriform": 1.75, "Amorphous": 1.5}
"""Typical half length over half width of each shape's ellipse, before it is bent."""

_SUPERSAMPLING = 4
_SHIFT = 6  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class SyntheticHead:
    """A drawn head and its ground truth.

    Attributes:
        image: ``(size, size, 3)`` RGB uint8.
        mask: ``(size, size)`` bool.
        angle: Direction of the acrosome, degrees counter-clockwise from the image's right.
        aspect_ratio: Ratio of the axes of the ellipse with the outline's second moments.
        length: Long axis of that ellipse in pixels.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    angle: float
    aspect_ratio: float
    length: float


def outline(shape: str, half_length: float, half_width: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points of the outline, the acrosome towards +x, the long axis along x."""
    t = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    x, y = half_length * np.cos(t), half_width * np.sin(t)
    along = np.cos(t)  # 1 at the acrosome's end, -1 at the tail's
    if shape == "Tapered":
        y *= 1 + 0.12 * along
    elif shape == "Pyriform":
        y *= np.clip(0.62 + 0.55 * along - 0.12 * along**2, 0.2, None)
    elif shape == "Amorphous":
        for waves, least, most in ((2, 0.03, 0.1), (3, 0.1, 0.16), (5, 0.06, 0.1)):
            amplitude, phase = rng.uniform(least, most), rng.uniform(0, 2 * np.pi)
            wave = 1 + amplitude * np.cos(waves * t + phase)
            x, y = x * wave, y * wave
    return np.column_stack([x, y])


def moments(polygon: NDArray[np.float64]) -> tuple[float, float, float]:
    """Ratio of the axes, long axis and its angle (radians, y downwards) from a polygon's exact second moments."""
    m = cv2.moments(polygon.astype(np.float32)[:, None])
    xx, yy, xy = m["mu20"] / m["m00"], m["mu02"] / m["m00"], m["mu11"] / m["m00"]
    spread = np.hypot((xx - yy) / 2, xy)
    major, minor = (xx + yy) / 2 + spread, (xx + yy) / 2 - spread
    return float(np.sqrt(major / minor)), float(4 * np.sqrt(major)), float(0.5 * np.arctan2(2 * xy, xx - yy))


def coverage(polygon: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Coverage of each pixel by a polygon in pixels, ``(size, size)`` in [0, 1]."""
    k = _SUPERSAMPLING
    canvas = np.zeros((size * k, size * k), dtype=np.uint8)
    points = np.rint(((polygon + 0.5) * k - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(canvas, [points], 255, shift=_SHIFT)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)


def _tail(
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    across: NDArray[np.float64],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """How much of each pixel a bent tail covers, ``(size, size)`` from 0 to 1.

    Args:
        start: Where it leaves the head, ``(x, y)``.
        direction: Unit vector along the head, away from the tail.
        across: Unit vector across the head.
        size: Side of the image in pixels.
        rng: Of the bend.
    """
    t = np.linspace(0, 1, 60)[:, None]
    bend = rng.normal(0, 0.25)
    path = start - direction * t * size * 0.6 + across * bend * (t * size * 0.6) ** 2 / size
    line = np.zeros((size, size), dtype=np.uint8)
    points = np.rint(path * 2**_SHIFT).astype(np.int32)
    cv2.polylines(line, [points], False, 255, max(round(2 * size / 131), 1), cv2.LINE_AA, _SHIFT)
    return line / 255.0


def _stained(
    cover: NDArray[np.float32], along: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A head on its background, ``(size, size, 3)``, and the colour of its nucleus.

    Args:
        cover: How much of each pixel is head.
        along: Where each pixel lies along the head, 1 at the acrosome's end.
        rng: Of the colours.
    """
    size = len(cover)
    background = np.array([205, 160, 195]) + rng.normal(0, 9, size=3)
    nucleus = np.array([92, 42, 120]) + rng.normal(0, 8, size=3)
    acrosome = np.array([168, 84, 158]) + rng.normal(0, 8, size=3)
    cap = 1 / (1 + np.exp(-10 * (along - rng.uniform(-0.05, 0.25))))[..., None]
    gradient = rng.normal(0, 4, size=2)
    ys, xs = np.mgrid[0:size, 0:size]
    ground = background + ((xs * gradient[0] + ys * gradient[1]) / size)[..., None]
    return ground + cover[..., None] * (cap * acrosome + (1 - cap) * nucleus - ground), nucleus


def draw_head(
    shape: str = "Normal",
    seed: int | np.random.Generator = 0,
    size: int = 131,
    half_length: float | None = None,
    half_width: float | None = None,
    tail: bool = True,
    debris: bool | None = None,
) -> SyntheticHead:
    """Draw one head.

    Args:
        shape: One of `SHAPES`. ``Normal`` and ``Tapered`` are ellipses (γ near 1.5 and 2.1), ``Pyriform`` narrows
            towards the tail, ``Amorphous`` is a bent outline.
        seed: Of direction, size, colours, tail and debris.
        size: Side of the image in pixels.
        half_length: Half axis in pixels, drawn around a typical value if None; so `half_width`.
        tail: Draw the tail.
        debris: Draw a dark speck away from the head; at random if None.

    Raises:
        ValueError: Unknown shape.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape={shape!r}: expected one of {', '.join(SHAPES)}")
    rng = np.random.default_rng(seed)
    unit = size / 131
    ratio = ASPECT_RATIOS[shape] * rng.normal(1, 0.04)
    a = half_length if half_length is not None else unit * rng.uniform(22, 26)
    b = half_width if half_width is not None else a / ratio
    angle = rng.uniform(-180, 180)
    middle = (size - 1) / 2 + rng.uniform(-3, 3, size=2) * unit
    direction = np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))])  # y downwards
    across = np.array([-direction[1], direction[0]])

    local = outline(shape, a, b, rng)
    polygon = middle + local[:, :1] * direction + local[:, 1:] * across
    cover = coverage(polygon, size)

    ys, xs = np.mgrid[0:size, 0:size]
    along = ((xs - middle[0]) * direction[0] + (ys - middle[1]) * direction[1]) / a
    image, nucleus = _stained(cover, along, rng)
    if tail:
        start = middle + local[360] @ np.stack([direction, across])  # the end opposite to the acrosome
        weight = 0.55 * (_tail(start, direction, across, size, rng) * (1 - cover))[..., None]
        image += weight * (nucleus - image)
    if debris if debris is not None else rng.random() < 0.3:
        spot = middle + size * 0.36 * np.array([np.cos(t0 := rng.uniform(0, 2 * np.pi)), np.sin(t0)])
        disc = np.exp(-((xs - spot[0]) ** 2 + (ys - spot[1]) ** 2) / (2 * (2.5 * unit) ** 2))[..., None]
        image += disc * (nucleus - image)
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7 * unit) + rng.normal(0, 2.5, size=image.shape)

    aspect_ratio, length, _ = moments(polygon)
    photographed = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return SyntheticHead(photographed, cover >= 0.5, float(angle), aspect_ratio, length)
