"""One student cross-validated alone and following its teachers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .cross_validation import cross_validate, fold_configs
from .run_config import RunConfig

__all__ = ["distill"]


def distill(
    config: RunConfig, teachers: Sequence[Path], seeds: Sequence[int], show: Callable[[str], None]
) -> tuple[Path, Path]:
    """Cross-validate a student alone and following its teachers, on the same folds.

    Args:
        config: The student's; its `output` gets the folders ``alone`` and ``distilled``.
        teachers: Outputs of `cross_validate`, on the same folds.
        seeds: Of folds and training.
        show: Is told the table of each as soon as there is one.

    Returns:
        The outputs ``alone`` and ``distilled``.

    Raises:
        InputError: The teachers do not fit, found before anything is trained; see `cross_validate`.
    """
    alone = replace(config, output=config.output / "alone")
    distilled = replace(config, output=config.output / "distilled", teachers=tuple(map(str, teachers)))
    fold_configs(distilled, seeds)  # do the teachers fit? before the first is trained
    for name, run in (("alone", alone), ("distilled", distilled)):
        show(f"{name}\n{cross_validate(run, seeds)}\n")
    return alone.output, distilled.output
