"""How many labelled heads of one's own bring how much, where the model comes from another laboratory.

    python -m examples.studies.few_labels --model madrnet_tf_efficientnet_lite0.hushem --dataset smids --data-dir DIR \\
        --images 900 --heads 10 20 50 --draws 10 --output docs/results/few-labels-smids.csv
    python -m examples.studies.few_labels ... --fine-tune 2 --from-imagenet 1 --work runs/few-smids \\
        --backbone-weights tf_efficientnet_lite0.in1k.safetensors

Each draw labels so many heads of each class, one image of a cell; more heads are the same and others, but for a cell
whose images carry two labels. All images that show none of these cells are measured on. All ways learn from the same
heads and are measured on the same images:

- shape and stain: a linear model (logistic regression) of what is measured on the head; needs no network
- embedding: a linear model of the frozen network's embedding, before its classifier
- backbone: a linear model of the means of the frozen network's map after the backbone
- backbone, shape and stain: a linear model of both
- fine-tuned: the whole network is trained on from the model's weights, as `madrnet train --weights` does
- from ImageNet: the whole network is trained from the weights of the backbone alone, as `--backbone-weights` does

The trained ones cost minutes each, so that they may have fewer draws. What stands in `--output` already, with the same
draws of the same images, is not done again; the model is taken to be the same. The table counts, for each draw and way,
the images of each class by what they are said to be.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.command import run_command
from madrnet_timm.commands.data_arguments import add_data_arguments, settle_dataset

from .generality import without_seen
from .network import outputs

LINEAR = ("shape and stain", "embedding", "backbone", "backbone, shape and stain")
FINE_TUNED, FROM_IMAGENET = "fine-tuned", "from ImageNet"
LEAST = 5  # heads of a class
WAYS = (*LINEAR, FINE_TUNED, FROM_IMAGENET)
COLUMNS = ("heads", "draw", "way", "label", "prediction", "images")

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Draw:
    """Which images are labelled, and which are measured on: rows of the records."""

    labelled: NDArray[np.int64]
    measured: NDArray[np.int64]


def shuffled(records: Any, seed: int) -> NDArray[np.int64]:
    """The rows of the records in a random order that follows from the pixels, whatever the order of the files is."""
    return np.random.default_rng(seed).permutation(np.lexsort((records["file"], records["pixel_sha256"])))


def part_of(records: Any, images: int) -> Any:
    """So many of the records, at random; all where there are fewer."""
    return records.select(np.sort(shuffled(records, 0)[:images]))


def draw(records: Any, heads: int, seed: int) -> Draw:
    """``heads`` images of each class, of a cell one; a draw of more heads has these, too, but for cells of two labels.

    Args:
        records: With ``label``, ``group``, ``file``, ``pixel_sha256``.
        heads: Of each class.
        seed: Number of the draw, see `shuffled`.

    Raises:
        InputError: A class has fewer cells, or nothing is left to measure on.
    """
    from madrnet_timm.data.sources import class_names
    from madrnet_timm.errors import InputError

    labels, groups, names = records["label"], records["group"], class_names(records)
    order = shuffled(records, seed).tolist()
    taken: set[int] = set()
    labelled: list[int] = []
    counts = Counter[int]()
    for index in order:
        if counts[labels[index]] < heads and groups[index] not in taken:
            labelled.append(index)
            taken.add(groups[index])
            counts[labels[index]] += 1
    if fewer := [name for label, name in enumerate(names) if counts[label] < heads]:
        raise InputError(f"--heads {heads}: the class {fewer[0]} has fewer cells; draw fewer heads")
    measured = [index for index in order if groups[index] not in taken]
    if not measured:
        raise InputError(f"--heads {heads}: no image is left to measure on; draw fewer heads")
    return Draw(np.array(labelled), np.array(measured))


def counted(heads: int, seed: int, way: str, truth: Sequence[str], said: Sequence[str]) -> Rows:
    """The rows of one draw and way: how many images of a class are said to be of a class."""
    found = Counter(zip(truth, said, strict=True))
    place = {"heads": heads, "draw": seed, "way": way}
    return [place | {"label": a, "prediction": b, "images": n} for (a, b), n in sorted(found.items())]


class Images:
    """The records, as the source model's pipeline prepares them.

    Args:
        records: All.
        folder: Model folder of the source.
    """

    def __init__(self, records: Any, folder: Any) -> None:
        from madrnet_timm.data.images import ImageDataset
        from madrnet_timm.data.sources import class_names

        self.records, self.folder = records, folder
        self.config = folder.data_config
        size = self.config["input_size"][-1]
        self.views = ImageDataset(records, folder.pipeline, size, self.config["crop_pct"]).views[0]
        self.names = class_names(records)
        self.labels = np.array(records["label"])

    def outputs(self, network: Any, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What a network, or a function of its input, gives for some records, ``(rows, outputs)``."""
        return outputs(network, self.views[rows], self.config)

    def classes(self, rows: NDArray[np.int64]) -> list[str]:
        """Class of each of some records by name."""
        return [self.names[label] for label in self.labels[rows]]


