"""Measured shape and stain joined to the embedding of trained networks: does a classifier of both know more?

    python -m examples.studies.joined_shape runs/hushem-b0 --output runs/hushem-b0-joined

For each fold of a cross-validation the network that never saw its images gives the embeddings. A support vector
machine takes the place of the network's classifier, of the embedding alone and with what is measured on the head
beside it, each part as heavy as the other. Its C and gamma come from folds within the training images. The network has
learned from these, though, and its embeddings of them are surer than of images that it never saw: joined in this way,
shape has to help a network that believes to know. The tables embedding.csv and joined.csv have a row per held-out
image and seed: seed, fold, file, label, prediction. `madrnet compare` sets them against the run.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_chosen_seeds

from .frozen import predicted
from .held_out import class_rows
from .network import outputs

Table = list[dict[str, Any]]

WAYS = ("embedding", "joined")


def fold_rows(config: Any) -> dict[str, Table]:
    """A row per held-out image of a finished run, by way.

    Args:
        config: Of the run.
    """
    from madrnet_timm.data.images import ImageDataset
    from madrnet_timm.evaluation.controls import shape_features
    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.training.division import divide
    from madrnet_timm.training.run_folder import RunFolder

    division, folder = divide(config), ModelFolder(RunFolder(config.output).model)
    records, data_config = division.records, folder.data_config
    network: Any = folder.load()
    network.reset_classifier(0)
    views = ImageDataset(records, folder.pipeline, data_config["input_size"][-1], data_config["crop_pct"]).views[0]
    parts = [outputs(network, views, data_config), shape_features(records)]
    held_out, found = records.select(np.flatnonzero(division.folds == config.fold)), {}
    for way, count in zip(WAYS, (1, 2), strict=True):
        widths = [part.shape[1] for part in parts[:count]]
        said, _ = predicted(np.hstack(parts[:count]), widths, records, division.folds, config.fold)
        found[way] = class_rows(config, held_out, division.names, said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output of madrnet cross-validate")
    add_chosen_seeds(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the tables")
    args = parser.parse_args()

    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import write_csv
    from madrnet_timm.progress import progress
    from madrnet_timm.training.stored import CrossValidation

    done = CrossValidation.read(args.run, args.seeds)
    args.output.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Table] = {way: [] for way in WAYS}
    for run in progress(done.runs, len(done.runs), "joining", "fold"):
        for way, rows in fold_rows(run.config).items():
            tables[way] += rows
    for way, rows in tables.items():
        print(f"{way}\n{summary_table(summarize_predictions(rows, done.runs[0].metrics.names))}")
        write_csv(args.output / f"{way}.csv", rows)


if __name__ == "__main__":
    run_command(main)
