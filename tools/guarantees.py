"""Tables of promises and what came of them, by the held-out predictions beside the published models.

Nested: what a fold is promised follows from the other folds of its seed, and so does its temperature; what came of it
is counted on the fold. The images of a cell count as one, each with an equal part of it. Images without an outline,
which every model leaves to its user, do not count.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.evaluation.calibration import cross_fitted, fitted_temperature, tempered
from madrnet_timm.evaluation.guarantee import Guarantee, guarantee
from madrnet_timm.evaluation.predictions import read_predictions
from madrnet_timm.evaluation.selection import one_of_each
from madrnet_timm.files import read_csv

from .stored import RESULTS
from .tables import table

HUB = Path(__file__).parents[1] / "hub"
MODELS = (
    "madrnet_tf_efficientnet_lite0.hushem",
    "madrnet_tf_efficientnet_lite0.smids_ft_hushem",
    "madrnet_efficientnet_b0.hushem",
    "madrnet_resnet50.hushem",
    "madrnet_tf_efficientnet_lite0.smids",
    "madrnet_tf_efficientnet_lite0.smids_both",
)
RISKS = (0.05, 0.1)


@dataclass(frozen=True)
class HeldOut:
    """Held-out predictions of a seed, or a part of them: probabilities as trained, class ids, cells, folds."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]

    def part(self, which: NDArray[np.bool_]) -> "HeldOut":
        return HeldOut(self.probabilities[which], self.labels[which], self.groups[which], self.folds[which])

    @property
    def weights(self) -> NDArray[np.float64]:
        """Of the images: those of a cell share 1."""
        _, number, count = np.unique(self.groups, return_inverse=True, return_counts=True)
        return 1 / count[number]


@cache
def seeds(name: str) -> tuple[HeldOut, ...]:
    """What lies beside a published model, seed by seed; only images with an outline."""
    rows = read_predictions(HUB / name / "predictions.csv")
    names = [key.removeprefix("p_") for key in rows[0] if key.startswith("p_")]
    out = []
    for seed in sorted({row["seed"] for row in rows}):
        own = [row for row in rows if row["seed"] == seed and row["aspect_ratio"] != ""]
        out.append(
            HeldOut(
                np.array([[float(row[f"p_{label}"]) for label in names] for row in own]),
                np.array([names.index(row["label"]) for row in own]),
                np.array([int(row["group"]) for row in own]),
                np.array([row["fold"] for row in own]),
            )
        )
    return tuple(out)


@dataclass(frozen=True)
class Division:
    """A fold of a seed, and the other folds, both calibrated by the others; what the others promise."""

    known: HeldOut
    promise: Guarantee
    fold: HeldOut


@cache
def divisions(name: str) -> tuple[Division, ...]:
    """Each fold of each seed of a published model."""

    def division(known: HeldOut, fold: HeldOut) -> Division:
        promise = guarantee(known.probabilities, known.labels, known.groups)
        temperature = fitted_temperature(known.probabilities, known.labels)
        return Division(
            replace(known, probabilities=cross_fitted(known.probabilities, known.labels, known.groups)),
            promise,
            replace(fold, probabilities=tempered(fold.probabilities, temperature)),
        )

    return tuple(
        division(seed.part(seed.folds != fold), seed.part(seed.folds == fold))
        for seed in seeds(name)
        for fold in np.unique(seed.folds)
    )


def plug_in(known: HeldOut, risk: float) -> float:
    """The lowest threshold that keeps a risk on the known cells themselves, which promises nothing."""
    units = one_of_each(known.groups)
    p = known.probabilities[units]
    confidence, wrong = p.max(axis=1), p.argmax(axis=1) != known.labels[units]
    order = np.argsort(-confidence)
    fine = np.flatnonzero(np.cumsum(wrong[order]) <= risk * np.arange(1, len(order) + 1))
    return float(confidence[order][fine[-1]]) if len(fine) else 1.0


@dataclass(frozen=True)
class Fold:
    """What came of a promise on a fold: cells, those decided on, the wrong ones among these, and what was promised."""

    promised: float
    cells: float
    decided: float
    wrong: float

    @property
    def kept(self) -> bool:
        return self.wrong <= self.promised * self.decided + 1e-9


