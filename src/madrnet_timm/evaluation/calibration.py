"""Calibrated probabilities: temperature, expected calibration error, and when to abstain."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LOWEST", "Calibration", "calibrate", "expected_calibration_error", "softmax", "tempered"]

LOWEST = 1e-7
"""A probability below it counts as this: its logarithm stays finite."""

_BINS = 10

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
        temperature: That makes them fit best, see `calibrate`.
        threshold: Lowest calibrated probability of the chosen class at which the model decides; below it abstains.
        wanted_accuracy: Accuracy wanted of the images on which it decides.
        images: Number of held-out images.
        coverage: Part of them on which it decides.
        accuracy: Its accuracy on those.
        calibration_error: Expected calibration error on all of them, calibrated.
    """

    temperature: float
    threshold: float
    wanted_accuracy: float
    images: int
    coverage: float
    accuracy: float
    calibration_error: float

    def to_dict(self) -> dict[str, Any]:
        """For config.json."""
        return asdict(self)


def calibrate(probabilities: ArrayLike, labels: ArrayLike, wanted_accuracy: float = 0.98) -> Calibration:
    """Fit temperature and threshold on held-out images.

    The temperature is the most probable one, by the likelihood of the labels and a normal prior of its logarithm: two
    in three temperatures lie between 0.6 and 1.65 before anything is measured. Where every image is right, the
    likelihood alone would call for a temperature of 0, and where few are wrong, it is too sure. With many images the
    prior counts for nothing.

    The threshold is the lowest at which the wanted accuracy holds on the images above it; where none does, the one
    with the highest accuracy. It is told from the same images that its accuracy is given for, so that the accuracy
    is a little flattering.

    Args:
        probabilities: Of the model, ``(n, classes)``.
        labels: Class ids ``(n,)``.
        wanted_accuracy: Of the images on which the model decides.
    """
    from scipy.optimize import minimize_scalar

    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)

    def loss(log_temperature: float) -> float:
        chosen = tempered(p, np.exp(log_temperature))[np.arange(len(y)), y]
        return (log_temperature / _SPREAD) ** 2 / 2 - float(np.log(np.clip(chosen, LOWEST, None)).sum())

    temperature = round(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)), 4)
    fitted = tempered(p, temperature)
    confidence, right = fitted.max(axis=1), fitted.argmax(axis=1) == y
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(y) + 1)
    # images of the same confidence are decided together
    last = np.append(confidence[order][1:] != confidence[order][:-1], True)
    good = np.flatnonzero(last & (accuracy >= wanted_accuracy))
    chosen = int(good[-1]) if len(good) else int(np.where(last, accuracy, -1).argmax())
    threshold = 0.0 if chosen == len(y) - 1 else float(confidence[order][chosen])
    return Calibration(
        temperature=temperature,
        threshold=round(threshold - 5e-5, 4) if threshold else 0.0,  # rounded down: the last one stays above it
        wanted_accuracy=wanted_accuracy,
        images=len(y),
        coverage=(chosen + 1) / len(y),
        accuracy=float(accuracy[chosen]),
        calibration_error=expected_calibration_error(fitted, y),
    )
