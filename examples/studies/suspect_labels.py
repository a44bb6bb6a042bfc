"""Training without the labels that look wrong, or with them softened, measured on all held-out images.

    python -m examples.studies.suspect_labels --dataset smids --data-dir DIR --epochs 16 --batch-size 32 \\
        --backbone-weights tf_efficientnet_lite0.in1k.safetensors --pipeline aligned-normalized --views both \\
        --ema-decay 0.99 --first-epochs 8 --output runs/smids-suspects

Which labels look wrong is found without the fold that is measured on: for each two folds a network is trained on all
others, for --first-epochs epochs, and says what the images of the two are. Of the images that a fold is trained on,
all others' words together are judged by confident learning (`tools.suspects`). Then each fold is trained again:

- left out: without the suspect images
- softened: the target of a suspect image is the mean of its label and of what the network said

In --output lie a table of held-out predictions of each way, as a cross-validation has them, and of each fold the
suspects. What is finished is kept, and a training that was cut off goes on. In bf16, as for `madrnet train`, with
ACCELERATE_MIXED_PRECISION=bf16.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from madrnet_timm.command import run_command
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments
from madrnet_timm.training.division import Division
from madrnet_timm.training.loop import Loop
from madrnet_timm.training.run_config import RunConfig
from tools.suspects import confident_classes

from .held_out import probability_rows

LEFT_OUT, SOFTENED = WAYS = ("left out", "softened")

Table = list[dict[str, Any]]


class SoftLoop(Loop):
    """A training with targets that are shares of the classes.

    Args:
        setup: See `Loop`.
        targets: Of the training images, ``(images, classes)`` float32, in their order.
    """

    def __init__(self, setup: Any, targets: torch.Tensor) -> None:
        super().__init__(setup)
        plain = self.loss

        def softened(batch: Mapping[str, Any]) -> Any:
            return plain({**batch, "label": targets[batch["index"].cpu()].to(batch["label"].device)})

        self.loss = softened  # type: ignore[assignment]


def held_out_rows(config: RunConfig, division: Division, table: Path, targets: torch.Tensor | None = None) -> Table:
    """Train, unless that was done, and give a row per image that the division measures on, from ``table``.

    Args:
        config: Of the training, without its output.
        division: Of the images.
        table: CSV that the rows are written into; the training goes on in a folder of that name until then.
        targets: See `SoftLoop`; None: the labels.
    """
    from madrnet_timm.files import read_csv, write_csv
    from madrnet_timm.training.run_folder import RunFolder
    from madrnet_timm.training.setup import set_up
    from madrnet_timm.training.threads import few_threads

    if table.is_file():
        return read_csv(table)
    run = RunFolder(table.with_suffix(""))
    begun = replace(config, output=run.path, resume=run.began)
    with few_threads(config.recipe.img_size) as threads:
        setup = set_up(begun, run, threads, division)
        found = (Loop(setup) if targets is None else SoftLoop(setup, targets)).fit()
    rows = probability_rows(config, division.test_records, division.names, found.probabilities)
    write_csv(table, rows)
    run.release()
    shutil.rmtree(run.path)
    return rows


def without(division: Division, held_out: Sequence[int]) -> Division:
    """The division that holds out some folds and measures on them."""
    tested = np.isin(division.folds, held_out)
    return replace(division, trained=~tested, tested=tested)


def said_without(fold: int, division: Division, pairs: Mapping[tuple[int, int], Table]) -> NDArray[np.float64]:
    """What networks that saw neither an image nor a fold say of the image, for all images but the fold's.

    Args:
        fold: Its number.
        division: Of all images.
        pairs: Rows of the networks that were trained without two folds.

    Returns:
        ``(records, classes)``; NaN where the fold lies.
    """
    places = {file: index for index, file in enumerate(division.records["file"])}
    out = np.full((len(places), len(division.names)), np.nan)
    for pair, rows in pairs.items():
        for row in rows if fold in pair else ():
            index = places[row["file"]]
            if division.folds[index] != fold:
                out[index] = [float(row[f"p_{name}"]) for name in division.names]
    return out


def suspects_of(
    fold: int, division: Division, pairs: Mapping[tuple[int, int], Table]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which of all records are suspect, where the fold is held out, and what `said_without` says of all."""
    said, labels = said_without(fold, division, pairs), np.array(division.records["label"])
    trained, suspect = np.flatnonzero(division.folds != fold), np.zeros(len(labels), dtype=bool)
    classes = confident_classes(labels[trained], said[trained])
    suspect[trained] = (classes != -1) & (classes != labels[trained])
    return suspect, said


def softened_targets(division: Division, suspect: NDArray[np.bool_], said: NDArray[np.float64]) -> torch.Tensor:
    """Of the images that are trained on: the label; of suspects its mean with what was said, ``(images, classes)``."""
    labels = np.eye(len(division.names))[division.records["label"]]
    targets = np.where(suspect[:, None], (labels + said) / 2, labels)
    return torch.tensor(targets[division.trained], dtype=torch.float32)


def arguments() -> argparse.Namespace:
    """Of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of folds and training (%(default)s)")
    parser.add_argument(
        "--first-epochs", type=int, default=8, metavar="N", help="of a training without two folds (%(default)s)"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    args = parser.parse_args()
    args.output = args.output or Path("runs/suspect-labels")
    return args


def main() -> None:
    args = arguments()

    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import write_csv, write_table
    from madrnet_timm.training.division import divide

    config = replace(from_arguments(args, output=args.output), seed=args.seed)
    division = divide(replace(config, fold=0))
    folds = range(int(division.folds.max()) + 1)
    if len(folds) < 3:
        raise InputError("--folds 2: without two of them nothing is left to train on; expected 3 or more")
    first = replace(config, recipe=replace(config.recipe, epochs=args.first_epochs))
    pairs = {
        pair: held_out_rows(
            replace(first, fold=pair[0]), without(division, pair), args.output / f"without-{pair[0]}-{pair[1]}.csv"
        )
        for pair in combinations(folds, 2)
    }
    tables: dict[str, Table] = {way: [] for way in args.ways}
    for fold in folds:
        suspect, said = suspects_of(fold, division, pairs)
        names, labels = division.names, division.records["label"]
        listed = [
            {"file": division.records["file"][i], "pixel_sha256": division.records["pixel_sha256"][i]}
            | {"label": names[labels[i]], "said": names[int(said[i].argmax())]}
            for i in np.flatnonzero(suspect).tolist()
        ]
        if listed:
            write_csv(args.output / f"suspects-{fold}.csv", listed)
        print(f"fold {fold}: {len(listed)} of {int((division.folds != fold).sum())} labels are suspect", flush=True)
        for way, rows in tables.items():
            part = without(division, [fold])
            targets = None
            if way == LEFT_OUT:
                part = replace(part, trained=part.trained & ~suspect)
            else:
                targets = softened_targets(part, suspect, said)
            table = args.output / f"{way.replace(' ', '-')}-{fold}.csv"
            rows += held_out_rows(replace(config, fold=fold), part, table, targets)
    for way, rows in tables.items():
        print(f"{way}\n{summary_table(summarize_predictions(rows, division.names))}")
        write_table(args.output / f"{way.replace(' ', '-')}.csv", rows)


if __name__ == "__main__":
    run_command(main)
