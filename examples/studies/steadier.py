"""Steadier single models: means of weights, mixup within a class and small changes at test time, on the same folds.

    python -m examples.studies.steadier --dataset hushem --data-dir DIR --seeds 0 1 2 --epochs 40 \\
        --weights madrnet_tf_efficientnet_lite0.smids_both --pipeline head-and-neck --augmentation varied \\
        --output runs/steadier

Each fold is trained up to three times, all from the same initial weights: as `madrnet train` does (single), with mixup
within a class (mixup), and once more without (again), the latter two in other orders than the first, with other random
changes. Out of these:

- single, mixup, again: the weights' moving average at the end, as a training keeps it
- last epochs: the mean of the first training's weights after each epoch of its last quarter (SWA)
- soup of two, soup of three: the mean of the moving averages of the first two and of all three trainings
- views: the first training, and the mean of its answers for twelve small changes of a head (`test_time`)
- three models: the mean of the answers of all three trainings, for which no single model is to be had

Where weights are averaged, the batch statistics are computed anew on the training images. The trainings lie in --output
and are not done again; each way has a table there, with a row per held-out image. In bf16, as for `madrnet train`, with
ACCELERATE_MIXED_PRECISION=bf16; the held-out images are always measured in float32.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch.optim.swa_utils import AveragedModel, update_bn

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_training_seeds
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments
from madrnet_timm.data.normalization import normalized
from madrnet_timm.training.loop import Loop
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.setup import Images

from .held_out import probability_rows
from .network import outputs
from .test_time import changed

Weights = dict[str, torch.Tensor]

SINGLE, MIXUP, AGAIN = TRAININGS = ("single", "mixup", "again")
LAST, VIEWS, MODELS = "last epochs", "views", "three models"
MEANS = {"soup of two": (SINGLE, MIXUP), "soup of three": TRAININGS}
WAYS = (*TRAININGS, LAST, VIEWS, *MEANS, MODELS)

CONCENTRATION = 0.4
"""Of the beta distribution that mixup draws its shares from."""
ANOTHER_ORDER = 100_000
"""Added to the epochs that the order and the random changes are drawn by."""
STATISTICS_PASSES = 2
"""Over the training images, with random changes, for the batch statistics of averaged weights."""


@dataclass(frozen=True)
class OtherOrder(Images):
    """The same images in another order, with other random changes."""

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch + ANOTHER_ORDER)


def mixed_within_class(batch: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A batch whose images are each mixed with one of the same class and batch, drawn at random, maybe itself.

    The aspect ratios are mixed alike; the labels stay.
    """
    labels = batch["label"].cpu().numpy()
    partner = np.array([rng.choice(np.flatnonzero(labels == label)) for label in labels])
    share = torch.tensor(rng.beta(CONCENTRATION, CONCENTRATION, len(labels)), dtype=torch.float32)
    images = batch["image"].float()
    mixed = torch.lerp(images[partner], images, share.view(-1, 1, 1, 1)).round().to(batch["image"].dtype)
    ratios = torch.lerp(batch["aspect_ratio"][partner].float(), batch["aspect_ratio"].float(), share)
    return {**batch, "image": mixed, "aspect_ratio": ratios}


class AveragingLoop(Loop):
    """A training that also takes the mean of its weights after each epoch of the last quarter.

    Args:
        setup: See `Loop`.
        mixup: Mix images within a class.
    """

    def __init__(self, setup: Any, mixup: bool) -> None:
        super().__init__(setup)
        self.tail = AveragedModel(self.bare)
        if mixup:
            plain, rng = self.loss, np.random.default_rng([setup.config.seed, setup.config.fold, 1])
            self.loss = lambda batch: plain(mixed_within_class(batch, rng))  # type: ignore[assignment]

    def _train_epoch(self, epoch: int, bar: Any) -> dict[str, float]:
        losses = super()._train_epoch(epoch, bar)
        if epoch >= 0.75 * self.setup.config.recipe.epochs:
            self.tail.update_parameters(self.bare)
        return losses


def end_of(folder: Path) -> Path:
    """Where the weights of a training lie once it is done."""
    return folder / "end.safetensors"


def trained(config: RunConfig, training: str, folder: Path) -> None:
    """Train a fold, unless it was, and write ``end.safetensors`` and ``tail.safetensors``."""
    from madrnet_timm.training.run_folder import RunFolder
    from madrnet_timm.training.setup import set_up
    from madrnet_timm.training.threads import few_threads

    if end_of(folder).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place, few_threads(config.recipe.img_size) as threads:
        run = RunFolder(Path(place) / "run")
        setup = set_up(replace(config, output=run.path), run, threads)
        if training != SINGLE:
            setup = replace(setup, images=OtherOrder(**vars(setup.images)))
        loop = AveragingLoop(setup, training == MIXUP)
        loop.fit()
        run.release()
        for name, model in (("tail", loop.tail.module), ("end", loop.trained_model)):
            written = folder / f"{name}.safetensors.part"
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, written)
            written.rename(folder / f"{name}.safetensors")


def mean_weights(parts: Sequence[Weights]) -> Weights:
    """The mean of the weights of several trainings from one start; what is no floating number is the first's."""
    out = {}
    for key, value in parts[0].items():
        stacked = [part[key] for part in parts]
        out[key] = torch.stack(stacked).mean(dim=0) if value.is_floating_point() else value
    return out


