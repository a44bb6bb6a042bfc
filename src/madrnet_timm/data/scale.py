"""Is a scale in micrometres per pixel plausible? By the heads that it would make."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..morphology import HeadRanges, measure
from .reading import read_image

__all__ = ["check_scale_fits"]

_PLAUSIBLE = (2.0, 12.0)
"""Median length in µm: human sperm heads have 3 to 7, and no stain, swelling or other mammal is refused."""

_SAMPLE = 24  # images that are looked at
_ENOUGH = 5  # heads from which on a median is trusted

_logger = logging.getLogger(__name__)


def _lengths(paths: Sequence[Path]) -> list[float]:
    """Head lengths in pixels of a sample of the images, where they can be trusted."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(_SAMPLE, len(paths))).round().astype(int))
    found = []
    for index in chosen:
        try:
            head = measure(read_image(paths[index]))
        except InputError:
            continue  # said where the image is measured
        if head.ok and head.length is not None and "irregular" not in head.flags:
            found.append(head.length)
    return found


def _fitting_scale(um_per_px: float, length: float) -> float:
    """The likeliest scale for heads of ``length`` pixels: a decimal point moved, px per µm given, or none of these."""
    low, high = HeadRanges().length_um
    usual = (low + high) / 2
    slips = [um_per_px * 10.0**k for k in range(-6, 7) if k] + [1 / um_per_px]
    likely = [slip for slip in slips if 3 <= slip * length <= 7]
    return min(likely or [usual / length], key=lambda slip: abs(math.log(slip * length / usual)))


def check_scale_fits(paths: Sequence[Path], um_per_px: float | None) -> None:
    """Refuse a scale by which the heads would not have the size of sperm heads.

    A sample of the images is measured. With fewer than five heads a warning must do: they may be something else.

    Args:
        paths: The images.
        um_per_px: Micrometres per pixel; nothing is checked where it is None.

    Raises:
        InputError: The median head would not be 2 to 12 µm long; the message says which scale would fit.
    """
    lengths = [] if um_per_px is None else _lengths(paths)
    if um_per_px is None or not lengths:
        return
    median = float(np.median(lengths))
    low, high = _PLAUSIBLE
    if low <= median * um_per_px <= high:
        return
    message = (
        f"--um-per-px {um_per_px:g}: heads would be {median * um_per_px:.3g} µm long (median of {len(lengths)}), those "
        f"of human sperm have 3 to 7; did you mean {_fitting_scale(um_per_px, median):.2g}?"
    )
    if len(lengths) >= _ENOUGH:
        raise InputError(message)
    _logger.warning("%s", message)
