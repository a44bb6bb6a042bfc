"""Calibrated probabilities: temperature and expected calibration error."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LOWEST",
    "Calibration",
    "calibrate",
    "cross_fitted",
    "expected_calibration_error",
    "fitted_temperature",
    "softmax",
    "tempered",
]

LOWEST = 1e-7
"""A probability below it counts as this: its logarithm stays finite."""

_BINS = 10
_PARTS = 5  # of the images, for a temperature from others

_SPREAD = 0.5
"""Standard deviation of the logarithm of a temperature before anything is measured; its mean is 0."""


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of logits ``(n, classes)``."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def tempered(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities ``(n, classes)`` with their logits divided by a temperature; above 1 they become less sure."""
    return softmax(np.log(np.clip(np.asarray(probabilities, dtype=np.float64), LOWEST, None)) / temperature)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean distance of confidence and accuracy over ten bins of equal width of the highest probability."""
    p, y = np.asarray(probabilities), np.asarray(labels)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    number = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    error = sum(
        abs(confidence[number == b].mean() - right[number == b].mean()) * (number == b).sum() for b in np.unique(number)
    )
    return float(error / len(y))


@dataclass(frozen=True)
class Calibration:
    """What held-out images say about a model's probabilities.

    Attributes:
        temperature: That makes them fit best, see `fitted_temperature`.
        images: Number of held-out images.
        calibration_error: Expected calibration error on all of them, each calibrated by others, see `cross_fitted`.
        threshold: Lowest calibrated probability of the chosen class at which the model decides, as models of versions
            before 0.2 have it: told from the images of its own accuracy, it promises nothing. Newer ones have a
            `Guarantee`.
    """

    temperature: float
    images: int
    calibration_error: float
    threshold: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For config.json."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def fitted_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The most probable temperature, by the likelihood of the labels and a normal prior of its logarithm.

    Two in three temperatures lie between 0.6 and 1.65 before anything is measured. Where every image is right, the
    likelihood alone would call for a temperature of 0, and where few are wrong, it is too sure. With many images the
    prior counts for nothing; without any, the temperature is 1.

    Args:
        probabilities: Of the model, ``(n, classes)``.
        labels: Class ids ``(n,)``.
    """
    from scipy.optimize import minimize_scalar

    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if not len(y):
        return 1.0

    def loss(log_temperature: float) -> float:
        chosen = tempered(p, np.exp(log_temperature))[np.arange(len(y)), y]
        return (log_temperature / _SPREAD) ** 2 / 2 - float(np.log(np.clip(chosen, LOWEST, None)).sum())

    return round(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)), 4)


def cross_fitted(
    probabilities: ArrayLike, labels: ArrayLike, groups: Sequence[int] | NDArray[np.int64], seed: int = 0
) -> NDArray[np.float64]:
    """Calibrated probabilities ``(n, classes)``, each by the temperature of images of other cells.

    The groups are divided into five parts at random; the temperature of a part comes from the other four. So no image
    is judged by a temperature that it helped to choose.

    Args:
        probabilities: Of the model, ``(n, classes)``.
        labels: Class ids ``(n,)``.
        groups: Images of one cell have the same ``(n,)``.
        seed: Of the division.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    part = (np.random.default_rng(seed).permutation(len(names)) % _PARTS)[number]
    out = np.empty_like(p)
    for own in (part == value for value in np.unique(part)):
        out[own] = tempered(p[own], fitted_temperature(p[~own], y[~own]))
    return out


def calibrate(probabilities: ArrayLike, labels: ArrayLike, groups: Sequence[int] | NDArray[np.int64]) -> Calibration:
    """Fit a temperature to held-out images, and measure what it does on others.

    Args:
        probabilities: Of the model, ``(n, classes)``.
        labels: Class ids ``(n,)``.
        groups: Images of one cell have the same ``(n,)``.
    """
    error = expected_calibration_error(cross_fitted(probabilities, labels, groups), labels)
    return Calibration(fitted_temperature(probabilities, labels), len(np.asarray(labels)), error)
