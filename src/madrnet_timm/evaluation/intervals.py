"""Confidence intervals: of a proportion (Wilson), of a mean over folds and of differences there (Student's t)."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

__all__ = ["difference_interval", "t_interval", "wilson_interval"]


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


def difference_interval(
    differences: Sequence[float], level: float = 0.95, size: int | None = None
) -> tuple[float, float]:
    """Mean of two models' differences on the folds of a cross-validation, and half the width of its interval.

    The trainings of two folds share images, so that the folds are no sample of independent trainings. The variance of
    the mean is therefore taken to be larger by the number of held-out images for each training image (Nadeau and
    Bengio, Machine Learning 52, 2003), which is ``1 / (k - 1)`` with k folds: ``sd² (1 / k + 1 / (k - 1))``. With five
    folds the interval is 1.5 times that of `t_interval`.

    Args:
        differences: At least two, one for each fold and seed.
        level: Of the interval.
        size: Number k of the folds of one seed; all if None.

    Raises:
        ValueError: See `t_interval`.
    """
    folds = len(differences) if size is None else size
    mean_, _, half = t_interval(differences, level, folds)
    return mean_, half * math.sqrt(1 + folds / (folds - 1))
