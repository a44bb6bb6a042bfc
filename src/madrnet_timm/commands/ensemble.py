"""``madrnet ensemble``: several cross-validations as one model."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..command import check_extra
from ..errors import InputError
from .arguments import add_chosen_seeds

__all__ = ["add_parser"]

_DESCRIPTION = """\
Several cross-validations as one model: the mean of their probabilities on the
held-out images of each fold, which is predicted by the models that never saw
its images. The table has one row per held-out image: seed, fold, file, label,
prediction, probabilities.
"""
_EXAMPLES = """\
examples:
  madrnet ensemble runs/a runs/b --output runs/ensemble.csv
  madrnet ensemble runs/a --mirror --output runs/mirror.csv
  madrnet ensemble runs/a runs/b --measured --output runs/measured.csv
"""


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    ensemble = verbs.add_parser(
        "ensemble",
        help=VERBS["ensemble"],
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ensemble.add_argument(
        "run", nargs="+", type=Path, metavar="RUN",
        help="outputs of madrnet cross-validate on the same folds, or tables of predictions with probabilities (CSV, "
        "as this verb writes them)",
    )  # fmt: skip
    ensemble.add_argument(
        "--mirror", action="store_true", help="also show each model the mirrored heads (test-time augmentation)"
    )
    ensemble.add_argument(
        "--measured", action="store_true",
        help='one model more: what the control "shape and stain" says, logistic regression on the measured heads of '
        "each fold's training images",
    )  # fmt: skip
    add_chosen_seeds(ensemble)
    ensemble.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    ensemble.set_defaults(verb=_ensemble)


def _ensemble(args: argparse.Namespace) -> int:
    if len(args.run) < 2 and not args.mirror and not args.measured:
        raise InputError(f"{args.run[0]}: expected two runs, or one with --mirror or --measured")
    tables = [run for run in args.run if run.is_file()]
    if args.mirror and tables:
        raise InputError(f"{tables[0]}: --mirror needs the models; give outputs of madrnet cross-validate, no tables")
    if args.measured and len(tables) == len(args.run):
        raise InputError(
            f"{tables[0]}: --measured needs an output of madrnet cross-validate, which says where the images lie"
        )
    check_extra("train")
    from ..evaluation.summary import summarize_predictions, summary_table
    from ..files import check_table_name, write_table
    from ..inference.mirrored import mirrored_probabilities
    from ..training.ensemble import Ensemble

    check_table_name(args.output)
    ensemble = Ensemble(args.run, args.seeds)
    if args.mirror:
        ensemble.average_with(mirrored_probabilities)
    if args.measured:
        ensemble.add_measured()
    rows = ensemble.rows()
    print(summary_table(summarize_predictions(rows, ensemble.names)))
    write_table(args.output, rows)
    return 0
