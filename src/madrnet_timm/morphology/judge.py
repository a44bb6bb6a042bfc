"""Which candidates are heads: those that are like the others of their field, and no round cell, debris or stain."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .candidates import headness, nearest, opening, ovalness
from .regions import Region, describe
from .scale import is_green

__all__ = ["PALE", "Candidate", "describe_candidates", "is_cut", "judge"]

_OUTLINE = 0.45  # of an object's darkness: where its edge lies
_CORE = 0.8  # of an object's pixels are paler than what counts as its darkness

PALE = 0.7
"""Of the heads' darkness: what is paler is debris."""

_LEAST_CUT = 0.3  # of a head's area: what of it must be seen at the border
_CLUMP = (1.25, 3.5)  # areas of heads that have not been parted
_DENTED = 0.92  # solidity of those
_MOST_ODD = 20.0  # the sum of squared deviations of a head
_MOST_OF_ONE = 4.5  # and of one of them what counts
_SQUARE = 0.87  # squareness of what was drawn on the image

UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Candidate:
    """A dark object at half of its own darkness, and what tells heads from others.

    Attributes:
        region: Its outline.
        number: In the map of what lies next to it.
        darkness: Part of the light that its darker fifth absorbs at least.
        evenness: Darkness of its paler tenth over that.
        hue: Absorbance of red over that of green; 1 in a gray image.
        green: It lets more green through than red and blue.
        sharpness: Its length over the width of its edge.
        touching: It is several heads that could not be parted.
    """

    region: Region
    number: int
    darkness: float
    evenness: float
    hue: float
    green: bool
    sharpness: float
    touching: bool = False


def describe_candidates(
    dark: UInt8Array, absorbed: UInt8Array, regions: list[Region], length: float
) -> tuple[list[Candidate], NDArray[np.int32]]:
    """Candidates of the regions, and which of them is nearest to each pixel.

    Args:
        dark: Part of the green light that is absorbed, ``(h, w)``, 0 to 255, nothing in the surround.
        absorbed: The same of red, green and blue, ``(h, w, 3)``.
        regions: Places of the candidates.
        length: Of the field's heads in pixels.
    """
    owner = nearest(dark.shape, regions)
    kernel = opening(length)
    out = []
    for number, region in enumerate(regions, 1):
        found = _candidate(dark, absorbed, owner, number, region, length, kernel)
        if found is not None:
            out.append(found)
    return out, owner


def _quantile(values: NDArray[np.generic], share: float) -> float:
    """The value that this share of the values lies below; 0 of none."""
    if not len(values):
        return 0.0
    place = int(share * (len(values) - 1))
    return float(np.partition(values, place)[place])


