"""All folds of a recipe, for one seed or several, and what they say together."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from ..errors import InputError
from ..evaluation.comparison import Comparison, compare
from ..evaluation.figures import confusion_matrix_figure, mean_curves_figure
from ..evaluation.intervals import t_interval, wilson_interval
from ..evaluation.metrics import classification_metrics
from ..files import read_csv, replacing, write_csv, write_text
from .loop import divided_records, train
from .options import RunOptions, check
from .run_folder import RunFolder
from .start import check_unseen

__all__ = [
    "compare_runs",
    "cross_validate",
    "fold_options",
    "held_out_predictions",
    "summarize",
    "summarize_predictions",
    "summary_table",
]

_FIGURES = ("accuracy", "precision", "recall", "f1")


def fold_options(options: RunOptions, seeds: Sequence[int] = (0,)) -> list[RunOptions]:
    """The runs of a cross-validation, each in a folder of its own below ``options.output``, continued if it was begun.

    Raises:
        InputError: See `divided_records` and `check_unseen`.
    """
    runs = []
    for seed in seeds:
        seeded = replace(options, seed=seed)
        check(seeded)
        records, folds, _ = divided_records(seeded)
        for fold in range(int(folds.max()) + 1):
            path = options.output / f"seed{seed}-fold{fold}"
            teachers = tuple(teacher / path.name for teacher in options.teachers)  # of the same seed and fold
            resume = RunFolder(path).config.exists()
            runs.append(replace(seeded, fold=fold, output=path, teachers=teachers, resume=resume))
            check_unseen(runs[-1], records.select(np.flatnonzero(folds == fold))["pixel_sha256"])
    return runs


def cross_validate(options: RunOptions, seeds: Sequence[int] = (0,)) -> str:
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
    for run in runs:  # before the first is trained
        RunFolder(run.output).check(run.to_config(), run.resume)
    asked = {run.output for run in runs}
    for path in output.glob("seed*-fold*"):
        if path not in asked and not RunFolder(path).metrics.exists():
            raise InputError(
                f"{path}: begun, but not finished and not asked for; add its seed to --seeds, or remove it"
            )
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
    histories = [read_csv(RunFolder(run.output).history) for run in runs]
    with replacing(output / "learning_curves.png") as path:
        mean_curves_figure([[{k: float(v) for k, v in row.items()} for row in rows] for rows in histories], path)
    with replacing(output / "confusion_matrix.png") as path:
        pooled = summary["pooled"]
        confusion_matrix_figure(pooled["confusion_matrix"], list(pooled["per_class"]), path)
    return summary_table(summary)


def _finished(output: Path) -> list[tuple[int, int, RunFolder]]:
    """Seed, fold and folder of each run of a cross-validation, which differ in nothing else."""
    runs, first = [], None
    for path in sorted(output.glob("seed*-fold*")):
        seed, fold = path.name.removeprefix("seed").split("-fold")
        run = RunFolder(path)
        if not run.metrics.exists() or not run.predictions.exists():
            raise InputError(f"{path}: not a finished run; run the command again to finish it, with --seeds {seed}")
        options = run.options()
        own = {"seed", "fold", "teachers"}
        other = {key for key in options if first is not None and options[key] != first.get(key)} - own
        if other:
            raise InputError(
                f"{path}: differs from the other runs in {', '.join(sorted(other))}; give each cross-validation an "
                "--output of its own"
            )
        first = first or options
        runs.append((int(seed), int(fold), run))
    if not runs:
        raise InputError(f"{output}: holds no cross-validation; expected the output of examples/cross_validate.py")
    counts = Counter(seed for seed, _, _ in runs)
    if len(set(counts.values())) > 1:
        raise InputError(f"{output}: the seeds have different numbers of folds; run the command again to finish them")
    return sorted(runs, key=lambda run: run[:2])


def held_out_predictions(output: Path) -> list[dict[str, Any]]:
    """Rows of ``predictions.csv`` of all runs, with their seed and fold."""
    return [{"seed": s, "fold": f, **row} for s, f, run in _finished(output) for row in read_csv(run.predictions)]


def summarize(output: Path) -> dict[str, Any]:
    """Figures of each fold, mean, standard deviation and t interval, and the pooled Wilson interval.

    The t interval has df = folds − 1; the Wilson interval is that of the pictures, each counted once: over several
    seeds with the mean number of right ones.

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
        rows: ``seed``, ``fold``, ``label`` and ``prediction`` of each held-out picture.
        names: Name of each class id.
        more: Further figures of a seed and fold, averaged like the others.
    """
    by_fold: dict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_fold[int(row["seed"]), int(row["fold"])].append(row)

    def metrics(chosen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        predicted, labels = ([names.index(row[key]) for row in chosen] for key in ("prediction", "label"))
        return classification_metrics(predicted, labels, names)

    folds = []
    for (seed, fold), chosen in sorted(by_fold.items()):
        found = metrics(chosen)
        figures = {key: found[key] for key in _FIGURES} | dict((more or {}).get((seed, fold), {}))
        folds.append({"seed": seed, "fold": fold, **figures})
    seeds = len({row["seed"] for row in folds})
    keys = [key for key in folds[0] if key not in ("seed", "fold")]
    spread = {key: t_interval([row[key] for row in folds], size=len(folds) // seeds) for key in keys}
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
    lines = ["seed fold  " + "".join(f"{key:>11}" for key in _FIGURES)]
    for row in summary["folds"]:
        lines.append(f"{row['seed']:<5}{row['fold']:<6}" + "".join(f"{100 * row[key]:>11.1f}" for key in _FIGURES))
    for title, key in (("mean", "mean"), ("sd", "sd"), ("±95 %", "t_half_width")):
        lines.append(f"{title:<11}" + "".join(f"{100 * summary[key][k]:>11.1f}" for k in _FIGURES))
    low, high = summary["wilson"]
    lines.append(
        f"pooled: {summary['right']:.4g} of {summary['pictures']} right, "
        f"95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    for key in summary["mean"]:
        if key.startswith("control "):
            lines.append(f"{key}: {100 * summary['mean'][key]:.1f} ± {100 * summary['sd'][key]:.1f} %")
    names = list(summary["pooled"]["per_class"])
    lines.append("confusion (rows: reference): " + ", ".join(names))
    lines += [" ".join(f"{count:>5}" for count in row) for row in summary["pooled"]["confusion_matrix"]]
    return "\n".join(lines)


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two cross-validations on the same pictures, seeds and folds.

    Raises:
        InputError: Not finished cross-validations, or not of the same pictures and folds.
    """
    shares, held_out = [], []
    for output in (first, second):
        right: dict[str, list[bool]] = defaultdict(list)
        places = set()
        for row in held_out_predictions(output):
            right[row["pixel_sha256"]].append(row["prediction"] == row["label"])
            places.add((row["seed"], row["fold"], row["pixel_sha256"]))
        held_out.append(places)
        shares.append({pixels: sum(values) / len(values) for pixels, values in right.items()})
    if held_out[0] != held_out[1]:
        raise InputError(
            f"{first} and {second}: not the same pictures held out in the same folds and seeds; give both the same "
            "--dataset, --protocol, --folds and --seeds"
        )
    summaries = [summarize(output) for output in (first, second)]
    folds = [[row["accuracy"] for row in summary["folds"]] for summary in summaries]
    return compare(shares[0], shares[1], folds[0], folds[1], size=len(folds[0]) // summaries[0]["seeds"])