def frozen_features(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each record the means of the map after the backbone, and the embedding before the classifier."""
    import torch

    network = images.folder.load()
    network.reset_classifier(0)
    after_backbone = len(network.feature_info) - 2

    def both(batch: Any) -> Any:
        last, (found,) = network.forward_intermediates(batch, indices=[after_backbone])
        return torch.cat([found.mean(dim=(2, 3)), network.forward_head(last)], dim=1)

    found = images.outputs(both, np.arange(len(images.labels)))
    return found[:, : -network.embed_dim], found[:, -network.embed_dim :]


def linear_rows(images: Images, draws: Iterator[tuple[int, int, Draw]]) -> Rows:
    """Rows of the linear models, for draws given as heads, number and draw."""
    from madrnet_timm.evaluation.controls import linear_model, shape_features

    backbone, embedding = frozen_features(images)
    shape = shape_features(images.records)
    features = dict(zip(LINEAR, (shape, embedding, backbone, np.hstack([backbone, shape])), strict=True))
    out: Rows = []
    for heads, seed, drawn in draws:
        for way in LINEAR:
            model = linear_model().fit(features[way][drawn.labelled], images.labels[drawn.labelled])
            said = [images.names[label] for label in model.predict(features[way][drawn.measured])]
            out += counted(heads, seed, way, images.classes(drawn.measured), said)
    return out


def trained_rows(images: Images, heads: int, seed: int, drawn: Draw, way: str, args: argparse.Namespace) -> Rows:
    """Rows of a network that is trained on the labelled heads, in a run folder under ``--work``."""
    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.training.recipe import PRESETS
    from madrnet_timm.training.run_config import RunConfig
    from madrnet_timm.training.run_folder import RunFolder
    from madrnet_timm.training.train import train_on_all

    place = args.work / f"{way.replace(' ', '-')}-{heads}-{seed}"
    folder = RunFolder(place / "run")
    options = {
        "epochs": args.epochs,
        "augmentation": "varied",
        "pipeline": images.folder.pipeline,
        "img_size": images.config["input_size"][-1],
    }
    if not (folder.model / "model.safetensors").is_file():
        write_heads(images, drawn.labelled, place / "heads")
        start = {"weights": args.model} if way == FINE_TUNED else {"backbone_weights": args.backbone_weights}
        config = RunConfig(images.folder.architecture, "folder", folder.path, place / "heads", fold=None, seed=seed)
        train_on_all(replace(config, resume=folder.began, recipe=PRESETS["quick"].with_options(options), **start))
    model = ModelFolder(folder.model)
    said = images.outputs(model.load(), drawn.measured).argmax(axis=1)
    return counted(heads, seed, way, images.classes(drawn.measured), [model.label_names[label] for label in said])


def write_heads(images: Images, rows: NDArray[np.int64], folder: Path) -> None:
    """The files of some records as a folder of one's own, a folder for each class."""
    from datasets import Image

    files = images.records.select(rows).cast_column("image", Image(decode=False))
    for number, (record, name) in enumerate(zip(files, images.classes(rows), strict=True)):
        path = folder / name / f"{number:03d}{Path(record['file']).suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record["image"]["bytes"])


def per_draw(rows: Sequence[Any], figure: Callable[[Sequence[Any]], float]) -> dict[tuple[str, int], dict[int, float]]:
    """A figure of the rows of each way and number of heads, by draw."""
    parts: dict[tuple[str, int, int], list[Any]] = {}
    for row in rows:
        parts.setdefault((row["way"], int(row["heads"]), int(row["draw"])), []).append(row)
    out: dict[tuple[str, int], dict[int, float]] = {}
    for (way, heads, seed), part in parts.items():
        out.setdefault((way, heads), {})[seed] = figure(part)
    return out


def accuracy(rows: Sequence[Any]) -> float:
    """Per cent of the images that are right."""
    right = sum(int(row["images"]) for row in rows if row["label"] == row["prediction"])
    return 100 * right / sum(int(row["images"]) for row in rows)


def normal_or_not(rows: Sequence[Any], normal: str, no_head: str | None) -> float:
    """Per cent, balanced: normal heads against all other heads; images labelled as no head are left out."""
    right, images = Counter[bool](), Counter[bool]()
    for row in rows:
        if row["label"] != no_head:
            is_normal = row["label"] == normal
            images[is_normal] += int(row["images"])
            right[is_normal] += int(row["images"]) * ((row["prediction"] == normal) == is_normal)
    return 50 * (right[True] / images[True] + right[False] / images[False])


def arguments() -> argparse.Namespace:
    """Of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder, published name, or hf-hub:owner/name")
    add_data_arguments(parser)
    parser.add_argument("--leave-out-seen", action="store_true", help="without the images that it was trained on")
    parser.add_argument("--heads", type=int, nargs="+", default=[10, 20, 50], metavar="N", help="of a class (10 20 50)")
    parser.add_argument("--draws", type=int, default=10, metavar="N", help="of the linear models (%(default)s)")
    parser.add_argument("--fine-tune", type=int, default=0, metavar="N", help="draws, the first ones (%(default)s)")
    parser.add_argument("--from-imagenet", type=int, default=0, metavar="N", help="draws, likewise (%(default)s)")
    parser.add_argument("--backbone-weights", type=Path, metavar="FILE", help="safetensors from timm, for the latter")
    parser.add_argument("--epochs", type=int, default=40, metavar="N", help="of a training (%(default)s)")
    parser.add_argument("--images", type=int, metavar="N", help="only so many images, at random")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where networks are trained")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv")
    args = parser.parse_args()
    settle_dataset(args)
    return args


def check(args: argparse.Namespace) -> None:
    """Raise `InputError` for arguments that do not go together."""
    from madrnet_timm.errors import InputError

    if args.output.suffix != ".csv":
        raise InputError(f"--output {args.output}: expected a name that ends in .csv")
    if min(args.heads) < LEAST or args.draws < 1:
        raise InputError(f"--heads {min(args.heads)}, --draws {args.draws}: expected at least {LEAST} heads and a draw")
    if max(args.fine_tune, args.from_imagenet) > args.draws:
        raise InputError(f"--draws {args.draws}: expected at least as many as of --fine-tune and --from-imagenet")
    if (args.fine_tune or args.from_imagenet) and args.work is None:
        raise InputError("--fine-tune and --from-imagenet train networks: name a folder for them (--work)")
    if args.from_imagenet and args.backbone_weights is None:
        raise InputError("--from-imagenet: name the weights to start from (--backbone-weights)")


def stored_rows(output: Path, draws: Mapping[tuple[int, int], Draw], titles: Sequence[str]) -> Rows:
    """What an earlier command wrote, or nothing.

    Args:
        output: The table.
        draws: By heads and number.
        titles: Class of each image that they are drawn from.

    Raises:
        InputError: Another kind of table, or one of other images.
    """
    from madrnet_timm.errors import InputError
    from madrnet_timm.files import read_csv

    if not output.is_file():
        return []
    rows: Rows = list(read_csv(output))
    if any(row.keys() != {*COLUMNS} for row in rows):
        raise InputError(f"--output {output}: no table of this command, which has {', '.join(COLUMNS)}; name another")
    measured: dict[tuple[str, int, int], Counter[str]] = {}
    for row in rows:
        way = measured.setdefault((row["way"], int(row["heads"]), int(row["draw"])), Counter())
        way[row["label"]] += int(row["images"])
    for (_, heads, seed), counts in measured.items():
        drawn = draws.get((heads, seed))
        if drawn is not None and counts != Counter(titles[index] for index in drawn.measured):
            raise InputError(f"--output {output}: was made of other images; name another, or remove it to begin anew")
    return rows


def main() -> None:
    args = arguments()

    from madrnet_timm.data.sources import class_names, drop_conflicts, load
    from madrnet_timm.files import write_csv
    from madrnet_timm.hub.lookup import find_model
    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.training.leakage import seen_by

    check(args)
    folder = ModelFolder(find_model(args.model))
    records, _ = drop_conflicts(load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable))
    records = without_seen(records, seen_by(folder.path, args.dataset, records["pixel_sha256"]), args)
    records = records if args.images is None else part_of(records, args.images)
    places = [(heads, seed) for seed in range(args.draws) for heads in sorted(set(args.heads))]
    draws = {place: draw(records, *place) for place in places}
    names = class_names(records)
    rows = stored_rows(args.output, draws, [names[label] for label in records["label"]])
    done = {(int(row["heads"]), int(row["draw"]), row["way"]) for row in rows}
    images = Images(records, folder)
    if missing := [place for place in places if any((*place, way) not in done for way in LINEAR)]:
        rows += linear_rows(images, ((*place, draws[place]) for place in missing))
        write_csv(args.output, rows)
    for seed in range(args.draws):
        for way, count in ((FINE_TUNED, args.fine_tune), (FROM_IMAGENET, args.from_imagenet)):
            for heads in sorted(set(args.heads)):
                if seed < count and (heads, seed, way) not in done:
                    print(f"{way}, {heads} heads of a class, draw {seed}", file=sys.stderr, flush=True)
                    rows += trained_rows(images, heads, seed, draws[heads, seed], way, args)
                    write_csv(args.output, rows)
    found = per_draw(rows, accuracy)
    for way, heads in sorted(found, key=lambda key: (WAYS.index(key[0]), key[1])):
        values = list(found[way, heads].values())
        print(f"{way:<28} {heads:>3} of a class: {np.mean(values):5.1f} %, {len(values)} draws")


if __name__ == "__main__":
    run_command(main)
