"""What the folds of a cross-validation say together, from its stored predictions."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from .controls import better_control
from .intervals import t_interval
from .metrics import classification_metrics, with_probabilities
from .results import FIGURES, FoldFigures, Metrics, Summary, control_key

__all__ = ["summarize_predictions", "summary_table"]


def summarize_predictions(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    controls: Mapping[tuple[int, int], Mapping[str, float]] | None = None,
) -> Summary:
    """Figures of each fold, mean, standard deviation and t interval, and the pooled Wilson interval.

    The t interval has df = folds − 1 (NaN for a single fold); the Wilson interval is that of the images, each counted
    once: over several seeds with the mean number of right ones.

    Args:
        rows: ``seed``, ``fold``, ``label`` and ``prediction`` of each held-out image; with the probabilities
            (``p_<class>``) there are ``auc`` and ``calibration_error``, too.
        names: Name of each class id.
        controls: Accuracy of each control on the images of a seed and fold, averaged like the others.
    """
    by_fold: dict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_fold[int(row["seed"]), int(row["fold"])].append(row)

    def metrics(chosen: Sequence[Mapping[str, Any]]) -> Metrics:
        predicted, labels = ([names.index(row[key]) for row in chosen] for key in ("prediction", "label"))
        found = classification_metrics(predicted, labels, names)
        columns = [f"p_{name}" for name in names]
        if not set(columns) <= chosen[0].keys():
            return found
        probabilities = [[float(row[column]) for column in columns] for row in chosen]
        return with_probabilities(found, probabilities, labels)

    folds = []
    for (seed, fold), chosen in sorted(by_fold.items()):
        found = metrics(chosen)
        figures = {key: getattr(found, key) for key in (*FIGURES, "auc") if getattr(found, key) is not None}
        figures |= {control_key(name): value for name, value in (controls or {}).get((seed, fold), {}).items()}
        folds.append(FoldFigures(seed, fold, figures))
    seeds = len({fold.seed for fold in folds})
    keys = [key for key in folds[0].figures if all(key in fold.figures for fold in folds)]
    columns = {key: [fold.figures[key] for fold in folds] for key in keys}
    size = len(folds) // seeds
    spread = {  # a single fold has none
        key: t_interval(values, size=size) if size > 1 else (fmean(values), math.nan, math.nan)
        for key, values in columns.items()
    }
    mean, sd, half = ({key: value[part] for key, value in spread.items()} for part in range(3))
    return Summary(tuple(folds), mean, sd, half, len(rows) // seeds, metrics(rows))


def summary_table(summary: Summary) -> str:
    """A summary as text: the folds, their mean and spread, the pooled interval, the controls, the confusion matrix."""
    keys = [key for key in (*FIGURES, "auc") if key in summary.mean]
    lines = ["seed fold  " + "".join(f"{key:>11}" for key in keys)]
    for fold in summary.folds:
        lines.append(f"{fold.seed:<5}{fold.fold:<6}" + "".join(f"{100 * fold.figures[key]:>11.1f}" for key in keys))
    for title, figures in (("mean", summary.mean), ("sd", summary.sd), ("±95 %", summary.t_half_width)):
        lines.append(f"{title:<11}" + "".join(f"{100 * figures[key]:>11.1f}" for key in keys))
    low, high = summary.wilson
    lines.append(
        f"pooled: {summary.right:.4g} of {summary.images} right, "
        f"95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    pooled = summary.pooled
    if pooled.calibration_error is not None:
        lines.append(f"expected calibration error: {100 * pooled.calibration_error:.1f} %")
    for key in map(control_key, summary.controls):
        lines.append(f"{key}: {100 * summary.mean[key]:.1f} ± {100 * summary.sd[key]:.1f} %")
    if hint := better_control(summary.mean["accuracy"], summary.controls):
        lines.append(hint)
    lines.append("confusion (rows: reference): " + ", ".join(pooled.names))
    lines += [" ".join(f"{count:>5}" for count in row) for row in pooled.confusion_matrix]
    return "\n".join(lines)
