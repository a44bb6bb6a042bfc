"""Confidence intervals: of a proportion (Wilson) and of a mean over folds (Student's t)."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

__all__ = ["t_interval", "wilson_interval"]


def wilson_interval(successes: float, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of ``successes / total``; successes may be a mean over seeds.

    Raises:
        ValueError: Not 0 ≤ successes ≤ total, or total 0.
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(f"{successes} successes of {total}: expected 0 <= successes <= total, total > 0")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / total
    middle = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def t_interval(values: Sequence[float], level: float = 0.95, size: int | None = None) -> tuple[float, float, float]:
    """Mean of the values, their standard deviation, and half the width of the t interval of the mean (df = size - 1).

    Args:
        values: At least two, of folds for example.
        level: Of the interval.
        size: How many of the values are a sample of their own; all if None. The folds of another seed hold the same
            images: over several seeds it is the number of folds of one.

    Raises:
        ValueError: Fewer than two values, or a size below 2.
    """
    size = len(values) if size is None else size
    if min(len(values), size) < 2:
        raise ValueError(f"{min(len(values), size)} values: an interval needs at least two")
    from scipy.stats import t

    sd = stdev(values)
    return mean(values), sd, float(t.ppf(0.5 + level / 2, size - 1)) * sd / math.sqrt(size)