class Fold:
    """The images of a fold, and what a network with given weights says of the held-out ones.

    Args:
        config: Of its training.
    """

    def __init__(self, config: RunConfig) -> None:
        from timm.data import resolve_data_config

        from madrnet_timm.data.images import ImageDataset
        from madrnet_timm.training.division import divide
        from madrnet_timm.training.initial_weights import create_model

        division, recipe = divide(config), config.recipe
        self.names, self.records, self.batch_size = division.names, division.test_records, recipe.batch_size
        self.network: Any = create_model(config, division.names)
        self.data_config = resolve_data_config(
            {"input_size": (3, recipe.img_size, recipe.img_size)}, model=self.network
        )
        prepared = (recipe.pipeline, recipe.img_size, 1.0)
        self.train = ImageDataset(division.train_records, *prepared, recipe.augmentation, config.seed)
        self.test = ImageDataset(self.records, *prepared).views[0]

    def load(self, weights: Weights, averaged: bool = False) -> None:
        """Give the network weights; where they are averages, compute its batch statistics anew."""
        self.network.load_state_dict(weights)
        if averaged:
            torch.manual_seed(0)  # for the dropout of R
            update_bn(self._training_batches(), self.network)
        self.network.eval()

    def _training_batches(self) -> Iterator[torch.Tensor]:
        rng = np.random.default_rng(0)
        for epoch in range(STATISTICS_PASSES):
            self.train.set_epoch(epoch)
            order = rng.permutation(len(self.train))
            count = max(1, len(order) // self.batch_size)
            for rows in np.array_split(order, count):  # of one size, for each counts the same
                images = torch.stack([self.train[int(row)]["image"] for row in rows])
                yield normalized(images, self.data_config["mean"], self.data_config["std"])

    def probabilities(self, views: torch.Tensor) -> NDArray[np.float64]:
        """Of prepared images, ``(images, classes)``."""
        return softmax(outputs(self.network, views, self.data_config), axis=1)

    def changed_views(self) -> list[torch.Tensor]:
        """The held-out images, changed in each of the ways of `test_time`."""
        images = [list(changed(image.permute(1, 2, 0).numpy())) for image in self.test]
        return [torch.from_numpy(np.stack(view)).permute(0, 3, 1, 2) for view in zip(*images, strict=True)]


def measured(config: RunConfig, folders: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the held-out images of a fold, by way."""
    fold = Fold(config)
    ends = {name: load_file(end_of(folder)) for name, folder in folders.items()}
    found = {}
    for name, weights in ends.items():
        fold.load(weights)
        found[name] = fold.probabilities(fold.test)
        if name == SINGLE:
            found[VIEWS] = np.mean([fold.probabilities(view) for view in fold.changed_views()], axis=0)
    fold.load(load_file(folders[SINGLE] / "tail.safetensors"), averaged=True)
    found[LAST] = fold.probabilities(fold.test)
    for name, parts in MEANS.items():
        if ends.keys() >= set(parts):
            fold.load(mean_weights([ends[part] for part in parts]), averaged=True)
            found[name] = fold.probabilities(fold.test)
    if ends.keys() >= set(TRAININGS):
        found[MODELS] = np.mean([found[name] for name in TRAININGS], axis=0)
    return {name: probability_rows(config, fold.records, fold.names, values) for name, values in found.items()}


def arguments() -> argparse.Namespace:
    """Of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    add_training_seeds(parser)
    parser.add_argument(
        "--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS), metavar="NAME",
        help="of each fold, beside single and those that lie in --output already (single, mixup and again)",
    )  # fmt: skip
    args = parser.parse_args()
    args.output = args.output or Path("runs/steadier")
    return args


def main() -> None:
    args = arguments()

    from madrnet_timm.evaluation.comparison import compare_predictions
    from madrnet_timm.files import write_table
    from madrnet_timm.training.cross_validation import fold_configs

    config = from_arguments(args, output=args.output)
    tables: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    runs = fold_configs(config, sorted(set(args.seeds)))
    for run in runs:
        same_seed = [other.output.name for other in runs if other.seed == run.seed]
        there = {}
        for training in TRAININGS:
            folder = args.output / training
            if training in (SINGLE, *args.trainings):
                trained(replace(run, resume=False), training, folder / run.output.name)
            elif not all(end_of(folder / name).is_file() for name in same_seed):
                continue
            there[training] = folder / run.output.name
        for way, rows in measured(run, there).items():
            tables[way] += rows
            write_table(args.output / f"{way.replace(' ', '-')}.csv", tables[way])
        print("  ".join(f"{way} {right(rows)}/{len(rows)}" for way, rows in tables.items() if rows), flush=True)
    for way, rows in tables.items():
        if rows:
            count, against = right(rows), compare_predictions(tables[SINGLE], rows)
            seeds = ", ".join(map(str, against.seeds))
            print(
                f"{way:<14} {100 * count / len(rows):5.1f} %, {count} of {len(rows)}, seeds {seeds}, against single "
                f"{against} points"
            )


def right(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many rows are right."""
    return sum(row["label"] == row["prediction"] for row in rows)


if __name__ == "__main__":
    run_command(main)
