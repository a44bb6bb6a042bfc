"""Several cross-validations as one model: the mean of their probabilities on the held-out images of each fold."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.sources import class_names, images_of
from ..errors import InputError
from ..evaluation.controls import Controls
from ..progress import progress
from .stored import cross_validated_config, held_out_predictions

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Ensemble"]

_Key = tuple[int, int, str]
"""Seed, fold and file."""
_Rows = dict[_Key, dict[str, Any]]
_Predict = Callable[[Path, Iterable[NDArray[np.uint8]], Sequence[str]], NDArray[np.float64]]
"""Of a model folder, its images and the classes: probabilities ``(images, classes)``."""


class Ensemble:
    """The mean of the probabilities of cross-validations.

    Attributes:
        names: Classes, in the order of the first run.

    Args:
        runs: Outputs of `cross_validate`, or tables, see `held_out_predictions`; on the same images and folds.
        seeds: Only these; else those that all runs have.

    Raises:
        InputError: Other images, folds, labels or classes; no probabilities.
    """

    def __init__(self, runs: Sequence[Path], seeds: Sequence[int] | None = None) -> None:
        self.runs = list(runs)
        tables, self.names = _same_images(self.runs, seeds)
        self._table = dict(zip(self.runs, tables, strict=True))
        self._sums = {key: np.zeros(len(self.names)) for key in tables[0]}
        for table in tables:
            for key, row in table.items():
                self._sums[key] += [float(row[f"p_{name}"]) for name in self.names]
        self._places = sorted({key[:2] for key in self._sums})
        self._divided = cache(self._divide)

    def average_with(self, predict: _Predict) -> None:
        """Take the mean of what the runs have stored and what their models say in another way, such as mirrored.

        Raises:
            InputError: The images or folds have changed since.
        """
        self._predict(predict)
        self._sums = {key: total / 2 for key, total in self._sums.items()}

    def replace_with(self, predict: _Predict) -> None:
        """Take what the runs' models say in another way in the place of what the runs have stored.

        Raises:
            InputError: The images or folds have changed since.
        """
        self._sums = {key: np.zeros(len(self.names)) for key in self._sums}
        self._predict(predict)

    def _predict(self, predict: _Predict) -> None:
        for seed, fold in progress(self._places, len(self._places), "predicting", "fold"):
            records, _ = self._divided(seed)
            held_out = records.select(np.flatnonzero(self._measured(records, seed, fold)))
            images = list(images_of(held_out))
            for run in self.runs:
                found = predict(run / f"seed{seed}-fold{fold}" / "model", images, self.names)
                self._add(seed, fold, held_out["file"], found)

    def add_measured(self) -> None:
        """Add one model more, the control "shape and stain", fitted to the training images of each fold.

        Raises:
            InputError: The images or folds have changed since.
        """
        every = self._divided(self._places[0][0])[0]
        controls, classes = Controls(every), class_names(every)
        order = [list(classes).index(name) for name in self.names]
        for seed, fold in progress(self._places, len(self._places), "measured", "fold"):
            records, folds = self._divided(seed)
            measured = self._measured(records, seed, fold)
            found = controls.probabilities("shape and stain", folds != fold, measured, len(classes))
            held_out = records.select(np.flatnonzero(measured))
            self._add(seed, fold, held_out["file"], found[:, order])

    def rows(self) -> list[dict[str, Any]]:
        """One row per held-out image and seed: seed, fold, file, label, prediction, probabilities."""
        labels, out = self._table[self.runs[0]], []
        for (seed, fold, file), total in self._sums.items():
            row = {"seed": seed, "fold": fold, "file": file, "label": labels[seed, fold, file]["label"]}
            row["prediction"] = self.names[int(total.argmax())]
            shares = zip(self.names, total / total.sum(), strict=True)
            out.append(row | {f"p_{name}": round(float(share), 6) for name, share in shares})
        return out

    def _add(self, seed: int, fold: int, files: Iterable[str], found: NDArray[np.float64]) -> None:
        for file, probabilities in zip(files, found, strict=True):
            self._sums[seed, fold, file] += probabilities

    def _measured(self, records: "Dataset", seed: int, fold: int) -> NDArray[np.bool_]:
        """Mask of the images that a fold was measured on: all that it holds out, but with ``--leave-out-seen``."""
        files = [key[2] for key in self._sums if key[:2] == (seed, fold)]
        return np.isin(records["file"], files)

    def _divide(self, seed: int) -> tuple["Dataset", NDArray[np.int64]]:
        """The records and their folds, as they were when the first output was trained."""
        run = next(run for run in self.runs if not run.is_file())
        config = cross_validated_config(run)
        records, folds, _ = replace(config, seed=seed).divided_records()
        now = {
            (seed, int(fold), file): pixels
            for fold, file, pixels in zip(folds, records["file"], records["pixel_sha256"], strict=True)
        }
        then = {key: row["pixel_sha256"] for key, row in self._table[run].items() if key[0] == seed}
        if config.leave_out_seen:  # of those held out, some were not measured on
            now = {key: pixels for key, pixels in now.items() if key in then}
        if {key: pixels for key, pixels in now.items() if key[:2] in self._places} != then:
            raise InputError(
                f"{run}: its images or folds (--data-dir {config.data_dir}, --folds {config.folds}) have changed "
                "since it was trained; put them back"
            )
        return records, folds


def _same_images(runs: Sequence[Path], seeds: Sequence[int] | None) -> tuple[list[_Rows], list[str]]:
    """Held-out predictions of each run, in the seeds and folds that all have, and the classes."""
    tables, classes = [], []
    for run in runs:
        rows = held_out_predictions(run, seeds)
        tables.append({(row["seed"], row["fold"], row["file"]): row for row in rows})
        if len(tables[-1]) < len(rows):
            raise InputError(f"{run}: has an image twice in a fold and seed")
        classes.append([column.removeprefix("p_") for column in rows[0] if column.startswith("p_")])
        if not classes[-1]:
            raise InputError(f"{run}: has no probabilities (columns p_<class>); give the output that it was made from")
        if unknown := {row["label"] for row in rows} - set(classes[-1]):
            raise InputError(f"{run}: label {unknown.pop()}, expected one of {', '.join(classes[-1])}")
    named = ", ".join(map(str, runs))
    if any(set(names) != set(classes[0]) for names in classes):
        raise InputError(f"{named}: not the same classes")
    common = set.intersection(*({key[:2] for key in table} for table in tables))
    tables = [{key: row for key, row in table.items() if key[:2] in common} for table in tables]
    if not common or any(table.keys() != tables[0].keys() for table in tables):
        raise InputError(f"{named}: not the same images held out in the same folds and seeds")
    for key in tables[0]:
        for column in ("pixel_sha256", "label"):
            if len({table[key][column] for table in tables if column in table[key]}) > 1:
                raise InputError(
                    f"{named}: {key[2]} has not the same {column} in all of them; give runs on one data set"
                )
    return tables, classes[0]
