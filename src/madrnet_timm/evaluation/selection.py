"""Which heads a model may decide on alone: selective classification with a guaranteed risk.

The risk is the share of wrong ones among the heads that the model decides on. From heads that it has not seen follows
an upper bound of it, the tail of the binomial distribution, as in "Selective Classification for Deep Neural Networks"
(Geifman and El-Yaniv 2017). Two things differ from their algorithm:

- Their binary search looks at few thresholds, but at which ones depends on the heads. Here the shares of heads to
  decide on are fixed in advance, and the error probability is divided among them, so that all bounds hold at once
  whatever is chosen by them later. A threshold depends on the heads all the same: it is the confidence of the head
  behind the last one that is decided on. Given that head, those above it are a sample of all that lie above it, and the
  wrong ones among them are binomial, as long as no two heads have the same confidence.
- A head counts once. Several images of a cell, or one image in several seeds, are no independent trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["COVERAGES", "Candidate", "candidates", "one_of_each", "risk_bound"]

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of heads to decide on, fixed in advance; one of them is chosen."""

DIGITS = 6
"""Of a stored threshold or bound, as tables of predictions have them."""


@dataclass(frozen=True)
class Candidate:
    """A threshold and what it can promise.

    Attributes:
        threshold: Lowest confidence at which the model decides.
        decided: Number of held-out heads on which it does.
        wrong: Number of those that it gets wrong.
        bound: Of the risk; the bounds of all candidates hold together with the confidence that they were made with.
    """

    threshold: float
    decided: int
    wrong: int
    bound: float


def risk_bound(wrong: ArrayLike, decided: ArrayLike, error: ArrayLike) -> NDArray[np.float64]:
    """Upper bound of a probability of which ``wrong`` in ``decided`` trials were seen, after Clopper and Pearson.

    The largest probability at which so few, or fewer, would be seen in a share ``error`` of all samples; 1 without a
    trial. Arrays are taken element by element.
    """
    from scipy.special import betaincinv  # scipy.stats.beta.ppf without its checks, twenty times as fast

    k, n = np.asarray(wrong, dtype=np.float64), np.asarray(decided, dtype=np.float64)
    some = k < n
    found = betaincinv(np.where(some, k + 1, 1), np.where(some, n - k, 1), 1 - np.asarray(error))
    return np.where(some, found, 1.0)


def candidates(confidences: ArrayLike, right: ArrayLike, level: float = 0.95) -> tuple[Candidate, ...]:
    """The thresholds that decide on each of `COVERAGES`, the lowest first, with bounds that hold together.

    Args:
        confidences: Of held-out heads, each of another cell, ``(n,)``, 0 to 1.
        right: Whether each was right ``(n,)``.
        level: Probability with which all bounds hold.

    Raises:
        ValueError: No head, or a level outside of 0 to 1.
    """
    confidence, wrong = np.asarray(confidences, dtype=np.float64), ~np.asarray(right, dtype=bool)
    if not len(confidence) or not 0 < level < 1:
        raise ValueError(
            f"{len(confidence)} heads at level {level}: expected at least one, and a level between 0 and 1"
        )
    order = np.sort(confidence)[::-1]
    first_out = [int(share * len(order) + 1e-9) for share in COVERAGES]  # head behind the last one decided on
    thresholds = [_rounded_up(order[place]) if place < len(order) else 0.0 for place in first_out]
    above = [confidence >= threshold for threshold in thresholds]
    decided, missed = np.array([part.sum() for part in above]), np.array([(part & wrong).sum() for part in above])
    bounds = risk_bound(missed, decided, (1 - level) / len(COVERAGES))
    return tuple(
        Candidate(threshold, int(n), int(k), _rounded_up(bound))
        for threshold, n, k, bound in zip(thresholds, decided, missed, bounds, strict=True)
    )


def _rounded_up(value: float) -> float:
    return float(min(np.ceil(value * 10**DIGITS) / 10**DIGITS, 1.0))


def one_of_each(groups: Sequence[int] | NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Places of one row of each group, drawn at random.

    Args:
        groups: Group of each row: images of one cell, in whatever seed, have the same.
        seed: Of the draw.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(np.asarray(groups)[order], return_index=True)
    return order[first]
