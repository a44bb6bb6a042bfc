"""The held-out images of a cross-validation, predicted anew by its models in another way than `madrnet predict`'s."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_timm.commands.arguments import add_chosen_seeds


def predict_held_out(description: str | None, probabilities: Any) -> None:
    """The command of a study: read a cross-validation's output, predict its held-out images, write a table.

    Args:
        description: Of the command.
        probabilities: What a model folder says of images, ``(images, classes)``: see `Ensemble.replace_with`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output of madrnet cross-validate")
    add_chosen_seeds(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    args = parser.parse_args()

    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.training.ensemble import Ensemble

    check_table_name(args.output)
    if args.run.is_file():
        raise InputError(f"{args.run}: a table; expected the output of madrnet cross-validate, which has the models")
    ensemble = Ensemble([args.run], args.seeds)
    ensemble.replace_with(probabilities)
    rows = ensemble.rows()
    print(summary_table(summarize_predictions(rows, ensemble.names)))
    write_table(args.output, rows)
