"""The outline of a head around its core, at a resolution that follows from the head's size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .waist import Waist, waists

__all__ = ["Outlined", "component", "fill_holes", "outlined", "window_of"]

HEAD = 100
"""About the length of a head in pixels, at the resolution that the outline is found at."""

_CORE_FRACTION = 0.45  # the dark object's threshold, as a fraction of the core's darkness
_TAIL_RADIUS = 0.4  # what is thinner than this fraction of the head's inscribed radius is tail
_COMPARABLE = 0.7  # size of a part from which on it may be the head that is meant
_RIM_REACH = 31  # px over which the stain behind the edge is averaged
_BODY = 0.4  # part of the darkness behind it that remains at the body's edge, a little below half height
_EDGE = 0.2  # part of the stain behind it that remains at the edge
_STEP = 5  # px that the outline may move outwards at a time
_ROUNDS = 5
_GROWTH = 32  # px that the outline may move outwards in all
_SETTLED = 0.01  # of the area
_SQUARE = np.ones((9, 9), np.uint8)
_SMALL_SQUARE = np.ones((2 * (_STEP - 3) + 1, 2 * (_STEP - 3) + 1), np.uint8)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Outlined:
    """A head's outline.

    Attributes:
        mask: The head.
        dark: The whole dark object.
        cut: Something that hangs on to the head was cut off.
        touching: Another head was, or there is a waist between two parts of a size that is in the middle.
        doubtful: The outline has a waist, at which it was cut or not.
    """

    mask: BoolArray
    dark: BoolArray
    cut: bool
    touching: bool
    doubtful: bool


def component(mask: BoolArray, weight: BoolArray) -> BoolArray | None:
    """The 8-connected part of ``mask`` that holds the most pixels of ``weight``, None where there are none."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    count = np.bincount(labels[weight])
    if len(count) < 2:
        return None
    count[0] = 0
    return labels == int(count.argmax())


def fill_holes(mask: BoolArray, largest: float = np.inf) -> BoolArray:
    """Holes of less than ``largest`` square pixels filled; the loop of a tail stays open."""
    filled = mask.astype(np.uint8)
    contours, hierarchy = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = [
        contour
        for contour, (*_, parent) in zip(contours, hierarchy[0] if len(contours) else (), strict=True)
        if parent >= 0 and cv2.contourArea(contour) < largest
    ]
    return cv2.drawContours(filled, holes, -1, 1, cv2.FILLED).view(bool) if holes else mask


def window_of(mask: BoolArray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that a mask takes, and ``margin`` pixels more."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (
        slice(max(y - margin, 0), min(y + height + margin, mask.shape[0])),
        slice(max(x - margin, 0), min(x + width + margin, mask.shape[1])),
    )


def without_tail(mask: BoolArray, core: BoolArray) -> BoolArray:
    """``mask`` opened by a disc of `_TAIL_RADIUS` of the head's inscribed radius."""
    window = window_of(mask, 0)
    inside = np.ascontiguousarray(mask[window])
    padded = cv2.copyMakeBorder(inside.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = np.ascontiguousarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1])
    _, deepest, _, place = cv2.minMaxLoc(inner, core[window].astype(np.uint8))
    if deepest <= 0:
        _, deepest, _, place = cv2.minMaxLoc(inner)
    radius = _TAIL_RADIUS * deepest
    outer = cv2.distanceTransform((inner <= radius).view(np.uint8), cv2.DIST_L2, 5)
    opened = (outer < radius + 0.5) & inside
    _, labels = cv2.connectedComponents(opened.view(np.uint8), connectivity=8)
    out = np.zeros_like(mask)
    out[window] = labels == labels[place[1], place[0]]
    return out


def _parted(
    mask: BoolArray, darkness: FloatArray, core: BoolArray, middle: tuple[float, float] | None
) -> tuple[BoolArray, bool, bool, bool]:
    """``mask`` cut at its waists; whether something else than a head was cut off, a head was, there was a waist."""
    window = window_of(mask, 1)
    if middle is not None:
        middle = (middle[0] - window[1].start, middle[1] - window[0].start)
    inside, dark = np.ascontiguousarray(mask[window]), np.ascontiguousarray(darkness[window])
    part, cut, touching, doubtful = _cut_at_waists(inside, dark, core[window], middle)
    out = np.zeros_like(mask)
    out[window] = part
    return out, cut, touching, doubtful


def _cut_at_waists(
    mask: BoolArray, darkness: FloatArray, core: BoolArray, middle: tuple[float, float] | None
) -> tuple[BoolArray, bool, bool, bool]:
    cut = touching = doubtful = False
    for _ in range(4):
        across = waists(mask, darkness)
        doubtful = doubtful or any(waist.is_close_call() for waist in across)
        if middle is not None and any(waist.is_head() for waist in across):
            touching = True
            across = [waist for waist in across if not (waist.is_head() and _is_meant_whole(waist, middle))]
        found = [waist for waist in across if waist.parts()]
        if not found:
            break
        waist = min(found, key=lambda waist: waist.depth)
        parts = [waist.larger, waist.smaller]
        if waist.is_head():
            touching = True
        else:
            cut = True
        near = middle if waist.size > _COMPARABLE else None
        kept = max(parts, key=lambda part: _weight(part, darkness, core, near))
        if kept is waist.larger and waist.is_paler():
            kept = _with_nucleus(waist, darkness)
        whole = component(kept, kept)
        mask = mask if whole is None else whole
    return mask, cut, touching, doubtful


