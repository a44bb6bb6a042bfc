"""Compare ways to calibrate probabilities, and scores of prediction sets, on held-out predictions of published models.

    python -m examples.studies.calibration --output docs/results

Nested: a fold is calibrated by the other folds of its seed, and so are the thresholds of its sets. Beside the
temperature stands Dirichlet calibration (Kull et al. 2019: a linear map of the logarithms of the probabilities, whose
elements off the diagonal and intercepts are regularised; how strongly is chosen on the other folds, too). Beside the
probability itself as the score of a set stand adaptive prediction sets (Romano, Sesia and Candès 2020).
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.command import run_command
from madrnet_timm.evaluation.calibration import (
    LOWEST,
    cross_fitted,
    expected_calibration_error,
    fitted_temperature,
    softmax,
    tempered,
)
from madrnet_timm.evaluation.prediction_sets import set_rule
from madrnet_timm.evaluation.selection import one_of_each
from madrnet_timm.files import write_csv
from madrnet_timm.progress import progress
from tools.guarantees import MODELS, HeldOut, seeds

Array = NDArray[np.float64]
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
COVERAGE = 0.95


def log_loss(p: Array, labels: NDArray[np.int64]) -> float:
    return float(-np.log(np.clip(p[np.arange(len(labels)), labels], LOWEST, None)).mean())


def _logarithms(p: Array) -> Array:
    return np.column_stack([np.log(np.clip(p, LOWEST, None)), np.ones(len(p))])


def dirichlet_map(known: HeldOut, strength: float) -> Array:
    """Matrix ``(classes, classes + 1)`` that is applied to the logarithms and a 1."""
    from scipy.optimize import minimize

    x, labels = _logarithms(known.probabilities), known.labels
    classes = x.shape[1] - 1
    off = 1 - np.eye(classes, classes + 1)

    def loss(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(classes, -1)
        p = softmax(x @ w.T)
        wrong = p.copy()
        wrong[np.arange(len(labels)), labels] -= 1
        value = log_loss(p, labels) + strength * float(((w * off) ** 2).sum())
        return value, (wrong.T @ x / len(labels) + 2 * strength * w * off).ravel()

    start = np.eye(classes, classes + 1).ravel()
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x).reshape(classes, -1)


def dirichlet(known: HeldOut, p: Array) -> Array:
    def loss(strength: float) -> float:
        values = []
        for fold in np.unique(known.folds):
            rest, own = known.part(known.folds != fold), known.part(known.folds == fold)
            w = dirichlet_map(rest, strength)
            values.append(log_loss(softmax(_logarithms(own.probabilities) @ w.T), own.labels))
        return float(np.mean(values))

    return softmax(_logarithms(p) @ dirichlet_map(known, min(STRENGTHS, key=loss)).T)


WAYS: dict[str, Callable[[HeldOut, Array], Array]] = {
    "nothing": lambda known, p: p,
    "temperature": lambda known, p: tempered(p, fitted_temperature(known.probabilities, known.labels)),
    "Dirichlet": dirichlet,
}


def calibrations(name: str) -> list[dict[str, Any]]:
    """Of a published model: expected calibration error and log loss by each way, means over the seeds."""
    rows = []
    for way, calibrated in WAYS.items():
        found = []
        for seed in seeds(name):
            p = np.empty_like(seed.probabilities)
            for own in (seed.folds == fold for fold in np.unique(seed.folds)):
                p[own] = calibrated(seed.part(~own), seed.probabilities[own])
            found.append((expected_calibration_error(p, seed.labels), log_loss(p, seed.labels)))
        error, loss = np.mean(found, axis=0)
        rows.append({"model": f"`{name}`", "way": way, "error": f"{error:.4f}", "log_loss": f"{loss:.4f}"})
    return rows


def adaptive_members(known: Array, labels: NDArray[np.int64], p: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Sets by the probability of all that is more probable than a class, and a random part of its own."""

    def scores(q: Array) -> Array:
        order = np.argsort(-q, axis=1)
        ranked = np.take_along_axis(q, order, axis=1)
        out = np.empty_like(q)
        np.put_along_axis(out, order, ranked.cumsum(axis=1) - ranked * rng.random((len(q), 1)), axis=1)
        return out

    own, limits = scores(known)[np.arange(len(labels)), labels], []
    for label in range(p.shape[1]):
        ranked = np.sort(own[labels == label])
        rank = math.ceil((len(ranked) + 1) * COVERAGE)
        limits.append(ranked[rank - 1] if rank <= len(ranked) else np.inf)
    members = scores(p) <= np.array(limits)
    members[np.arange(len(p)), p.argmax(axis=1)] = True
    return members


def set_scores(name: str) -> list[dict[str, Any]]:
    """Of a published model: coverage and size of the sets by each score, over all images of all seeds."""
    rng = np.random.default_rng(0)
    members: dict[str, list[NDArray[np.bool_]]] = {"probability": [], "adaptive": []}
    labels = []
    for seed in seeds(name):
        for own in (seed.folds == fold for fold in np.unique(seed.folds)):
            known, fold = seed.part(~own), seed.part(own)
            units = one_of_each(known.groups)
            q, y = cross_fitted(known.probabilities, known.labels, known.groups)[units], known.labels[units]
            p = tempered(fold.probabilities, fitted_temperature(known.probabilities, known.labels))
            members["probability"].append(set_rule(q, y, COVERAGE).members(p))
            members["adaptive"].append(adaptive_members(q, y, p, rng))
            labels.append(fold.labels)
    y = np.concatenate(labels)
    rows = []
    for score, parts in members.items():
        found = np.concatenate(parts)
        inside, size = found[np.arange(len(y)), y].mean(), found.sum(axis=1).mean()
        rows.append({"model": f"`{name}`", "score": score, "inside": f"{100 * inside:.1f}", "size": f"{size:.2f}"})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="gets calibration.csv, set-scores.csv"
    )
    args = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"calibration": [], "set-scores": []}
    for name in progress(MODELS, len(MODELS), "calibrating", "model"):
        found["calibration"] += calibrations(name)
        found["set-scores"] += set_scores(name)
    for file, rows in found.items():
        write_csv(args.output / f"{file}.csv", rows)


if __name__ == "__main__":
    run_command(main)
