"""Whether an image is the crop of a single head or a whole field of view."""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..morphology import FieldSearch, HeadMorphology, measure, search_field
from ..morphology.field import LEAST_SIDE
from ..morphology.pixels import LARGEST_CROP
from .reading import check_crop

__all__ = ["KINDS", "examine", "head_of_crop", "kind_by_size", "nothing_found", "search"]

KINDS = ("auto", "crop", "field")

_LONGEST_IN_FIELD = 0.2
"""Of the image's longer side. 99 % of the heads of SMIDS and HuSHeM take more of their crops."""


def kind_by_size(width: int, height: int, wanted: str = "auto") -> str:
    """``crop`` or ``field``; ``auto`` for what only a look at the image tells.

    Args:
        width: In pixels.
        height: In pixels.
        wanted: One of `KINDS`; other than ``auto`` it is the answer.
    """
    if wanted != "auto":
        return wanted
    if max(width, height) > LARGEST_CROP:
        return "field"
    return "crop" if min(width, height) < LEAST_SIDE else "auto"


def examine(
    image: NDArray[np.uint8], wanted: str = "auto", um_per_px: float | None = None, name: str = "image"
) -> HeadMorphology | FieldSearch:
    """What an image shows: the head of a crop, or the heads of a field.

    An image of 300 to 800 pixels may be either. It is a field where the heads that are found on it are short, at most
    a fifth of its longer side; a crop is cut closer.

    Args:
        image: RGB ``(height, width, 3)`` uint8.
        wanted: One of `KINDS`.
        um_per_px: Micrometres per pixel, if known.
        name: For messages.

    Raises:
        InputError: Too large for the crop, or too small for the field that is wanted.
    """
    height, width = image.shape[:2]
    kind = kind_by_size(width, height, wanted)
    if kind == "crop":
        check_crop(width, height, name)
        return measure(image, um_per_px)
    found = search(image, um_per_px, name)
    if kind == "field" or _is_field(found, max(width, height)):
        return found
    return measure(image, um_per_px)


def head_of_crop(image: NDArray[np.uint8], um_per_px: float | None = None, name: str = "image") -> HeadMorphology:
    """The head of an image that must be a crop, see `examine`.

    Raises:
        InputError: It is a field of view, or too large for anything else.
    """
    height, width = image.shape[:2]
    check_crop(width, height, name)
    found = examine(image, um_per_px=um_per_px, name=name)
    if isinstance(found, FieldSearch):
        raise InputError(
            f"{name}: looks like a field of view ({len(found.heads)} heads, about {found.head_length:.0f} of "
            f"{max(height, width)} pixels long); expected the crop of a single head; `Classifier.field` and `madrnet "
            "predict` take fields"
        )
    return found


def search(image: NDArray[np.uint8], um_per_px: float | None = None, name: str = "image") -> FieldSearch:
    """The heads of a field, see `search_field`.

    Raises:
        InputError: It is too small for a field.
    """
    height, width = image.shape[:2]
    if min(width, height) < LEAST_SIDE:
        raise InputError(
            f"{name}: {width}×{height} pixels; expected a field of at least {LEAST_SIDE}×{LEAST_SIDE}, or the crop of "
            f"a single head (--input crop) of at most {LARGEST_CROP}"
        )
    return search_field(image, um_per_px)


def nothing_found(reason: str) -> str:
    """Why a field gives no heads, as it is told on the screen and on its overlay."""
    return f"no heads found: {reason}"


def _is_field(found: FieldSearch, side: int) -> bool:
    return found.head_length is not None and found.head_length <= _LONGEST_IN_FIELD * side
