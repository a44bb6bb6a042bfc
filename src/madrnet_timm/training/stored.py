"""What a cross-validation has stored: its runs' configs, predictions, histories and controls, each read once."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.folds import LEFT_OUT
from ..errors import InputError
from ..evaluation.comparison import Comparison, compare_predictions
from ..evaluation.figures import mean_curves_figure
from ..evaluation.predictions import listed, read_predictions
from ..evaluation.results import Metrics, Summary
from ..files import read_csv
from .run_config import RunConfig
from .run_folder import RunFolder

__all__ = [
    "CrossValidation",
    "StoredRun",
    "compare_runs",
    "cross_validated_config",
    "held_out_predictions",
    "seed_and_fold",
]


@dataclass(frozen=True)
class StoredRun:
    """One fold and seed of a finished cross-validation.

    Attributes:
        seed: Of folds and training.
        fold: That was held out.
        config: Of the run.
        metrics: On the held-out images, beside the ``controls`` there.
        predictions: One row per image.
        history: One row per epoch.
        division: Fold of each image of the data set, by file, pixels and label.
    """

    seed: int
    fold: int
    config: RunConfig
    metrics: Metrics
    predictions: list[dict[str, Any]]
    history: list[dict[str, Any]]
    division: Mapping[tuple[str, str, str], int]

    @property
    def all_folds(self) -> set[int]:
        """Numbers of the folds that the images are divided into."""
        return {*self.division.values()} - {LEFT_OUT}

    @classmethod
    def read(cls, path: Path) -> "StoredRun":
        """Read a run folder.

        Raises:
            InputError: The run is not finished, or one of its files is not what a run writes.
        """
        run, (seed, fold) = RunFolder(path), seed_and_fold(path)
        if not all(file.exists() for file in (run.metrics, run.predictions, run.history, run.folds)):
            raise InputError(f"{path}: not a finished run; run the command again to finish it, with --seeds {seed}")
        division = {(row["file"], row["pixel_sha256"], row["label"]): int(row["fold"]) for row in read_csv(run.folds)}
        metrics, predictions, history = Metrics.read(run.metrics), read_csv(run.predictions), read_csv(run.history)
        return cls(seed, fold, run.read_config(), metrics, predictions, history, division)


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        runs: By seed and fold; their configs differ in seed, fold and teachers alone.
    """

    runs: Sequence[StoredRun]

    @classmethod
    def read(cls, output: Path, seeds: Collection[int] | None = None, partial: bool = False) -> "CrossValidation":
        """Read the output of `cross_validate`.

        Args:
            output: Its folder.
            seeds: Only these; else all.
            partial: Also one of which only some folds were trained, in all seeds the same.

        Raises:
            InputError: No cross-validation there, or one of these seeds of which a fold is missing or not finished, or
                a run with other options.
        """
        paths = sorted(output.glob("seed*-fold*"))
        runs = [StoredRun.read(path) for path in paths if seeds is None or seed_and_fold(path)[0] in seeds]
        if not runs:
            of = "" if seeds is None else f" of --seeds {listed(seeds)}"
            raise InputError(f"{output}: holds no cross-validation{of}; expected the output of madrnet cross-validate")
        for run in runs[1:]:
            if other := run.config.differences(runs[0].config).keys() - {"seed", "fold", "teachers"}:
                raise InputError(
                    f"{run.config.output}: differs from the other runs in {', '.join(sorted(other))}; give each "
                    "cross-validation an --output of its own"
                )
        for run in runs[1:]:
            first = next(one for one in runs if one.seed == run.seed)
            if run.division != first.division or run.division.keys() != runs[0].division.keys():
                raise InputError(
                    f"{output / f'seed{run.seed}-fold{run.fold}'}: trained on other images, labels or folds than the "
                    "runs beside it; give each cross-validation an --output of its own"
                )
        trained = {run.fold for run in runs}
        for seed in sorted({run.seed for run in runs}):
            of_seed = {run.fold: run for run in runs if run.seed == seed}
            wanted = trained if partial else next(iter(of_seed.values())).all_folds
            if missing := wanted - of_seed.keys():
                raise InputError(
                    f"{output}: not finished, as of seed {seed} folds were not trained ({listed(missing)}); run "
                    f"the command again to finish it, with --seeds {seed}"
                )
        return cls(sorted(runs, key=lambda run: (run.seed, run.fold)))

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """One row per held-out image and seed: ``seed``, ``fold``, ``file``, ``label``, ``prediction``, ``p_...``."""
        return [{"seed": run.seed, "fold": run.fold, **row} for run in self.runs for row in run.predictions]

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """``seed``, ``fold``, ``epoch`` and held-out ``accuracy``; of each run only the last one is a result."""
        return [
            {"seed": run.seed, "fold": run.fold, "epoch": row["epoch"], "accuracy": round(float(row["accuracy"]), 4)}
            for run in self.runs
            for row in run.history
        ]

    @cached_property
    def summary(self) -> Summary:
        """See `madrnet_timm.evaluation.summary.summarize_predictions`."""
        from ..evaluation.summary import summarize_predictions  # late: it imports scikit-learn

        controls = {(run.seed, run.fold): run.metrics.controls for run in self.runs}
        return summarize_predictions(self.predictions, self.runs[-1].metrics.names, controls)

    def draw_learning_curves(self, path: Path) -> None:
        """Figs. 5 and 6: loss and held-out accuracy of all runs, as PNG."""
        mean_curves_figure([[{k: float(v) for k, v in row.items()} for row in run.history] for run in self.runs], path)


def seed_and_fold(path: Path) -> tuple[int, int]:
    """Of the folder of a run in a cross-validation.

    Raises:
        InputError: It has another name.
    """
    found = re.fullmatch("seed([0-9]+)-fold([0-9]+)", path.name)
    if found is None:
        raise InputError(f"{path}: expected runs named seed<number>-fold<number>; move it to another folder")
    return int(found[1]), int(found[2])


def cross_validated_config(output: Path) -> RunConfig:
    """The config of a cross-validation's runs, finished or not, with no fold held out.

    Raises:
        InputError: No cross-validation there.
    """
    runs = sorted(output.glob("seed*-fold*/config.yaml"))
    if not runs:
        raise InputError(f"{output}: holds no cross-validation; expected the output of madrnet cross-validate")
    return replace(RunConfig.read(runs[0]), fold=None, seed=0, output=output / "final")


def held_out_predictions(output: Path, seeds: Collection[int] | None = None) -> list[dict[str, Any]]:
    """Predictions of a cross-validation, or of a table.

    Args:
        output: See `CrossValidation.read`; or a CSV, see `read_predictions`.
        seeds: Only these; else all.

    Raises:
        InputError: See these.
    """
    if output.is_file():
        return read_predictions(output, seeds)
    return CrossValidation.read(output, seeds).predictions


def compare_runs(first: Path, second: Path, seeds: Collection[int] | None = None) -> Comparison:
    """Compare two cross-validations on the same images and folds.

    Args:
        first: Output of `cross_validate`, or a table; see `held_out_predictions`.
        second: Another.
        seeds: Only these; else those that both have.

    Raises:
        InputError: Not finished cross-validations, or not of the same images and folds.
    """
    tables = [held_out_predictions(output, seeds) for output in (first, second)]
    key = "pixel_sha256" if all(rows and "pixel_sha256" in rows[0] for rows in tables) else "file"
    try:
        return compare_predictions(tables[0], tables[1], key)
    except ValueError as error:
        raise InputError(
            f"{first} and {second}: {error}; give both the same --dataset, --protocol, --folds and one seed at least"
        ) from None
