"""Finding every head in a field of view and measuring it."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..opencv import cv2
from .candidates import candidates
from .doubt import doubt
from .ground import Ground, find_ground
from .head import HeadMorphology
from .judge import Candidate, describe_candidates, judge
from .pixels import as_rgb
from .scale import HUMAN_LENGTHS, head_lengths
from .window import measure_in_field

__all__ = ["FieldSearch", "find_heads", "search_field"]

LEAST_SIDE = 300
"""Shorter side in pixels from which on an image is searched."""

LEAST_LENGTH = 25
"""Median length of a field's heads in pixels from which on they are measured."""

_WORKING_LENGTH = 32  # px of a head in the image that heads are chosen on
_STAINED = 0.15  # of the light that a stained head absorbs at least
_ROUND = 1.15  # median aspect ratio of a field's round cells
_LEAST_MEASURED = 0.6  # of the length that heads have on the image that they are chosen on
_LEAST_SHARE = 0.5  # of the field that is background

UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class FieldSearch:
    """What was found in a field.

    Attributes:
        heads: Each head as `measure` gives it, in pixels of the field and in reading order.
        head_length: Median length of the field's heads in pixels, None where there are none.
        reason: Why nothing could be found, in one line; empty where heads were found.
    """

    heads: list[HeadMorphology]
    head_length: float | None = None
    reason: str = ""


def find_heads(image: UInt8Array | Image.Image, um_per_px: float | None = None) -> list[HeadMorphology]:
    """Find and measure all heads of a field of view.

    Args:
        image: A whole field, RGB or gray, at least 300 pixels a side; what is not RGB uint8 is converted by `as_rgb`.
        um_per_px: Micrometres per pixel, if known; without it the scale is found from the image.

    Returns:
        What `measure` gives for each head, in the field's own pixels, in reading order. ``touches_border`` tells a head
        that the border cuts, ``touching`` one that could not be parted from another. Where nothing can be found, an
        empty list and a `UserWarning` that says why.

    Raises:
        InputError: Not such an image.
        ValueError: ``um_per_px`` not positive.
    """
    found = search_field(image, um_per_px)
    if found.reason:
        warnings.warn(f"no heads found: {found.reason}", UserWarning, stacklevel=2)
    return found.heads


def search_field(image: UInt8Array | Image.Image, um_per_px: float | None = None) -> FieldSearch:
    """As `find_heads`, with the scale that was found and, in place of a warning, the reason for an empty list."""
    if um_per_px is not None and not um_per_px > 0:
        raise ValueError(f"um_per_px={um_per_px}: expected micrometres per pixel, more than 0")
    rgb = as_rgb(image)
    if min(rgb.shape[:2]) < LEAST_SIDE:
        raise InputError(
            f"image: {rgb.shape[1]}×{rgb.shape[0]} pixels; expected a field of at least {LEAST_SIDE}×{LEAST_SIDE}; "
            "measure a crop with `measure`"
        )
    coarse = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    ground = find_ground(coarse)
    dark = ground.absorbed_green(coarse)
    if reason := _unusable(dark, ground):
        return FieldSearch([], None, reason)
    found = _searched(rgb, coarse, dark, ground, um_per_px)
    if not found.heads and um_per_px is not None:
        other = _searched(rgb, coarse, dark, ground, None)
        if other.head_length is not None:
            low, high = HUMAN_LENGTHS
            reason = (
                f"by the scale of {um_per_px:.4g} µm per pixel its objects in the shape of heads "
                f"({len(other.heads)}) are {other.head_length * um_per_px:.3g} µm long, and heads {low} to {high:g}; "
                "check the scale"
            )
            return FieldSearch([], None, reason)
    return found


