"""All folds of a recipe, and what they say together."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.intervals import t_interval, wilson_interval
from ..evaluation.metrics import classification_metrics
from ..files import write_csv, write_text
from .loop import train
from .options import RunOptions, check
from .run_folder import RunFolder

__all__ = ["cross_validate", "summarize"]

_FIGURES = ("accuracy", "precision", "recall", "f1")


def _fold_options(options: RunOptions) -> RunOptions:
    """The run of one fold: in a folder of its own, continued if it was begun."""
    path = options.output / f"fold{options.fold}"
    return replace(options, output=path, resume=RunFolder(path).config.exists())


def cross_validate(folds: Sequence[RunOptions]) -> str:
    """Train each of the folds that is not finished yet, and write ``summary.csv`` and ``summary.json``.

    Args:
        folds: Options of the folds, which differ in `fold` only.

    Returns:
        The table as text.

    Raises:
        InputError: See `train`.
    """
    output = folds[0].output
    for options in map(_fold_options, folds):  # before the first is trained
        check(options)
        RunFolder(options.output).check(options.to_config(), options.resume)
    for options in map(_fold_options, folds):
        folder = RunFolder(options.output)
        if not (folder.model / "config.json").exists():
            print(f"fold {options.fold + 1} of {len(folds)}: {options.output}", flush=True)
            train(options)
    summary = summarize([RunFolder(_fold_options(options).output) for options in folds])
    write_csv(output / "summary.csv", summary["folds"])
    write_text(output / "summary.json", json.dumps(summary, indent=2) + "\n")
    return _table(summary)


def summarize(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Figures of each fold, their mean, standard deviation and t interval, and the pooled Wilson interval.

    Raises:
        InputError: A run without metrics.
    """
    folds, predicted, references, names = [], [], [], []
    for number, run in enumerate(runs):
        if not run.metrics.exists() or not run.predictions.exists():
            raise InputError(f"{run.path}: not a finished run; run the command again to finish it")
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
        names = list(metrics["per_class"])
        folds.append({"fold": number, **{key: metrics[key] for key in _FIGURES}})
        with run.predictions.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                predicted.append(names.index(row["prediction"]))
                references.append(names.index(row["label"]))
    spread = {key: t_interval([fold[key] for fold in folds]) for key in _FIGURES}
    right = int(np.sum(np.array(predicted) == np.array(references)))
    return {
        "folds": folds,
        "mean": {key: value[0] for key, value in spread.items()},
        "sd": {key: value[1] for key, value in spread.items()},
        "t_half_width": {key: value[2] for key, value in spread.items()},
        "right": right,
        "pictures": len(references),
        "wilson": wilson_interval(right, len(references)),
        "pooled": classification_metrics(predicted, references, names),
    }


def _table(summary: dict[str, Any]) -> str:
    lines = ["fold  " + "".join(f"{key:>11}" for key in _FIGURES)]
    lines += [f"{row['fold']:<6}" + "".join(f"{100 * row[key]:>11.1f}" for key in _FIGURES) for row in summary["folds"]]
    for title, key in (("mean", "mean"), ("sd", "sd"), ("±95 %", "t_half_width")):
        lines.append(f"{title:<6}" + "".join(f"{100 * summary[key][k]:>11.1f}" for k in _FIGURES))
    low, high = summary["wilson"]
    lines.append(
        f"pooled: {summary['right']} of {summary['pictures']} right, "
        f"95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    names = list(summary["pooled"]["per_class"])
    lines.append("confusion (rows: reference): " + ", ".join(names))
    lines += [" ".join(f"{count:>5}" for count in row) for row in summary["pooled"]["confusion_matrix"]]
    return "\n".join(lines)
