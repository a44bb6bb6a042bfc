"""All folds of a recipe, for one seed or several."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import PartialState

from ..data.folds import fold_rows
from ..data.sources import class_names, normal_class
from ..errors import InputError
from ..evaluation.figures import confusion_matrix_figure
from ..evaluation.summary import summary_table
from ..files import replacing, write_csv, write_text
from .division import check_unseen
from .run_checks import check
from .run_config import RunConfig
from .run_folder import RunFolder
from .stored import CrossValidation, seed_and_fold
from .teachers import check_teachers
from .train import train

__all__ = ["cross_validate", "fold_configs"]


def fold_configs(config: RunConfig, seeds: Sequence[int] = (0,)) -> list[RunConfig]:
    """The runs of a cross-validation, each in a folder of its own below ``config.output``, continued if it was begun.

    Raises:
        InputError: See `RunConfig.divided_records`, `check_unseen`, `check_teachers`, `RunFolder.check` and
            `RunFolder.check_images`.
    """
    runs = []
    for seed in seeds:
        seeded = replace(config, seed=seed)
        check(seeded)
        records, folds, _ = seeded.divided_records()
        division = fold_rows(records, folds)
        normal_class(class_names(records), config.normal_class)  # is there such a class?
        for fold in range(int(folds.max()) + 1):
            runs.append(_fold(config, seed, fold))
            RunFolder(runs[-1].output).check_images(division)
            teachers = runs[-1].teachers
            in_fold = records.select(np.flatnonzero(folds == fold))
            left_out = check_unseen(runs[-1], in_fold)
            held_out = [pixels for pixels in in_fold["pixel_sha256"] if pixels not in left_out]
            size = (3, config.recipe.img_size, config.recipe.img_size)
            check_teachers(teachers, class_names(records), size, config.dataset, held_out)
    for run in runs:
        RunFolder(run.output).check(run)
    return runs


def _fold(config: RunConfig, seed: int, fold: int) -> RunConfig:
    path = config.output / f"seed{seed}-fold{fold}"
    teachers = tuple(str(Path(teacher) / path.name) for teacher in config.teachers)  # of the same seed and fold
    resume = RunFolder(path).config.exists()
    return replace(config, seed=seed, fold=fold, output=path, teachers=teachers, resume=resume)


def cross_validate(config: RunConfig, seeds: Sequence[int] = (0,)) -> str:
    """Train each fold of each seed that is not finished yet, and sum up.

    Writes ``summary.csv`` (one row per fold, with the controls), ``summary.json``, ``predictions.csv`` (one row per
    held-out image and seed), ``learning_curves.png`` and ``confusion_matrix.png``.

    Args:
        config: What is trained; its `fold` and `seed` are not used. Its `teachers` are outputs of cross-validations.
        seeds: Of folds and training. Folds by session or from a file are the same for every seed.

    Returns:
        The table as text.

    Raises:
        InputError: See `train`.
    """
    output, runs = config.output, fold_configs(config, seeds)
    asked = {run.output for run in runs}
    for path in sorted(output.glob("seed*-fold*")):
        if path in asked:
            continue
        if not RunFolder(path).metrics.exists():
            raise InputError(
                f"{path}: begun, but not finished and not asked for; add its seed to --seeds, or remove it"
            )
        RunFolder(path).check(_fold(config, *seed_and_fold(path)))
    for number, run in enumerate(runs, 1):
        if not RunFolder(run.output).finished:
            print(f"run {number} of {len(runs)}: {run.output}", flush=True)
            train(run)
    done = CrossValidation.read(output)
    table = summary_table(done.summary)
    if PartialState().is_main_process:
        _write(output, done)
    return table


def _write(output: Path, done: CrossValidation) -> None:
    """What the folds say together."""
    write_csv(output / "summary.csv", [fold.to_dict() for fold in done.summary.folds])
    write_text(output / "summary.json", json.dumps(done.summary.to_dict(), indent=2) + "\n")
    write_csv(output / "predictions.csv", done.predictions)
    with replacing(output / "learning_curves.png") as path:
        done.draw_learning_curves(path)
    with replacing(output / "confusion_matrix.png") as path:
        confusion_matrix_figure(done.summary.pooled.confusion_matrix, done.summary.pooled.names, path)