def _searched(
    rgb: UInt8Array, coarse: UInt8Array, dark: UInt8Array, ground: Ground, um_per_px: float | None
) -> FieldSearch:
    """The heads of a field, of the lengths of human heads where the scale is known; ``coarse`` is its half size."""
    lengths = head_lengths(coarse, dark, ground, um_per_px and 2 * um_per_px)
    if not lengths:
        return FieldSearch([], None, "no dark compact objects of one size stand out from the background")
    reasons = []
    for length in lengths:
        if 2 * length < LEAST_LENGTH:
            reasons.append(_too_short(2 * length))
            break
        choice = _choose(coarse, dark, ground, length, first=not reasons)
        if not choice.reason:
            return _measured_all(rgb, ground, choice, length, um_per_px)
        reasons.append(choice.reason)
    return FieldSearch([], None, reasons[0])


@dataclass(frozen=True)
class _Choice:
    """Heads at one scale, on the image of `_WORKING_LENGTH`."""

    heads: list[Candidate]
    owner: NDArray[np.int32]
    reason: str


def _choose(image: UInt8Array, dark: UInt8Array, ground: Ground, length: float, first: bool) -> _Choice:
    """The heads of a field whose heads have this length in pixels of the image."""
    working = _WORKING_LENGTH / length
    sampling = cv2.INTER_AREA if working < 0.5 else cv2.INTER_LINEAR
    size = (round(dark.shape[1] * working), round(dark.shape[0] * working))
    small = cv2.resize(dark, size, interpolation=sampling)
    light = cv2.resize(ground.light, size, interpolation=cv2.INTER_LINEAR)
    absorbed = ground.absorbed(cv2.resize(image, size, interpolation=sampling), light)
    places = candidates(small, _WORKING_LENGTH, ground.noise)
    found, owner = describe_candidates(small, absorbed, places, _WORKING_LENGTH)
    heads = judge(found, _WORKING_LENGTH, size)
    return _Choice(heads, owner, doubt(heads, found, small, ground, first))


def _measured_all(
    rgb: UInt8Array, ground: Ground, choice: _Choice, length: float, um_per_px: float | None
) -> FieldSearch:
    measured = [measure_in_field(rgb, ground, choice.owner, candidate, um_per_px) for candidate in choice.heads]
    found = 2 * length / _WORKING_LENGTH * np.array([candidate.region.length for candidate in choice.heads])
    heads = [head for head in measured if head.center is not None]
    if not heads:
        return FieldSearch([], None, "no object has the shape of a head")
    if np.median([head.aspect_ratio for head in heads]) < _ROUND:
        return FieldSearch([], None, "its dark objects are round: cells, but no heads")
    whole = [head for head in heads if not head.touches_border] or heads
    median = float(np.median([head.length for head in whole]))
    if not _LEAST_MEASURED < np.median([head.length or 0 for head in measured] / found) < 1 / _LEAST_MEASURED:
        return FieldSearch([], None, "its dark objects have no clear outline: this is no field of a stained smear")
    if median < LEAST_LENGTH:
        return FieldSearch([], None, _too_short(median))
    return FieldSearch(_in_reading_order(heads), median)


def _too_short(length: float) -> str:
    return f"its dark objects are about {length:.0f} px long, heads of at least {LEAST_LENGTH} are expected"


def _unusable(dark: UInt8Array, ground: Ground) -> str:
    """Why heads can't be found on such a field, or nothing."""
    if ground.share < _LEAST_SHARE:
        return "no even background: this is no field of a stained smear, or too crowded"
    if ground.level < 60:
        return "bright objects on a dark background: expected a stained smear in bright field"
    if np.percentile(dark[::2, ::2], 99.9) < 255 * _STAINED:
        return "nothing is stained: no object stands out from the background"
    return ""


def _in_reading_order(heads: list[HeadMorphology]) -> list[HeadMorphology]:
    """From top to bottom in lines half a head high, in a line from left to right."""
    if not heads:
        return []
    line = float(np.median([head.length or 1 for head in heads])) / 2

    def center(head: HeadMorphology) -> tuple[float, float]:
        return head.center or (0.0, 0.0)

    rest = sorted(heads, key=lambda head: center(head)[1])
    out: list[HeadMorphology] = []
    while rest:
        last = center(rest[0])[1] + line
        row = [head for head in rest if center(head)[1] <= last]
        out += sorted(row, key=lambda head: center(head)[0])
        rest = rest[len(row) :]
    return out
