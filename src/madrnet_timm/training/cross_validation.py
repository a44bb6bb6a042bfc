"""All folds of a recipe, for one seed or several, and what they say together."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from accelerate import PartialState

from ..data.sources import class_names, normal_class
from ..errors import InputError
from ..evaluation.comparison import Comparison, compare_predictions
from ..evaluation.controls import better_control
from ..evaluation.figures import confusion_matrix_figure, mean_curves_figure
from ..evaluation.intervals import t_interval, wilson_interval
from ..evaluation.metrics import classification_metrics, probability_metrics
from ..files import read_csv, replacing, write_csv, write_text
from .division import check_unseen
from .run_checks import check
from .run_config import RunConfig
from .run_folder import RunFolder
from .teachers import check_teachers
from .train import train

__all__ = [
    "compare_runs",
    "cross_validate",
    "cross_validated_options",
    "draw_learning_curves",
    "fold_options",
    "held_out_epochs",
    "held_out_predictions",
    "summarize",
    "summarize_predictions",
    "summary_table",
]

_FIGURES = ("accuracy", "precision", "recall", "f1")


def fold_options(options: RunConfig, seeds: Sequence[int] = (0,)) -> list[RunConfig]:
    """The runs of a cross-validation, each in a folder of its own below ``options.output``, continued if it was begun.

    Raises:
        InputError: See `RunConfig.divided_records`, `check_unseen`, `check_teachers` and `RunFolder.check`.
    """
    runs = []
    for seed in seeds:
        seeded = replace(options, seed=seed)
        check(seeded)
        records, folds, _ = seeded.divided_records()
        normal_class(class_names(records), options.normal_class)  # is there such a class?
        for fold in range(int(folds.max()) + 1):
            runs.append(_fold(options, seed, fold))
            teachers = runs[-1].teachers
            held_out = records.select(np.flatnonzero(folds == fold))["pixel_sha256"]
            left_out = check_unseen(runs[-1], held_out)
            held_out = [pixels for pixels in held_out if pixels not in left_out]
            size = (3, options.recipe.img_size, options.recipe.img_size)
            check_teachers(teachers, class_names(records), size, options.dataset, held_out)
    for run in runs:
        RunFolder(run.output).check(run)
    return runs


def _fold(options: RunConfig, seed: int, fold: int) -> RunConfig:
    path = options.output / f"seed{seed}-fold{fold}"
    teachers = tuple(teacher / path.name for teacher in options.teachers)  # of the same seed and fold
    resume = RunFolder(path).config.exists()
    return replace(options, seed=seed, fold=fold, output=path, teachers=teachers, resume=resume)


def _seed_and_fold(path: Path) -> tuple[int, int]:
    seed, fold = path.name.removeprefix("seed").split("-fold")
    return int(seed), int(fold)


def cross_validate(options: RunConfig, seeds: Sequence[int] = (0,)) -> str:
    """Train each fold of each seed that is not finished yet, and sum up.

    Writes ``summary.csv`` (a row a fold, with the controls), ``summary.json``, ``predictions.csv`` (a row a held-out
    picture and seed), ``learning_curves.png`` and ``confusion_matrix.png``.

    Args:
        options: What is trained; its `fold` and `seed` are not used. Its `teachers` are outputs of cross-validations.
        seeds: Of folds and training. Folds by session or from a file are the same for every seed.

    Returns:
        The table as text.

    Raises:
        InputError: See `train`.
    """
    output, runs = options.output, fold_options(options, seeds)
    asked = {run.output for run in runs}
    for path in sorted(output.glob("seed*-fold*")):
        if path in asked:
            continue
        if not RunFolder(path).metrics.exists():
            raise InputError(
                f"{path}: begun, but not finished and not asked for; add its seed to --seeds, or remove it"
            )
        RunFolder(path).check(_fold(options, *_seed_and_fold(path)))
    for number, run in enumerate(runs, 1):
        if not (RunFolder(run.output).model / "config.json").exists():
            print(f"run {number} of {len(runs)}: {run.output}", flush=True)
            train(run)
    summary = summarize(output)
    if not PartialState().is_main_process:
        return summary_table(summary)
    write_csv(output / "summary.csv", summary["folds"])
    write_text(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_csv(output / "predictions.csv", held_out_predictions(output))
    with replacing(output / "learning_curves.png") as path:
        draw_learning_curves(output, path)
    with replacing(output / "confusion_matrix.png") as path:
        pooled = summary["pooled"]
        confusion_matrix_figure(pooled["confusion_matrix"], list(pooled["per_class"]), path)
    return summary_table(summary)


def cross_validated_options(output: Path) -> RunConfig:
    """The options of a cross-validation's runs, with no fold held out.

    Raises:
        InputError: No cross-validation there.
    """
    runs = sorted(output.glob("seed*-fold*/config.yaml"))
    if not runs:
        raise InputError(f"{output}: holds no cross-validation; expected the output of madrnet cross-validate")
    return replace(RunConfig.read(runs[0]), fold=None, seed=0, output=output / "final")


def _finished(output: Path, seeds: Collection[int] | None = None) -> list[tuple[int, int, RunFolder]]:
    """Seed, fold and folder of each run of a cross-validation, which differ in nothing else; of all seeds or some."""
    runs: list[tuple[int, int, RunFolder]] = []
    first: RunConfig | None = None
    for path in sorted(output.glob("seed*-fold*")):
        seed, fold = _seed_and_fold(path)
        if seeds is not None and seed not in seeds:
            continue
        run = RunFolder(path)
        if not all(file.exists() for file in (run.metrics, run.predictions, run.history)):
            raise InputError(f"{path}: not a finished run; run the command again to finish it, with --seeds {seed}")
        config = run.read_config()
        first = first or config
        if other := config.differences(first).keys() - {"seed", "fold", "teachers"}:
            raise InputError(
                f"{path}: differs from the other runs in {', '.join(sorted(other))}; give each cross-validation an "
                "--output of its own"
            )
        runs.append((seed, fold, run))
    if not runs:
        of = "" if seeds is None else f" of --seeds {_numbers(seeds)}"
        raise InputError(f"{output}: holds no cross-validation{of}; expected the output of madrnet cross-validate")
    counts = Counter(seed for seed, _, _ in runs)
    if len(set(counts.values())) > 1:
        raise InputError(f"{output}: the seeds have different numbers of folds; run the command again to finish them")
    return sorted(runs, key=lambda run: run[:2])


def held_out_predictions(output: Path, seeds: Collection[int] | None = None) -> list[dict[str, Any]]:
    """A row a held-out picture and seed: ``seed``, ``fold``, ``file``, ``label``, ``prediction``, probabilities.

    Args:
        output: See `cross_validate`; or a CSV of such rows, as ``madrnet ensemble`` writes it.
        seeds: Only these; else all.

    Raises:
        InputError: No cross-validation there, or a run of these seeds that is not finished; another table.
    """
    if not output.is_file():
        runs = _finished(output, seeds)
        return [{"seed": s, "fold": f, **row} for s, f, run in runs for row in read_csv(run.predictions)]
    rows = _read_predictions(output)
    found = {row["seed"] for row in rows}
    if seeds is not None and not found & set(seeds):
        raise InputError(f"{output}: has the seeds {_numbers(found)}, none of --seeds {_numbers(seeds)}")
    return [row for row in rows if seeds is None or row["seed"] in seeds]


def _numbers(values: Collection[int]) -> str:
    return " ".join(map(str, sorted(values)))


def _read_predictions(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of predictions, with seed and fold as numbers."""
    rows = read_csv(path) if path.suffix.lower() == ".csv" else []
    if not rows or not {"seed", "fold", "file", "label", "prediction"} <= rows[0].keys():
        raise InputError(f"{path}: expected a CSV with the columns seed, fold, file, label and prediction")
    out: list[dict[str, Any]] = []
    for line, row in enumerate(rows, 2):
        try:
            numbers = {key: int(row[key]) for key in ("seed", "fold")}
            fine = all(math.isfinite(float(row[key])) for key in row if key is not None and key.startswith("p_"))
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise InputError(f"{path}, line {line}: expected a seed, a fold and probabilities that are numbers")
        out.append(row | numbers)
    return out