def _came_of(fold: HeldOut, threshold: float, promised: float) -> Fold:
    p = fold.probabilities
    decided, wrong, weights = p.max(axis=1) >= threshold, p.argmax(axis=1) != fold.labels, fold.weights
    return Fold(promised, weights.sum(), weights[decided].sum(), weights[decided & wrong].sum())


@cache
def risks(name: str, wanted: float) -> tuple[list[Fold], list[Fold]]:
    """Each fold of each seed, with a promise and with the threshold that promises nothing."""
    promised, plugged = [], []
    for one in divisions(name):
        found = replace(one.promise, wanted_risk=wanted)
        promised.append(_came_of(one.fold, found.chosen.threshold, found.risk))
        plugged.append(_came_of(one.fold, plug_in(one.known, wanted), wanted))
    return promised, plugged


def _share(folds: list[Fold], of: str, among: str) -> str:
    return f"{100 * sum(getattr(f, of) for f in folds) / sum(getattr(f, among) for f in folds):.1f}"


def promised_risks() -> str:
    """Of every published model: what was promised, and what came of it on the fold left out."""
    rows = []
    for name in MODELS:
        for wanted in RISKS:
            folds, plugged = risks(name, wanted)
            low, high = (f"{100 * end(f.promised for f in folds):.0f}" for end in (min, max))
            rows.append(
                [
                    f"`{name}`",
                    f"{100 * wanted:.0f}",
                    low if low == high else f"{low} to {high}",
                    _share(folds, "wrong", "decided"),
                    _share(folds, "decided", "cells"),
                    f"{sum(f.kept for f in folds)} of {len(folds)}",
                    _share(plugged, "wrong", "decided"),
                    _share(plugged, "decided", "cells"),
                    f"{sum(f.kept for f in plugged)} of {len(plugged)}",
                ]
            )
    columns = ("model", "wanted, %", "promised, %", "wrong, %", "decides on, %", "folds that kept it")
    return table((*columns, "without a promise: wrong, %", "decides on, %", "folds that kept what was wanted"), rows)


@cache
def sets(name: str) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
    """Members of the prediction sets of all folds and seeds, the labels, and the images' weights."""
    members, labels, weights = [], [], []
    for one in divisions(name):
        members.append(one.promise.sets.members(one.fold.probabilities))
        labels.append(one.fold.labels)
        weights.append(one.fold.weights)
    return np.concatenate(members), np.concatenate(labels), np.concatenate(weights)


def promised_sets() -> str:
    """Of every published model: how often the set of a fold's head has the right class, and how large it is."""
    rows: list[list[Any]] = []
    for name in MODELS:
        members, labels, weights = sets(name)
        inside, size = members[np.arange(len(labels)), labels], members.sum(axis=1)
        of_class = [np.average(inside[labels == k], weights=weights[labels == k]) for k in np.unique(labels)]
        shares = (np.average(inside, weights=weights), min(of_class), np.average(size == 1, weights=weights))
        cells = [f"{100 * share:.1f}" for share in shares]
        rows.append([f"`{name}`", "95", *cells[:2], f"{np.average(size, weights=weights):.2f}", cells[2]])
    columns = ("model", "promised, %", "right class inside, %", "the same, of the class with the least")
    return table((*columns, "classes in a set", "sets of one class, %"), rows)


def calibrations() -> str:
    """What `examples.studies.calibration` found."""
    columns = {"model": "model", "way": "calibrated by", "error": "calibration error", "log_loss": "log loss"}
    return table(
        tuple(columns.values()), [[row[key] for key in columns] for row in read_csv(RESULTS / "calibration.csv")]
    )


def set_scores() -> str:
    """What the same study found of the scores of prediction sets."""
    rows = read_csv(RESULTS / "set-scores.csv")
    columns = {"model": "model", "score": "score", "inside": "right class inside, %", "size": "classes in a set"}
    return table(tuple(columns.values()), [[row[key] for key in columns] for row in rows])


MAKERS: dict[str, Callable[..., str]] = {
    "promised-risks": promised_risks, "promised-sets": promised_sets, "calibrations": calibrations,
    "set-scores": set_scores,
}  # fmt: skip
