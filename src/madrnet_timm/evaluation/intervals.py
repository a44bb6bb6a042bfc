"""Confidence intervals: of a proportion (Wilson) and of a mean over folds (Student's t)."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

__all__ = ["fold_interval", "t_interval", "wilson_interval"]


def wilson_interval(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of ``successes / total``.

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


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of the values, their standard deviation, and half the width of the t interval of the mean (df = n - 1).

    Raises:
        ValueError: Fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} values: an interval needs at least two")
    from scipy.stats import t

    sd = stdev(values)
    return mean(values), sd, float(t.ppf(0.5 + level / 2, len(values) - 1)) * sd / math.sqrt(len(values))


def fold_interval(values: Sequence[float], folds: int, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of fold figures of one seed or several, their standard deviation, half the width of the t interval (df =
    folds - 1).

    The folds of another seed hold the same pictures, so that more seeds do not make the sample larger.

    Raises:
        ValueError: Fewer than two folds.
    """
    mean_value, sd, half = t_interval(values, level)
    if len(values) == folds:
        return mean_value, sd, half
    if folds < 2:
        raise ValueError(f"{folds} folds: an interval needs at least two")
    from scipy.stats import t

    return mean_value, sd, float(t.ppf(0.5 + level / 2, folds - 1)) * sd / math.sqrt(folds)
