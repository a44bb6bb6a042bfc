"""Is a picture like those that a model was trained on? Stain and size against the training set's ranges."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..morphology import HeadMorphology
from ..opencv import cv2

__all__ = ["domain_features", "domain_ranges", "outside_ranges"]

_PERCENTILES = (1, 99)
_MARGIN = 0.5  # of the range between them, on either side


def domain_features(image: NDArray[np.uint8], head: HeadMorphology) -> dict[str, float | None]:
    """Stain and size of a picture.

    ``background_lightness``, ``background_red_green``, ``background_blue_yellow``: median CIE Lab (0 to 255) of what
    is no head; ``head_lightness``, ``head_red_green``, ``head_blue_yellow``: of the head; ``relative_length``: the
    head's length over the picture's longer side. None where there is no head.

    Args:
        image: RGB ``(h, w, 3)`` uint8.
        head: What `measure` found on it.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    names = ("lightness", "red_green", "blue_yellow")
    rest = lab[~head.mask] if not head.mask.all() else lab.reshape(-1, 3)
    out: dict[str, float | None] = {
        f"background_{name}": float(value) for name, value in zip(names, np.median(rest, axis=0), strict=True)
    }
    inside = np.median(lab[head.mask], axis=0).tolist() if head.mask.any() else [None] * 3
    out |= {f"head_{name}": value for name, value in zip(names, inside, strict=True)}
    out["relative_length"] = None if head.length is None else head.length / max(image.shape[:2])
    return out


def domain_ranges(features: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, float]]:
    """Range of each feature over a training set: its first to its last percentile, and half of that on either side."""
    out = {}
    for name in features[0]:
        values = [value for row in features if (value := row[name]) is not None]
        if values:
            low, high = np.percentile(values, _PERCENTILES)
            margin = _MARGIN * max(high - low, 1e-3)
            out[name] = (round(float(low - margin), 4), round(float(high + margin), 4))
    return out


def outside_ranges(features: Mapping[str, float | None], ranges: Mapping[str, Any]) -> list[str]:
    """Names of the features that lie outside of a model's ranges; those that are missing are not among them."""
    out = []
    for name, (low, high) in ranges.items():
        value = features.get(name)
        if value is not None and not low <= value <= high:
            out.append(name)
    return out
