"""What the folds of a cross-validation say together, from its stored predictions."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from .controls import better_control
from .intervals import t_interval, wilson_interval
from .metrics import FIGURES, classification_metrics, probability_metrics

__all__ = ["controls_of", "held_out_images", "summarize_predictions", "summary_table"]


def summarize_predictions(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    more: Mapping[tuple[int, int], Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Figures of each fold, mean, standard deviation and t interval, and the pooled Wilson interval.

    The t interval has df = folds − 1 (NaN for a single fold); the Wilson interval is that of the images, each counted
    once: over several seeds with the mean number of right ones.

    Args:
        rows: ``seed``, ``fold``, ``label`` and ``prediction`` of each held-out image; with the probabilities
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
        figures = {key: found[key] for key in (*FIGURES, "auc") if key in found}
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
    images = len(rows) // seeds
    right = pooled["accuracy"] * images
    return {
        "seeds": seeds,
        "folds": folds,
        "mean": {key: value[0] for key, value in spread.items()},
        "sd": {key: value[1] for key, value in spread.items()},
        "t_half_width": {key: value[2] for key, value in spread.items()},
        "right": right,
        "images": images,
        "wilson": wilson_interval(right, images),
        "pooled": pooled,
    }


def held_out_images(summary: Mapping[str, Any]) -> int:
    """Number of held-out images of a stored ``summary.json``, which called them ``pictures`` until 0.1."""
    return int(summary["images"] if "images" in summary else summary["pictures"])


def controls_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy of each control, the mean over the folds."""
    return {key.removeprefix("control "): v for key, v in summary["mean"].items() if key.startswith("control ")}


def summary_table(summary: dict[str, Any]) -> str:
    """A summary as text: the folds, their mean and spread, the pooled interval, the controls, the confusion matrix."""
    keys = [key for key in (*FIGURES, "auc") if key in summary["mean"]]
    lines = ["seed fold  " + "".join(f"{key:>11}" for key in keys)]
    for row in summary["folds"]:
        lines.append(f"{row['seed']:<5}{row['fold']:<6}" + "".join(f"{100 * row[key]:>11.1f}" for key in keys))
    for title, key in (("mean", "mean"), ("sd", "sd"), ("±95 %", "t_half_width")):
        lines.append(f"{title:<11}" + "".join(f"{100 * summary[key][k]:>11.1f}" for k in keys))
    low, high = summary["wilson"]
    lines.append(
        f"pooled: {summary['right']:.4g} of {summary['images']} right, "
        f"95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    if "calibration_error" in summary["pooled"]:
        lines.append(f"expected calibration error: {100 * summary['pooled']['calibration_error']:.1f} %")
    for key in summary["mean"]:
        if key.startswith("control "):
            lines.append(f"{key}: {100 * summary['mean'][key]:.1f} ± {100 * summary['sd'][key]:.1f} %")
    if hint := better_control(summary["mean"]["accuracy"], controls_of(summary)):
        lines.append(hint)
    names = list(summary["pooled"]["per_class"])
    lines.append("confusion (rows: reference): " + ", ".join(names))
    lines += [" ".join(f"{count:>5}" for count in row) for row in summary["pooled"]["confusion_matrix"]]
    return "\n".join(lines)