def held_out_epochs(output: Path) -> list[dict[str, Any]]:
    """``seed``, ``fold``, ``epoch`` and held-out ``accuracy`` of each epoch, of which only the last one is a result.

    Raises:
        InputError: See `held_out_predictions`.
    """
    return [
        {"seed": seed, "fold": fold, "epoch": row["epoch"], "accuracy": round(float(row["accuracy"]), 4)}
        for seed, fold, run in _finished(output)
        for row in read_csv(run.history)
    ]


def summarize(output: Path) -> dict[str, Any]:
    """Figures of each fold, mean, standard deviation and t interval, and the pooled Wilson interval.

    The t interval has df = folds − 1 (NaN for a single fold); the Wilson interval is that of the pictures, each counted
    once: over several seeds with the mean number of right ones.

    Raises:
        InputError: No cross-validation there, or a run that is not finished.
    """
    names: list[str] = []
    controls = {}
    for seed, fold, run in _finished(output):
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
        names = list(metrics["per_class"])
        controls[seed, fold] = {f"control {name}": value for name, value in metrics.get("controls", {}).items()}
    return summarize_predictions(held_out_predictions(output), names, controls)


def summarize_predictions(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    more: Mapping[tuple[int, int], Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """See `summarize`.

    Args:
        rows: ``seed``, ``fold``, ``label`` and ``prediction`` of each held-out picture; with the probabilities
            (``p_<class>``) there are ``auc`` and ``calibration_error``, too.
        names: Name of each class id.
        more: Further figures of a seed and fold, averaged like the others.
    """
    by_fold: dict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_fold[int(row["seed"]), int(row["fold"])].append(row)

    def metrics(chosen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        predicted, labels = ([names.index(row[key]) for row in chosen] for key in ("prediction", "label"))
        found = classification_metrics(predicted, labels, names)
        columns = [f"p_{name}" for name in names]
        if set(columns) <= chosen[0].keys():
            probabilities = [[float(row[column]) for column in columns] for row in chosen]
            found |= probability_metrics(probabilities, labels)
        return found

    folds = []
    for (seed, fold), chosen in sorted(by_fold.items()):
        found = metrics(chosen)
        figures = {key: found[key] for key in (*_FIGURES, "auc") if key in found}
        folds.append({"seed": seed, "fold": fold, **figures, **(more or {}).get((seed, fold), {})})
    seeds = len({row["seed"] for row in folds})
    keys = [key for key in folds[0] if key not in ("seed", "fold") and all(key in row for row in folds)]
    columns = {key: [row[key] for row in folds] for key in keys}
    size = len(folds) // seeds
    spread = {  # a single fold has none
        key: t_interval(values, size=size) if size > 1 else (fmean(values), math.nan, math.nan)
        for key, values in columns.items()
    }
    pooled = metrics(rows)
    pictures = len(rows) // seeds
    right = pooled["accuracy"] * pictures
    return {
        "seeds": seeds,
        "folds": folds,
        "mean": {key: value[0] for key, value in spread.items()},
        "sd": {key: value[1] for key, value in spread.items()},
        "t_half_width": {key: value[2] for key, value in spread.items()},
        "right": right,
        "pictures": pictures,
        "wilson": wilson_interval(right, pictures),
        "pooled": pooled,
    }


def summary_table(summary: dict[str, Any]) -> str:
    """A summary as text: the folds, their mean and spread, the pooled interval, the controls, the confusion matrix."""
    keys = [key for key in (*_FIGURES, "auc") if key in summary["mean"]]
    lines = ["seed fold  " + "".join(f"{key:>11}" for key in keys)]
    for row in summary["folds"]:
        lines.append(f"{row['seed']:<5}{row['fold']:<6}" + "".join(f"{100 * row[key]:>11.1f}" for key in keys))
    for title, key in (("mean", "mean"), ("sd", "sd"), ("±95 %", "t_half_width")):
        lines.append(f"{title:<11}" + "".join(f"{100 * summary[key][k]:>11.1f}" for k in keys))
    low, high = summary["wilson"]
    lines.append(
        f"pooled: {summary['right']:.4g} of {summary['pictures']} right, "
        f"95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    if "calibration_error" in summary["pooled"]:
        lines.append(f"expected calibration error: {100 * summary['pooled']['calibration_error']:.1f} %")
    for key in summary["mean"]:
        if key.startswith("control "):
            lines.append(f"{key}: {100 * summary['mean'][key]:.1f} ± {100 * summary['sd'][key]:.1f} %")
    controls = {key.removeprefix("control "): v for key, v in summary["mean"].items() if key.startswith("control ")}
    if hint := better_control(summary["mean"]["accuracy"], controls):
        lines.append(hint)
    names = list(summary["pooled"]["per_class"])
    lines.append("confusion (rows: reference): " + ", ".join(names))
    lines += [" ".join(f"{count:>5}" for count in row) for row in summary["pooled"]["confusion_matrix"]]
    return "\n".join(lines)


def draw_learning_curves(output: Path, path: Path) -> None:
    """Figs. 5 and 6: loss and held-out accuracy of all finished runs of a cross-validation, as PNG.

    Raises:
        InputError: No cross-validation there, or a run that is not finished.
    """
    histories = [read_csv(run.history) for _, _, run in _finished(output)]
    mean_curves_figure([[{k: float(v) for k, v in row.items()} for row in rows] for rows in histories], path)


def compare_runs(first: Path, second: Path, seeds: Collection[int] | None = None) -> Comparison:
    """Compare two cross-validations on the same pictures and folds.

    Args:
        first: Output of `cross_validate`, or a table; see `held_out_predictions`.
        second: Another.
        seeds: Only these; else those that both have.

    Raises:
        InputError: Not finished cross-validations, or not of the same pictures and folds.
    """
    tables = [held_out_predictions(output, seeds) for output in (first, second)]
    key = "pixel_sha256" if all(rows and "pixel_sha256" in rows[0] for rows in tables) else "file"
    try:
        return compare_predictions(tables[0], tables[1], key)
    except ValueError as error:
        raise InputError(
            f"{first} and {second}: {error}; give both the same --dataset, --protocol, --folds and one seed at least"
        ) from None
