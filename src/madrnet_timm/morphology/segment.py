"""Finding the head in an image: background plane, core, outline, tail and neck.

Works on the green channel, where both the pale acrosome and the dark nucleus stand out from the background, in a
frame whose long side is `FRAME` pixels. Everything here is OpenCV and numpy; images are never enlarged beyond
twice the frame.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["FRAME", "Segmentation", "background_plane", "segment"]

FRAME = 131
"""Long side of the working frame in pixels, that of HuSHeM's crops, for which the constants below are meant."""

_ZOOM = 2  # the outline is found at twice the frame's resolution
_ROI_MARGIN = 24  # px of the frame around the core
_CORE_FRACTION = 0.45  # the outline's threshold, as a fraction of the core's darkness
_TAIL_RADIUS = 0.45  # what is thinner than this fraction of the head's inscribed radius is tail
_NECKS = (  # (narrower than this fraction of the head, widening behind, paler behind than this fraction of the nucleus)
    (0.65, 1.4, 0.76),  # a clear neck: midpiece with cytoplasm
    (0.93, 1.12, 0.62),  # a shallow one, and much paler behind: cytoplasm, the sleeve of a tail
)
_END_ROWS = 4  # of the profile, where no neck is looked for
_RIM = 5.0  # px of the outline's resolution: blur reaches this far into the head
_RIM_REACH = 21  # px over which the darkness behind the edge is averaged
_NEIGHBOUR_AREA = 0.4  # of the head's core
_ROWS = 64  # profile along the axis

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Segmentation:
    """A head in the frame of the image it was found in, at `zoom` times its resolution.

    Attributes:
        mask: Head, ``(h, w)`` bool, a window of the image.
        darkness: Background minus image, ``(h, w)`` float32 gray levels, at least 0.
        tail: What of the dark object was cut off: tail, neck, the blurred rim.
        origin: Position ``(x, y)`` of the window's corner in pixels of the image.
        zoom: Pixels of the window per pixel of the image.
        noise: Median absolute deviation of the background in gray levels.
        cut_neck: A neck or stem was cut.
        neighbours: Other dark objects in the image, of at least `_NEIGHBOUR_AREA` of the head's core.
    """

    mask: BoolArray
    darkness: FloatArray
    tail: BoolArray
    origin: tuple[float, float]
    zoom: float
    noise: float
    cut_neck: bool
    neighbours: int


def background_plane(channel: FloatArray) -> tuple[FloatArray, float]:
    """Plane ``a + b x + c y`` through the background of a channel ``(h, w)``, and the noise around it.

    Fitted on a grid of every fourth pixel: first to what lies within 3 median absolute deviations (MAD) of the
    median, then twice to what lies within 3 MAD of the plane.

    Returns:
        The plane ``(h, w)`` and the MAD of the residuals, at least half a gray level.
    """
    height, width = channel.shape
    ys, xs = np.mgrid[0:height:4, 0:width:4].reshape(2, -1).astype(np.float64)
    values = channel[::4, ::4].reshape(-1).astype(np.float64)
    design = np.stack([np.ones_like(xs), xs, ys], axis=1)
    residual = values - np.median(values)
    coef = np.array([np.median(values), 0.0, 0.0])
    noise = 0.5
    for _ in range(3):
        noise = max(float(np.median(np.abs(residual - np.median(residual)))), 0.5)
        keep = np.abs(residual) <= 3 * noise
        if keep.sum() < 12:
            break
        coef = np.linalg.lstsq(design[keep], values[keep], rcond=None)[0]
        residual = values - design @ coef
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    plane = np.float32(coef[0]) + np.float32(coef[1]) * x + np.float32(coef[2]) * y
    return plane, noise


def _core(darkness: FloatArray) -> tuple[BoolArray, int] | None:
    """The dark object nearest to the middle of the image and the number of others like it, or None."""
    levels = np.clip(darkness, 0, 255).astype(np.uint8)
    _, binary = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    binary = cv2.morphologyEx(binary, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    count, labels, stats, centers = cv2.connectedComponentsWithStats(binary, connectivity=4)
    middle = np.array([(darkness.shape[1] - 1) / 2, (darkness.shape[0] - 1) / 2])
    area = stats[1:, cv2.CC_STAT_AREA].astype(np.float64)
    if count < 2 or area.max() < 30:
        return None
    distance = np.linalg.norm(centers[1:] - middle, axis=1)
    score = np.where(area >= 30, area / (1 + (distance / (0.12 * FRAME)) ** 4), -1)
    best = int(score.argmax())
    extent = np.maximum(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT])
    others = (area >= _NEIGHBOUR_AREA * area[best]) & (extent < FRAME / 2)  # a black bar is the edge of the field
    return labels == 1 + best, int(np.delete(others, best).sum())


