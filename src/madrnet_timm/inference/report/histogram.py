"""Histograms of what was measured, in the units of their drawing."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...morphology import HeadRanges
from .slide import Slide, measured

__all__ = ["Histogram", "histograms"]

_LEFT, _RIGHT, _BOTTOM, _TALLEST = 40, 615, 180, 150
_BINS = 30


@dataclass(frozen=True)
class Histogram:
    """A histogram.

    Attributes:
        title: Below the axis.
        bars: Left edge, upper edge and height of each bar.
        width: Of a bar.
        ticks: Position and text of each tick.
        top: Number of heads in the tallest bar.
        box: Left edge and width of a normal head's range; None without one.
        says: The same in a sentence.
        normal: The range in words; None without one.
    """

    title: str
    bars: list[tuple[float, float, float]]
    width: float
    ticks: list[tuple[float, str]]
    top: int
    box: tuple[float, float] | None
    says: str
    normal: str | None
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM
    label_y: int = _BOTTOM - _TALLEST + 4


def _histogram(title: str, values: NDArray[np.float64], edges: NDArray[np.float64], **words: Any) -> Histogram:
    low, high = float(edges[0]), float(edges[-1])
    digits, normal = words["digits"], words["normal"]
    counts, _ = np.histogram(np.clip(values, low, np.nextafter(high, low)), edges)
    scale = (_RIGHT - _LEFT) / (high - low)
    top = max(int(counts.max()), 1)

    def x(value: float) -> float:
        return round(float(_LEFT + (value - low) * scale), 1)

    bars = [
        (x(start), round(_BOTTOM - _TALLEST * n / top, 1), round(_TALLEST * n / top, 1))
        for start, n in zip(edges[:-1].tolist(), counts.tolist(), strict=True)
    ]
    says = f"median {np.median(values):.{digits + 1}f}"
    if normal is not None:
        inside = int(np.sum((normal[0] <= values) & (values <= normal[1])))
        total = f"{len(values)} head{'s' * (len(values) != 1)}"
        says = f"{100 * inside / len(values):.1f} % of {total} in {normal[0]} to {normal[1]}; {says}"
    return Histogram(
        title=title,
        bars=bars,
        width=round(scale * float(edges[1] - edges[0]) - 1, 1),
        ticks=[(x(value), f"{value:.{digits}f}") for value in np.linspace(low, high, 7).tolist()],
        top=top,
        box=None if normal is None else (x(normal[0]), round(x(normal[1]) - x(normal[0]), 1)),
        says=says,
        normal=None if normal is None else f"normal {normal[0]} to {normal[1]}",
    )


def histograms(slide: Slide) -> list[Histogram]:
    """Of γ and of the heads' length; none without a measured head."""
    rows, ranges = measured(slide), HeadRanges()

    def values(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows if row[name] is not None], dtype=np.float64)

    out = []
    if len(ratios := values("aspect_ratio")):
        title = "aspect ratio γ (length / width); the last bar holds all from 3.9 on"
        edges = np.linspace(1, 4, _BINS + 1)
        out.append(_histogram(title, ratios, edges, digits=1, normal=ranges.aspect_ratio))
    if len(lengths := values("length_um")):
        title = "length of the head, µm; the first and the last bar hold all beyond"
        edges = np.linspace(2, 8, _BINS + 1)
        out.append(_histogram(title, lengths, edges, digits=1, normal=ranges.length_um))
    elif len(lengths := values("head_length")):
        low = np.floor(lengths.min() / 10) * 10
        step = max(np.ceil((lengths.max() - low) / _BINS), 1)
        edges = low + step * np.arange(_BINS + 1)
        out.append(_histogram("length of the head, pixels", lengths, edges, digits=0, normal=None))
    return out
