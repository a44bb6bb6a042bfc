"""``madrnet compare``: is one of two cross-validations better?"""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from .arguments import add_chosen_seeds

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    compare = verbs.add_parser(
        "compare",
        help=VERBS["compare"],
        description="Is the second of two cross-validations better? On the same images and folds, paired: the exact "
        "McNemar test on the images (one that several seeds predicted counts as right where most of them were), and "
        "the paired t interval of the folds' accuracies, corrected for trainings that share images.",
        epilog="Example: madrnet compare runs/plain runs/madrnet --seeds 0",
    )
    compare.add_argument(
        "first", type=Path, metavar="FIRST", help="output of madrnet cross-validate, or a table of madrnet ensemble"
    )
    compare.add_argument("second", type=Path, metavar="SECOND", help="another, with the same data, protocol and folds")
    add_chosen_seeds(compare)
    compare.set_defaults(verb=_compare)


def _compare(args: argparse.Namespace) -> int:
    from ..training.stored import compare_runs

    found = compare_runs(args.first, args.second, args.seeds)
    print(f"seeds: {', '.join(map(str, found.seeds))}")
    print(f"images that only {args.first} gets right: {found.only_first}; only {args.second}: {found.only_second}")
    print(f"exact McNemar test: p = {found.mcnemar_p:.3g}")
    print(
        f"accuracy of {args.second} minus that of {args.first}, points: {found} "
        "(corrected 95 % t interval over folds; noise: it contains 0, or McNemar's p is 0.05 or more), "
        f"p = {found.t_p:.3g}"
    )
    return 0