def _fill_holes(mask: BoolArray, largest: float = np.inf) -> BoolArray:
    """Holes of less than ``largest`` square pixels filled; the loop of a tail stays open."""
    filled = mask.astype(np.uint8)
    contours, hierarchy = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = [
        contour
        for contour, (*_, parent) in zip(contours, hierarchy[0] if len(contours) else (), strict=True)
        if parent >= 0 and cv2.contourArea(contour) < largest
    ]
    return cv2.drawContours(filled, holes, -1, 1, cv2.FILLED) > 0 if holes else mask


def _component_at(mask: BoolArray, point: tuple[int, int]) -> BoolArray:
    """The 8-connected part of ``mask`` that holds the point ``(x, y)``."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return labels == labels[point[1], point[0]]


def _without_tail(mask: BoolArray, core: BoolArray) -> BoolArray:
    """``mask`` opened by a disc of `_TAIL_RADIUS` of the head's inscribed radius."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    inside = mask[window]
    padded = np.pad(inside, 1).astype(np.uint8)
    inner = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    in_core = np.where(core[window], inner, 0)
    if in_core.max() <= 0:
        in_core = inner
    y, x = np.unravel_index(int(in_core.argmax()), in_core.shape)
    radius = _TAIL_RADIUS * float(in_core[y, x])
    outer = cv2.distanceTransform((inner <= radius).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    out = np.zeros_like(mask)
    out[window] = _component_at((outer < radius) & inside, (int(x), int(y)))
    return out


def principal_axis(mask: BoolArray) -> tuple[tuple[float, float], tuple[float, float], float, float]:
    """Centre ``(x, y)``, unit vector of the long axis, and the variances along and across it, in pixels.

    Central second moments of the mask's pixels, 1/12 added for the extent of a pixel.
    """
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    xx, yy, xy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12, moments["mu11"] / area
    mean, difference = (xx + yy) / 2, (xx - yy) / 2
    spread = float(np.hypot(difference, xy))
    angle = 0.5 * float(np.arctan2(2 * xy, xx - yy))
    center = (moments["m10"] / area, moments["m01"] / area)
    return center, (float(np.cos(angle)), float(np.sin(angle))), mean + spread, max(mean - spread, 1 / 12)


def _refine_outline(mask: BoolArray, darkness: FloatArray) -> BoolArray:
    """``mask`` without the blurred rim outside of the edge: half of the darkness behind it, at each place.

    One threshold for the whole head would lie too far out where the head is dark, and make γ of a head with γ = 2.1
    four per cent too small.
    """
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    inner = (inside > _RIM).astype(np.float32)
    weight = cv2.blur(inner, (_RIM_REACH, _RIM_REACH))
    behind = cv2.blur(inner * darkness, (_RIM_REACH, _RIM_REACH)) / np.maximum(weight, 1e-6)
    refined = mask & ((inside > _RIM) | (weight <= 0) | (darkness > 0.5 * behind))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(refined.astype(np.uint8), connectivity=4)
    if len(stats) < 2:
        return mask
    return _fill_holes(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


@dataclass(frozen=True)
class Profile:
    """Width and darkness along the long axis of a mask, in `_ROWS` rows from one end to the other.

    Attributes:
        width: Pixels across, ``(rows,)``.
        darkness: Mean gray levels below the background, ``(rows,)``.
        row_of: Row of each pixel of the mask, in the order of ``np.nonzero``.
        axis: Unit vector ``(x, y)`` from row 0 to the last row.
        length: Pixels from end to end.
        centers: Points ``(x, y)`` on the axis, ``(rows, 2)``.
    """

    width: NDArray[np.float64]
    darkness: NDArray[np.float64]
    row_of: NDArray[np.int64]
    axis: tuple[float, float]
    length: float
    centers: NDArray[np.float64]


def profile(mask: BoolArray, darkness: FloatArray) -> Profile:
    """Profile of a head along its long axis."""
    center, axis, _, _ = principal_axis(mask)
    ys, xs = np.nonzero(mask)
    along = (xs - center[0]) * axis[0] + (ys - center[1]) * axis[1]
    low, high = float(along.min()) - 0.5, float(along.max()) + 0.5
    place = (along - low) * (_ROWS / (high - low))
    row_of = np.minimum(place.astype(np.int64), _ROWS - 1)
    # each pixel to its two nearest rows: whole pixels would beat against the rows where the axis lies along the grid
    below = np.clip((place - 0.5).astype(np.int64), 0, _ROWS - 2)
    share = np.clip(place - 0.5 - below, 0, 1)
    gray = darkness[ys, xs]

    def rows_of(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(below, values, _ROWS) + np.bincount(below + 1, others, _ROWS)
        return np.convolve(np.pad(sums, 1, mode="edge"), np.ones(3) / 3, mode="valid")

    count = rows_of(1 - share, share)
    dark = rows_of((1 - share) * gray, share * gray) / np.maximum(count, 1e-6)
    rows = low + (np.arange(_ROWS) + 0.5) * (high - low) / _ROWS
    centers = np.array(center) + rows[:, None] * np.array(axis)
    return Profile(count * _ROWS / (high - low), dark, row_of, axis, high - low, centers)


def _neck(shape: Profile, anchor: int, step: int) -> int | None:
    """Row at which to cut, going from the anchor to one end (``step`` ±1), or None.

    A neck is narrower than the head, and the dark object widens again behind it. It is cut only where what lies behind
    is paler than the nucleus: a pyriform nucleus has a dark stem of its own.
    """
    rows = np.arange(anchor, _ROWS if step > 0 else -1, step)
    if len(rows) <= 2 * _END_ROWS or shape.length < _ROWS / 2:  # too small to have one
        return None
    width, dark = np.maximum(shape.width[rows], 1e-6), shape.darkness[rows]  # 0 where a cut left a gap
    behind = np.maximum.accumulate(width[::-1])[::-1]
    thinnest = _END_ROWS + int((behind / width)[_END_ROWS:-_END_ROWS].argmax())
    narrow = width[thinnest] / width[: thinnest + 1].max()
    widening = behind[thinnest] / width[thinnest]
    nucleus, rest = float(shape.darkness.max()), float(np.average(dark[thinnest:], weights=width[thinnest:]))
    if not any(narrow < w and widening > again and rest < pale * nucleus for w, again, pale in _NECKS):
        return None
    while thinnest > 0 and dark[thinnest] < (nucleus + rest) / 2:  # on to where the nucleus begins
        thinnest -= 1
    return int(rows[thinnest])


def _cut_neck(mask: BoolArray, darkness: FloatArray, middle: tuple[float, float]) -> BoolArray | None:
    """``mask`` without what lies behind a neck or stem, or None where there is neither."""
    shape = profile(mask, darkness)
    distance = np.linalg.norm(shape.centers - np.array(middle), axis=1) / (0.17 * FRAME * _ZOOM)
    anchor = int((shape.width * shape.darkness * np.exp(-(distance**2))).argmax())
    for step in (1, -1):
        cut = _neck(shape, anchor, step)
        if cut is None:
            continue
        keep = shape.row_of <= cut if step > 0 else shape.row_of >= cut
        if 0.20 <= keep.mean() <= 0.97:
            out = np.zeros_like(mask)
            ys, xs = np.nonzero(mask)
            out[ys[keep], xs[keep]] = True
            return out
    return None


def segment(green: NDArray[np.uint8]) -> Segmentation | None:
    """Find the head nearest to the middle of an image.

    Args:
        green: Green channel (or gray image), ``(height, width)``.

    Returns:
        The head, or None where nothing dark enough stands out.
    """
    height, width = green.shape
    scale = FRAME / max(height, width)
    if abs(scale - 1) > 0.01:
        size = (max(round(width * scale), 8), max(round(height * scale), 8))
        green = cv2.resize(green, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    else:
        scale = 1.0
    smooth = cv2.GaussianBlur(green, (0, 0), 1).astype(np.float32)
    plane, noise = background_plane(smooth)
    darkness = np.maximum(plane - smooth, 0)
    dark_object = _core(darkness)
    if dark_object is None:
        return None
    core, neighbours = dark_object

    ys, xs = np.nonzero(core)
    top, left = max(int(ys.min()) - _ROI_MARGIN, 0), max(int(xs.min()) - _ROI_MARGIN, 0)
    window = np.s_[top : int(ys.max()) + _ROI_MARGIN + 1, left : int(xs.max()) + _ROI_MARGIN + 1]
    threshold = max(_CORE_FRACTION * float(np.percentile(darkness[core], 10)), 4 * noise)
    size = (darkness[window].shape[1] * _ZOOM, darkness[window].shape[0] * _ZOOM)
    fine = cv2.resize(darkness[window], size, interpolation=cv2.INTER_CUBIC)
    fine_core = cv2.resize(core[window].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    _, labels = cv2.connectedComponents((fine > threshold).astype(np.uint8), connectivity=8)
    overlap = np.bincount(labels[fine_core])
    overlap[0] = 0
    if overlap.max() == 0:
        return None
    dark = _fill_holes(labels == int(overlap.argmax()), 140)
    mask = _fill_holes(_without_tail(dark, fine_core))
    middle = (
        ((width * scale - 1) / 2 - left + 0.5) * _ZOOM - 0.5,
        ((height * scale - 1) / 2 - top + 0.5) * _ZOOM - 0.5,
    )
    cut = False
    for _ in range(3):
        shorter = _cut_neck(mask, fine, middle)
        if shorter is None:
            break
        mask, cut = shorter, True
    mask = _without_tail(_refine_outline(mask, fine), fine_core)
    return Segmentation(
        mask, np.maximum(fine, 0), dark & ~mask, (left / scale, top / scale), _ZOOM * scale, noise, cut, neighbours
    )
