"""Training without the labels that look wrong, or with them softened, measured on all held-out images.

    python -m examples.studies.suspect_labels --dataset smids --data-dir DIR --model madrnet_tf_efficientnet_lite0 \\
        --epochs 16 --batch-size 32 --backbone-weights tf_efficientnet_lite0.in1k.safetensors \\
        --pipeline aligned-normalized --views both --ema-decay 0.99 --output runs/smids-suspects

Which labels look wrong is found without the fold that is measured on. Of the images that a fold is trained on, each is
classified by a linear model of the others: of the frozen backbone's features, as --backbone-weights has them, with
shape and stain beside them (`frozen`). What it says of all is judged by confident learning (`tools.suspects`). Then
the fold is trained again:

- left out: without the suspect images
- softened: the target of a suspect image is the mean of its label and of what the linear model said

In --output lie a table of held-out predictions of each way, as a cross-validation has them, and of each fold the
suspects. What is finished is kept, and a training that was cut off goes on. In bf16, as for `madrnet train`, with
ACCELERATE_MIXED_PRECISION=bf16.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

from .frozen import features_of, scaling
from .held_out import probability_rows

INNER_FOLDS = 5
C = 3.0
"""Of 0.3, 3 and 30 that of the least log loss in the inner folds of SMIDS."""
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


def without(division: Division, fold: int) -> Division:
    """The division that holds out a fold and measures on it."""
    tested = division.folds == fold
    return replace(division, trained=~tested, tested=tested)


def said_by_others(parts: Sequence[NDArray[np.float64]], records: Any) -> NDArray[np.float64]:
    """What a linear model of the other images says of each, ``(records, classes)``; of one cell all or none are others.

    Args:
        parts: Features, ``(records, features)`` each; each part is as heavy as the others.
        records: See `madrnet_timm.data.folds.make_folds`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from madrnet_timm.data.folds import make_folds
    from madrnet_timm.data.sources import class_names

    features, widths = np.hstack(parts), [part.shape[1] for part in parts]
    labels, inner = np.array(records["label"]), make_folds(records, INNER_FOLDS)
    out = np.zeros((len(labels), len(class_names(records))))
    for fold in range(INNER_FOLDS):
        model = make_pipeline(scaling(widths), LogisticRegression(C=C, max_iter=3000))
        model.fit(features[inner != fold], labels[inner != fold])
        out[np.ix_(inner == fold, model[-1].classes_)] = model.predict_proba(features[inner == fold])
    return out


def suspects_of(
    fold: int, division: Division, features: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which of all records are suspect, where the fold is held out, and what `said_by_others` says of them.

    Args:
        fold: Its number. None of its images is suspect, and nothing is said of them (NaN).
        division: Of all images.
        features: Of all images, see `said_by_others`.
    """
    labels, trained = np.array(division.records["label"]), np.flatnonzero(division.folds != fold)
    said = np.full((len(labels), len(division.names)), np.nan)
    said[trained] = said_by_others([part[trained] for part in features], division.records.select(trained))
    suspect = np.zeros(len(labels), dtype=bool)
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
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    args = parser.parse_args()
    args.output = args.output or Path("runs/suspect-labels")
    return args


def main() -> None:
    args = arguments()

    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import write_csv, write_table
    from madrnet_timm.training.division import check_unseen, divide

    config = replace(from_arguments(args, output=args.output), seed=args.seed)
    division = divide(replace(config, fold=0))
    parts = {fold: without(division, fold) for fold in range(int(division.folds.max()) + 1)}
    for fold, part in parts.items():
        check_unseen(replace(config, fold=fold), part.test_records)
    plain = replace(config, model=config.model.removeprefix("madrnet_"))
    features = features_of(plain, division.records, ("network", "measured"))
    args.output.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Table] = {way: [] for way in args.ways}
    for fold, part in parts.items():
        suspect, said = suspects_of(fold, division, features)
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
            left, targets = part, None
            if way == LEFT_OUT:
                left = replace(part, trained=part.trained & ~suspect)
            else:
                targets = softened_targets(part, suspect, said)
            table = args.output / f"{way.replace(' ', '-')}-{fold}.csv"
            rows += held_out_rows(replace(config, fold=fold), left, table, targets)
    for way, rows in tables.items():
        print(f"{way}\n{summary_table(summarize_predictions(rows, division.names))}")
        write_table(args.output / f"{way.replace(' ', '-')}.csv", rows)


if __name__ == "__main__":
    run_command(main)
