"""``madrnet distill``: a small model that follows large ones, and what that gains."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..cli import run_verb
from ..command import check_extra
from .arguments import add_refused, add_training_seeds, saying_how_to_go_on
from .training_arguments import add_arguments, from_arguments

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    distill = verbs.add_parser(
        "distill",
        help=VERBS["distill"],
        description="Distil one cross-validated MADRNet, or several, into a smaller one, and measure what that gains. "
        "The student is cross-validated twice on the same folds: alone, and following its teachers' probabilities and "
        "embeddings (on each fold those of the teachers that never saw its images). Several teachers are an ensemble. "
        "The two are compared, paired. The same command again goes on where it was cut off.",
        epilog="Example: madrnet distill runs/hushem --data-dir HuSHeM --model madrnet_mobilenetv3_small_050 "
        "--output runs/small",
    )
    distill.add_argument(
        "teacher", nargs="+", type=Path, metavar="TEACHER", help="outputs of madrnet cross-validate, on the same folds"
    )
    add_arguments(distill)
    add_training_seeds(distill)
    add_refused(distill, "--unlabelled", "is gone: to follow teachers on images without labels, too, gained nothing")
    distill.set_defaults(verb=_distill)


def _distill(args: argparse.Namespace) -> int:
    check_extra("train")
    from accelerate import PartialState

    from ..training.distillation import distill
    from ..training.stored import compare_runs

    def show(text: str) -> None:  # by the first process alone, which is known once a training has set Accelerate up
        PartialState().print(text)

    config = from_arguments(args)
    with saying_how_to_go_on(config.output, "the same command"):
        alone, distilled = distill(config, args.teacher, sorted(set(args.seeds)), show)
    found = compare_runs(alone, distilled)
    show(
        f"gain, points: {found} (corrected 95 % t interval over folds; noise: it contains 0, or the p that follows is "
        f"0.05 or more); images that only the distilled student gets right: {found.only_second}, only the other: "
        f"{found.only_first} (exact McNemar p = {found.mcnemar_p:.2g})"
    )
    return 0


if __name__ == "__main__":
    run_verb("distill")
