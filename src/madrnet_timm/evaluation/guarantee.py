"""What a model can promise of heads like its held-out ones, from their predictions: the risk, and prediction sets.

Both rest on one image of each cell, in one of the seeds, drawn at random: images of a cell are alike, and so are the
seeds of an image, so that they can't be counted as independent heads. A loss by cells would do as well, but is no
number of wrong ones, and so has no binomial bound. Probabilities are calibrated by a temperature from the other cells,
see `cross_fitted`.

What is promised is for one more head that is exchangeable with these: from the same source, prepared in the same way,
with an outline where these have one.
Nothing is promised for another laboratory, stain or microscope. Over a cross-validation the held-out predictions come
from the models of its folds, while the model that is used has seen all images; strictly, the promise is theirs. Nor is
it exact for them: these models share most of their training images, so that the cells are not quite independent, as the
bounds take them to be. docs/guarantees.md counts what came of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import cross_fitted
from .prediction_sets import SetRule, set_rule
from .selection import Candidate, candidates, one_of_each

__all__ = ["Guarantee", "guarantee"]

WANTED_RISK = 0.05
LEVEL = SET_COVERAGE = 0.95


@dataclass(frozen=True)
class Guarantee:
    """Promises for heads like the held-out ones.

    Attributes:
        cells: Number of held-out cells that it rests on.
        wanted_risk: Share of wrong ones, at most, wanted among the heads that the model decides on.
        level: Probability with which a promised risk holds; over draws of held-out cells.
        candidates: Thresholds and the bounds of their risks, the lowest threshold first.
        sets: How prediction sets are made.
    """

    cells: int
    wanted_risk: float
    level: float
    candidates: tuple[Candidate, ...]
    sets: SetRule

    @property
    def least_risk(self) -> float:
        """The lowest risk that can be promised."""
        return min(candidate.bound for candidate in self.candidates)

    @property
    def risk(self) -> float:
        """What is promised: the wanted risk; where the cells are too few for it, the least whole per cent above it."""
        return max(self.wanted_risk, math.ceil(100 * self.least_risk - 1e-9) / 100)

    @property
    def chosen(self) -> Candidate:
        """The lowest threshold that keeps what is promised."""
        return next(candidate for candidate in self.candidates if candidate.bound <= self.risk)

    def candidate(self, risk: float) -> Candidate | None:
        """The lowest threshold that promises another risk; None where none does."""
        return next((candidate for candidate in self.candidates if candidate.bound <= risk), None)


def guarantee(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[int] | NDArray[np.int64],
    wanted_risk: float = WANTED_RISK,
    level: float = LEVEL,
    coverage: float = SET_COVERAGE,
) -> Guarantee:
    """What held-out predictions allow to promise.

    Args:
        probabilities: Of the model, not calibrated, ``(n, classes)``; the rows may be of several seeds.
        labels: Class ids ``(n,)``.
        groups: Images of one cell have the same ``(n,)``.
        wanted_risk: See `Guarantee`.
        level: See `Guarantee`.
        coverage: Of the prediction sets.

    Raises:
        ValueError: No row, or a level or a coverage outside of 0 to 1.
    """
    y, units = np.asarray(labels), one_of_each(groups)
    p = cross_fitted(probabilities, y, groups)[units]
    y = y[units]
    found = candidates(p.max(axis=1), p.argmax(axis=1) == y, level)
    return Guarantee(len(units), wanted_risk, level, found, set_rule(p, y, coverage))