def _candidate(
    dark: UInt8Array,
    absorbed: UInt8Array,
    owner: NDArray[np.int32],
    number: int,
    region: Region,
    length: float,
    kernel: UInt8Array,
) -> Candidate | None:
    x0, y0, x1, y1 = region.box
    margin = round(0.5 * length)
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    window = np.s_[top : y1 + margin, left : x1 + margin]
    core = np.zeros(dark[window].shape, np.uint8)
    core[y0 - top : y1 - top, x0 - left : x1 - left] = region.mask
    darkness = _quantile(dark[window][core > 0], _CORE)
    mask = ((dark[window] > _OUTLINE * darkness) & (owner[window] == number)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    overlap = np.bincount(labels[core > 0])
    overlap[0] = 0
    if overlap.max() == 0:
        return None
    mask = (labels == int(overlap.argmax())).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    outline = describe(mask[y : y + height, x : x + width], (left + x, top + y))
    if outline is None:
        return None
    pale_acrosome = region.area > outline.area and headness(region, length) > headness(outline, length) + 0.2
    if pale_acrosome or ovalness(region) > ovalness(outline) + 0.2:  # or a thick neck
        outline = region
        mask = core
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    inner = inner if inner.any() else mask > 0
    levels = dark[window][inner]
    absorbance = -np.log(1 - np.minimum(absorbed[window][inner].mean(axis=0), 250) / 255)
    return Candidate(
        outline,
        number,
        darkness / 255,
        _quantile(levels, 0.1) / max(darkness, 1),
        float((absorbance[0] + 0.02) / (absorbance[1] + 0.02)),
        is_green(absorbance),
        _sharpness(dark[window], mask, float(levels.mean())) * outline.length,
    )


def _sharpness(dark: UInt8Array, mask: UInt8Array, contrast: float) -> float:
    """Steepness of an object's edge over its contrast, per pixel: at the steeper quarter of its outline."""
    ring = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > cv2.erode(mask, np.ones((3, 3), np.uint8))
    across = cv2.Sobel(dark, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(dark, cv2.CV_32F, 0, 1, scale=1 / 8)
    return _quantile(cv2.magnitude(across, down)[ring], 0.75) / max(contrast, 1)


def judge(found: list[Candidate], length: float, size: tuple[int, int]) -> list[Candidate]:
    """Those candidates that are heads.

    The regular ones of about the common size and as dark as most tell what a head of this field is; each candidate's
    oddness is the sum of its squared deviations from that, in units of what heads usually differ by.

    Args:
        found: All candidates of a field.
        length: Of the field's heads in pixels, roughly.
        size: Width and height of the image.
    """
    regular = [c for c in found if _is_regular(c, length)]
    if not regular:
        return []
    darkest = max(c.darkness for c in regular)
    usual = float(np.median([c.darkness for c in regular if c.darkness > 0.5 * darkest]))
    regular = [c for c in regular if c.darkness > PALE * usual]
    typical = Typical(
        usual,
        float(np.median([c.region.length for c in regular])),
        float(np.median([c.region.width for c in regular])),
        float(np.median([c.hue for c in regular])),
        float(np.median([c.sharpness for c in regular])),
    )
    heads = [c for c in found if _is_head(c, typical, size)]
    taken = {head.number for head in heads}
    rest = (c for c in found if c.number not in taken)
    return heads + [replace(c, touching=True) for c in rest if _is_clump(c, typical, size)]


@dataclass(frozen=True)
class Typical:
    """Medians of the regular candidates of a field, see `Candidate`."""

    darkness: float
    length: float
    width: float
    hue: float
    sharpness: float


def _is_regular(candidate: Candidate, length: float) -> bool:
    region = candidate.region
    oval = region.fill > 0.93 and region.solidity > 0.9 and region.squareness < _SQUARE
    return oval and 0.7 < region.length / length < 1.4 and not candidate.green


def is_cut(region: Region, size: tuple[int, int]) -> bool:
    """Whether a region reaches the border of the image."""
    x0, y0, x1, y1 = region.box
    return x0 <= 0 or y0 <= 0 or x1 >= size[0] or y1 >= size[1]


def _is_head(candidate: Candidate, typical: Typical, size: tuple[int, int]) -> bool:
    region = candidate.region
    if candidate.green or candidate.darkness < PALE * typical.darkness or region.squareness > _SQUARE:
        return False
    if is_cut(region, size):  # its shape isn't known
        large_enough = region.area > _LEAST_CUT * np.pi / 4 * typical.length * typical.width
        return bool(large_enough) and _oddness_of_stain(candidate, typical) < _MOST_ODD
    return _oddness_of_shape(region, typical) + _oddness_of_stain(candidate, typical) < _MOST_ODD


def _is_clump(candidate: Candidate, typical: Typical, size: tuple[int, int]) -> bool:
    """Whether it has the stain of heads, the area of two or three and dents in its outline."""
    region = candidate.region
    heads = region.area / (np.pi / 4 * typical.length * typical.width)
    if candidate.green or is_cut(region, size) or not _CLUMP[0] < heads < _CLUMP[1] or region.solidity > _DENTED:
        return False
    return _oddness_of_stain(candidate, typical) < _MOST_ODD / 2


def _oddness_of_shape(region: Region, typical: Typical) -> float:
    length, width = np.log(region.length / typical.length), np.log(region.width / typical.width)
    return _squares(
        min(length, 0) / 0.15,
        max(width, 0) / 0.13,
        min(width, 0) / 0.2,
        min(np.log(region.aspect_ratio / 1.4), 0) / 0.12,
        max(np.log(region.aspect_ratio / 1.8), 0) / 0.15,
        min(region.fill - 0.97, 0) / 0.025,
        min(region.solidity - 0.96, 0) / 0.025,
    )


def _oddness_of_stain(candidate: Candidate, typical: Typical) -> float:
    return _squares(
        np.log(candidate.hue / typical.hue) / 0.17,
        min(np.log(candidate.sharpness / typical.sharpness), 0) / 0.2,
        max(candidate.evenness - 0.7, 0) / 0.12,
        min(np.log(candidate.darkness / typical.darkness), 0) / 0.1,
    )


def _squares(*deviations: float) -> float:
    """Sum of the squares; one deviation alone isn't enough."""
    return float(sum(min(abs(deviation), _MOST_OF_ONE) ** 2 for deviation in deviations))
