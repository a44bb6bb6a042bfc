"""Stain and size of an image, by which one that is unlike a model's training images is known."""

import numpy as np
from numpy.typing import NDArray

from ..morphology import HeadMorphology
from ..opencv import cv2

__all__ = ["DOMAIN", "domain_features"]

_COLOURS = ("lightness", "red_green", "blue_yellow")
DOMAIN = (*(f"{place}_{name}" for place in ("background", "head") for name in _COLOURS), "relative_length")
"""Names of the features."""


def domain_features(image: NDArray[np.uint8], head: HeadMorphology) -> dict[str, float | None]:
    """Stain and size of an image.

    ``background_lightness``, ``background_red_green``, ``background_blue_yellow``: median CIE Lab (0 to 255) of what
    is no head; ``head_lightness``, ``head_red_green``, ``head_blue_yellow``: of the head; ``relative_length``: the
    head's length over the image's longer side. None where there is no head.

    Args:
        image: RGB ``(h, w, 3)`` uint8.
        head: What `measure` found on it.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    rest = lab[~head.mask] if not head.mask.all() else lab.reshape(-1, 3)
    out: dict[str, float | None] = {
        f"background_{name}": float(value) for name, value in zip(_COLOURS, np.median(rest, axis=0), strict=True)
    }
    inside = np.median(lab[head.mask], axis=0).tolist() if head.mask.any() else [None] * 3
    out |= {f"head_{name}": value for name, value in zip(_COLOURS, inside, strict=True)}
    out["relative_length"] = None if head.length is None else head.length / max(image.shape[:2])
    return out
