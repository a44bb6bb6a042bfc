"""Sets of classes that hold the right one with a stated probability: conformal prediction.

A class is in the set of a head where its probability is at least a threshold. The threshold is a quantile of the
probabilities that held-out heads give to their right class, with the correction for their number that makes it exact
for one more head of the same kind (Vovk; Sadinle, Lei and Wasserman 2019). A class with enough held-out heads has a
threshold of its own, so that its heads, too, have the stated coverage. Where a class has too few, it takes the
threshold of all heads, and no other class may have a higher one: so the sets hold all that this one threshold gives,
and the coverage of all heads together is kept, too. The most probable class is always in the set, which only raises the
coverage.

The probability itself is the score. Adaptive prediction sets (Romano, Sesia and Candès 2020) were larger on both data
sets, see docs/guarantees.md.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .selection import DIGITS

__all__ = ["SetRule", "needed", "set_rule"]


@dataclass(frozen=True)
class SetRule:
    """How prediction sets are made.

    Attributes:
        coverage: Probability, at least, that the right class is in the set.
        thresholds: Lowest probability at which a class is in the set, by class id.
        own: Whether the coverage holds for the heads of a class alone, by class id.
    """

    coverage: float
    thresholds: tuple[float, ...]
    own: tuple[bool, ...]

    def members(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Which classes are in the sets, ``(n, classes)``, from probabilities of this form."""
        p = np.asarray(probabilities, dtype=np.float64)
        inside = p >= np.asarray(self.thresholds)
        inside[np.arange(len(p)), p.argmax(axis=1)] = True
        return inside


def needed(coverage: float) -> int:
    """Number of held-out heads without which no threshold promises this coverage: ``1 / (1 - coverage) - 1``."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def set_rule(probabilities: ArrayLike, labels: ArrayLike, coverage: float = 0.95) -> SetRule:
    """Thresholds from held-out heads, each of another cell.

    Args:
        probabilities: ``(n, classes)``.
        labels: Class ids ``(n,)``.
        coverage: To be promised, between 0 and 1.

    Raises:
        ValueError: Another coverage.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage {coverage}: expected a number between 0 and 1")
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    of_label = p[np.arange(len(y)), y]
    own = [bool((y == label).sum() >= needed(coverage)) for label in range(p.shape[1])]
    of_all = _threshold(of_label, coverage)
    thresholds = [_threshold(of_label[y == label], coverage) if enough else of_all for label, enough in enumerate(own)]
    if not all(own):
        thresholds = [min(threshold, of_all) for threshold in thresholds]
    return SetRule(coverage, tuple(thresholds), tuple(own))


def _threshold(of_label: NDArray[np.float64], coverage: float) -> float:
    """The probability that one more head gives to its right class is not below it with this probability."""
    rank = math.ceil(round((len(of_label) + 1) * coverage, 9))
    if rank > len(of_label):
        return 0.0
    value = np.sort(of_label)[::-1][rank - 1]
    return float(np.floor(value * 10**DIGITS) / 10**DIGITS)
