"""Share of normal heads: interval, correction by a classifier's errors, agreement of two slides (WHO manual)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .intervals import wilson_interval

__all__ = ["NormalShare", "normal_share", "replicate_check", "rogan_gladen", "sensitivity_specificity"]

LOWER_REFERENCE_LIMIT = 0.04
"""Normal forms: the 5th centile of fathers, not a limit of fertility (WHO)."""


@dataclass(frozen=True)
class NormalShare:
    """Part of the heads that are normal.

    Attributes:
        normal: Number of them.
        total: Number of heads.
        share: Their quotient.
        low: Lower end of the 95 % Wilson interval.
        high: Upper end.
    """

    normal: int
    total: int
    share: float
    low: float
    high: float


def normal_share(normal: int, total: int) -> NormalShare:
    """Share and interval.

    Raises:
        ValueError: No heads.
    """
    low, high = wilson_interval(normal, total)
    return NormalShare(normal, total, normal / total, low, high)


def sensitivity_specificity(confusion: Sequence[Sequence[int]], normal: int) -> tuple[float, float]:
    """Of "normal against the rest", from a confusion matrix with references in rows.

    Raises:
        ValueError: No normal heads in it, or no others.
    """
    of_normal = sum(confusion[normal])
    total = sum(map(sum, confusion))
    false_positive = sum(row[normal] for index, row in enumerate(confusion) if index != normal)
    if of_normal == 0 or of_normal == total:
        raise ValueError("the confusion matrix holds no normal heads, or no others")
    return confusion[normal][normal] / of_normal, 1 - false_positive / (total - of_normal)


def rogan_gladen(share: float, sensitivity: float, specificity: float) -> float | None:
    """True share behind a share that a classifier found (Rogan and Gladen 1978), kept within 0 and 1.

    None where the classifier tells nothing (sensitivity + specificity not above 1).
    """
    gain = sensitivity + specificity - 1
    return None if gain <= 0 else min(max((share + specificity - 1) / gain, 0.0), 1.0)


def replicate_check(first: NormalShare, second: NormalShare) -> tuple[float, float, bool]:
    """Whether two slides of one sample agree within the binomial 95 % limits.

    ``|p1 - p2| <= 1.96 sqrt(p (1 - p) (1/n1 + 1/n2))`` with the pooled p; for two slides of 200 that is the WHO
    manual's ``1.96 sqrt(2 p (1 - p) / 200)``.

    Returns:
        The difference, its limit, and whether it lies within.
    """
    pooled = (first.normal + second.normal) / (first.total + second.total)
    limit = 1.96 * math.sqrt(pooled * (1 - pooled) * (1 / first.total + 1 / second.total))
    difference = abs(first.share - second.share)
    return difference, limit, difference <= limit