def _is_meant_whole(waist: Waist, middle: tuple[float, float]) -> bool:
    """Whether two parts together lie nearer to the middle than each: one head with a waist, or both were cropped.

    A part of less than half of the other's area, or behind a stem, or much paler, is none that is measured with it.
    """
    if waist.is_stalk() or waist.is_paler():
        return False
    centers, areas = [], []
    for part in (waist.smaller, waist.larger):
        moments = cv2.moments(part.view(np.uint8), binaryImage=True)
        centers.append((moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]))
        areas.append(moments["m00"])
    if min(areas) < 0.5 * max(areas):
        return False
    places = np.array([*centers, np.average(centers, axis=0, weights=areas)]) - middle
    return int(np.hypot(*places.T).argmin()) == 2


def _with_nucleus(waist: Waist, darkness: FloatArray) -> BoolArray:
    """The larger part, and of the paler one what is nearer to it in darkness: the nucleus may go on behind a dent."""
    close = 0.5 * float(darkness[waist.smaller].mean()) * (1 + 1 / max(waist.paleness, 1e-6))
    joined = component(waist.larger | (waist.smaller & (darkness > close)), waist.larger)
    return waist.larger if joined is None else fill_holes(joined)


def _weight(part: BoolArray, darkness: FloatArray, core: BoolArray, middle: tuple[float, float] | None) -> float:
    """Stain of the core in a part, counting less the farther the part lies from the middle, as `locate` does."""
    stain = float(darkness[part & core].sum())
    if middle is None:
        return stain
    moments = cv2.moments(part.view(np.uint8), binaryImage=True)
    area = moments["m00"]
    distance = np.hypot(moments["m10"] / area - middle[0], moments["m01"] / area - middle[1])
    return float(stain / (1 + (distance / (0.35 * HEAD)) ** 4))


def _behind(mask: BoolArray, stain: FloatArray) -> tuple[BoolArray, FloatArray]:
    """What lies deeper than the blur, and the mean stain there in the neighbourhood of each pixel, infinite far off."""
    deep = cv2.erode(mask.view(np.uint8), _SQUARE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    deep = cv2.erode(deep, _CROSS, iterations=3, borderType=cv2.BORDER_CONSTANT, borderValue=0)  # an octagon in all
    inner = deep.astype(np.float32)
    weight = cv2.blur(inner, (_RIM_REACH, _RIM_REACH))
    total = cv2.blur(inner * stain, (_RIM_REACH, _RIM_REACH))
    return deep.view(bool), np.where(weight > 1e-4, total / np.maximum(weight, 1e-4), np.inf)


def _reach(mask: BoolArray) -> BoolArray:
    """``mask`` and what lies within `_STEP` pixels, by an octagon."""
    wide = cv2.dilate(mask.view(np.uint8), _SMALL_SQUARE)
    return cv2.dilate(wide, _CROSS, iterations=3).view(bool)


def _half_height(mask: BoolArray, darkness: FloatArray, floor: float, closed: BoolArray) -> BoolArray:
    """``mask`` moved to where the darkness falls to `_BODY` of that behind it, at each place; not into ``closed``."""
    for _ in range(_ROUNDS):
        inner, behind = _behind(mask, darkness)
        reach = _reach(mask) & ~closed
        moved = component(reach & (inner | (darkness > np.maximum(_BODY * behind, floor))), mask)
        if moved is None:
            break
        moved = fill_holes(moved)
        changed, area = (cv2.countNonZero(part.view(np.uint8)) for part in (moved ^ mask, mask))
        mask = moved
        if changed < _SETTLED * area:
            break
    return mask


def _foot(mask: BoolArray, stain: FloatArray, floor: float, closed: BoolArray) -> BoolArray:
    """``mask``, whose outline lies at half height, with the foot of the edge."""
    _, behind = _behind(mask, stain)
    reach = _reach(mask) & ~closed
    foot = component(mask | (reach & (stain > np.maximum(_EDGE * behind, floor))), mask)
    return mask if foot is None else fill_holes(foot)


def outlined(
    darkness: FloatArray,
    stain: FloatArray,
    core: BoolArray,
    noise: float,
    closed: BoolArray | None = None,
    middle: tuple[float, float] | None = None,
) -> Outlined | None:
    """The head around a core.

    Args:
        darkness: Gray levels below the background, ``(h, w)``, a head about `HEAD` pixels long.
        stain: Optical density above the background, ``(h, w)``.
        core: Pixels that belong to the head.
        noise: Of the background, in gray levels.
        closed: Pixels that belong to other objects.
        middle: ``(x, y)``, near which the head lies if there are two; without it, where most of the core is.

    Returns:
        The outline, or None where nothing dark enough lies under the core.
    """
    threshold = max(_CORE_FRACTION * float(np.percentile(darkness[core], 10)), 4 * noise)
    above = darkness > threshold
    if closed is not None:
        above &= ~closed
    dark = component(above, core)
    if dark is None:
        return None
    dark = fill_holes(dark, 140)
    mask = fill_holes(without_tail(dark, core))
    mask, cut, touching, doubtful = _parted(mask, darkness, core, middle)
    no_head = dark & ~mask if closed is None else (dark & ~mask) | closed
    floor = 4 * noise * float((stain[core] / np.maximum(darkness[core], 1)).min())
    near = window_of(mask, _GROWTH)
    start, around = np.ascontiguousarray(mask[near]), np.ascontiguousarray(darkness[near])
    moved = _half_height(start, around, 4 * noise, no_head[near])
    mask = np.zeros_like(mask)
    mask[near] = _foot(moved, np.ascontiguousarray(stain[near]), floor, no_head[near])
    mask = without_tail(mask, core)
    mask, more, other, again = _parted(mask, darkness, core, middle)
    return Outlined(mask, dark, cut or more, touching or other, doubtful or again)
