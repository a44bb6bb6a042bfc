"""Tables of held-out images: their rows, and the models of a cross-validation asked in another way than `predict`'s."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.commands.arguments import add_chosen_seeds


def class_rows(config: Any, records: Any, names: Sequence[str], said: Iterable[int]) -> list[dict[str, Any]]:
    """A row per record of a fold: ``seed``, ``fold``, ``file``, ``label``, ``prediction``.

    Args:
        config: Of the training, which knows the seed and the fold.
        records: The images that it holds out.
        names: Of the classes.
        said: Class id of each image, as a model has it.
    """
    place = {"seed": config.seed, "fold": config.fold}
    return [
        place | {"file": file, "label": names[label], "prediction": names[found]}
        for file, label, found in zip(records["file"], records["label"], said, strict=True)
    ]


def probability_rows(
    config: Any, records: Any, names: Sequence[str], probabilities: NDArray[np.floating]
) -> list[dict[str, Any]]:
    """The same of probabilities ``(records, classes)``, which stand in ``p_<class>``, and ``pixel_sha256``."""
    rows = class_rows(config, records, names, probabilities.argmax(axis=1))
    columns = [f"p_{name}" for name in names]
    return [
        row | {"pixel_sha256": pixels} | dict(zip(columns, np.round(shares.astype(float), 6).tolist(), strict=True))
        for row, pixels, shares in zip(rows, records["pixel_sha256"], probabilities, strict=True)
    ]


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
