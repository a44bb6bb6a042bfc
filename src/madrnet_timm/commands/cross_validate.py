"""``madrnet cross-validate``: every fold of a recipe, and what they say together."""

import argparse
from typing import Any

from madrnet_command import VERBS

from ..cli import run_verb
from ..command import check_extra
from .arguments import add_training_seeds, saying_how_to_go_on
from .training_arguments import add_arguments, from_arguments

__all__ = ["add_parser"]

_DESCRIPTION = """\
Train a recipe on every fold in turn and sum up what the held-out images say,
with the controls beside it. Each fold gets a run folder of its own below
--output. Finished folds are kept, one that was cut off goes on where it was:
the same command again does the rest. The table goes to summary.csv and
summary.json, the images' probabilities to predictions.csv.
"""
_EXAMPLES = """\
examples:
  madrnet cross-validate --data-dir my_crops --output runs/madrnet
  madrnet cross-validate --data-dir HuSHeM --seeds 0 1 2 --output runs/hushem
  accelerate launch --mixed_precision bf16 \\
      -m madrnet_timm.commands.cross_validate --data-dir HuSHeM --recipe paper
"""


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    cross_validate = verbs.add_parser(
        "cross-validate",
        help=VERBS["cross-validate"],
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(cross_validate)
    add_training_seeds(cross_validate)
    cross_validate.set_defaults(verb=_cross_validate)


def _cross_validate(args: argparse.Namespace) -> int:
    check_extra("train")
    from accelerate import PartialState

    from ..training.cross_validation import cross_validate

    config = from_arguments(args)
    with saying_how_to_go_on(config.output, "the same command"):
        table = cross_validate(config, sorted(set(args.seeds)))
    PartialState().print(table)  # by the first process alone
    return 0


if __name__ == "__main__":
    run_verb("cross-validate")
