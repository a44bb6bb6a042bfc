"""Is an image like those that a model was trained on? Its features against the training set's ranges."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["domain_ranges", "outside_ranges"]

_PERCENTILES = (1, 99)
_MARGIN = 0.5  # of the range between them, on either side


def domain_ranges(features: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, float]]:
    """Range of each of the `domain_features` over a training set.

    From its first to its last percentile, and half of that on either side.
    """
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
