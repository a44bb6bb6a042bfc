"""What a frozen backbone is worth: its features, as ImageNet made them, and a support vector machine, fold by fold.

    python -m examples.studies.frozen --dataset hushem --data-dir DIR --seeds 0 1 2 \\
        --backbone-weights tf_efficientnet_lite0.in1k.safetensors --output runs/hushem-frozen.csv

The features of an image are the means over the backbone's last map, of its view and that in a mirror. With `--features
network measured` stand beside them what is measured on the head (the features of the control "shape and stain"), each
part as heavy as the other. What standardises the features, C and gamma come from the training images of a fold alone,
C and gamma by folds within them, which keep the images of one cell together. The table has a row per held-out image
and seed: seed, fold, file, label, prediction. A support vector machine has no probabilities of its own.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_training_seeds
from madrnet_timm.commands.data_arguments import add_data_arguments, add_fold_arguments, settle_dataset
from madrnet_timm.data.pipelines import PIPELINES

from .held_out import class_rows
from .network import outputs

Array = NDArray[np.float64]

COSTS = (1.0, 10.0, 100.0, 1000.0)
GAMMAS = (1 / 64, 1 / 16, 1 / 4, 1.0)
"""Of features whose variances sum up to 1; 1 is the value that scikit-learn calls "scale"."""
INNER_FOLDS = 5
VIEWS = {"hushem": "head-and-neck", "smids": "aligned-normalized"}
"""Pipelines of the published models."""


def pooled_features(model: Any, views: Any, data_config: Mapping[str, Any], batch_size: int = 64) -> Array:
    """Of each image: means over the last map of a timm model, of its view and of the mirrored one, averaged.

    Args:
        model: Loses its classifier.
        views: See `outputs`, like the other arguments.

    Returns:
        ``(images, channels)``.
    """
    model.reset_classifier(0, "avg")
    return outputs(lambda batch: (model(batch) + model(batch.flip(-1))) / 2, views, data_config, batch_size)


def scaling(widths: Sequence[int]) -> Any:
    """Standardises features: the variances of each part sum up to the same, and all to 1; what is missing is 0.

    Args:
        widths: How many features each part has, one part after the other.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts, weights, start = [], {}, 0
    for width in widths:
        steps = make_pipeline(StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.0))
        name, columns = f"from {start}", slice(start, start + width)
        parts.append((name, steps, columns))
        weights[name] = (len(widths) * width) ** -0.5
        start += width
    return ColumnTransformer(parts, transformer_weights=weights)


def inner_accuracies(features: Array, widths: Sequence[int], records: Any) -> Array:
    """Accuracy of each of `COSTS` with each of `GAMMAS` in folds within the training images, ``(costs, gammas)``.

    Args:
        features: ``(records, features)``.
        widths: See `scaling`.
        records: With ``label``, ``group``, ``file`` and ``pixel_sha256``; a group lies in one fold.

    Raises:
        InputError: Too few images, see `make_folds`.
    """
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.svm import SVC

    from madrnet_timm.data.folds import make_folds

    labels, inner = np.array(records["label"]), make_folds(records, INNER_FOLDS)
    right = np.zeros((len(COSTS), len(GAMMAS)))
    for train, test in ((inner != fold, inner == fold) for fold in range(INNER_FOLDS)):
        scaled = scaling(widths).fit(features[train])
        known, asked = scaled.transform(features[train]), scaled.transform(features[test])
        for column, gamma in enumerate(GAMMAS):
            kernel, across = rbf_kernel(known, gamma=gamma), rbf_kernel(asked, known, gamma=gamma)
            for row, cost in enumerate(COSTS):
                said = SVC(C=cost, kernel="precomputed").fit(kernel, labels[train]).predict(across)
                right[row, column] += (said == labels[test]).sum()
    return right / len(labels)


def fitted(features: Array, widths: Sequence[int], records: Any) -> tuple[Any, tuple[float, float]]:
    """A support vector machine fitted to all records, with the C and gamma that are best in `inner_accuracies`; these.

    Of equal ones the smallest C counts, and then the smallest gamma. For the arguments see there.
    """
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    row, column = divmod(int(inner_accuracies(features, widths, records).argmax()), len(GAMMAS))
    cost, gamma = COSTS[row], GAMMAS[column]
    kernel = partial(rbf_kernel, gamma=gamma)  # of all pairs at once: a tenth of the time of kernel="rbf"
    return make_pipeline(scaling(widths), SVC(C=cost, kernel=kernel)).fit(features, records["label"]), (cost, gamma)


def predicted(
    features: Array, widths: Sequence[int], records: Any, folds: NDArray[np.int64], fold: int
) -> tuple[NDArray[np.int64], tuple[float, float]]:
    """Class ids of the images that a fold holds out, and C and gamma, by what the other folds say alone.

    Args:
        folds: In which fold each record is held out.
        fold: Its number; for the others see `inner_accuracies`.

    Raises:
        InputError: See `inner_accuracies`.
    """
    trained = np.flatnonzero(folds != fold)
    machine, settings = fitted(features[trained], widths, records.select(trained))
    return machine.predict(features[folds == fold]), settings


def arguments() -> argparse.Namespace:
    """Of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_fold_arguments(parser)
    add_training_seeds(parser)
    parser.add_argument("--model", default="tf_efficientnet_lite0", help="timm name of the backbone (%(default)s)")
    parser.add_argument(
        "--backbone-weights", type=Path, required=True, metavar="FILE", help="safetensors file with its weights"
    )
    parser.add_argument(
        "--pipeline", choices=tuple(PIPELINES), help="(that of the data set's published model; of others head-only)"
    )
    parser.add_argument("--img-size", type=int, default=112, metavar="N", help="side in pixels (%(default)s)")
    parser.add_argument(
        "--features", nargs="+", default=["network"], choices=("network", "measured"), metavar="PART",
        help="network, measured or both (network)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet")
    args = parser.parse_args()
    settle_dataset(args)
    args.pipeline = args.pipeline or VIEWS.get(args.dataset, "head-only")
    return args


def features_of(config: Any, records: Any, parts: Sequence[str]) -> list[Array]:
    """The parts of the features, ``(records, features)`` each.

    Raises:
        InputError: Not a plain timm model; see `create_model`.
    """
    from timm.data import resolve_data_config

    from madrnet_timm.data.images import ImageDataset
    from madrnet_timm.data.sources import class_names
    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.controls import shape_features
    from madrnet_timm.training.initial_weights import create_model

    if config.model.startswith("madrnet_"):
        raise InputError(
            f"--model {config.model}: expected a backbone, such as {config.model.removeprefix('madrnet_')}"
        )
    found = []
    for part in dict.fromkeys(parts):
        if part == "measured":
            found.append(shape_features(records))
            continue
        model = create_model(config, class_names(records)).eval()
        size, pipeline = config.recipe.img_size, config.recipe.pipeline
        data_config = resolve_data_config({"input_size": (3, size, size)}, model=model)
        views = ImageDataset(records, pipeline, size, data_config["crop_pct"]).views[0]
        found.append(pooled_features(model, views, data_config))
    return found


def held_out_rows(config: Any, parts: Sequence[str], seeds: Sequence[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per held-out image and seed, and the names of the classes; prints which C and gamma were chosen how often.

    Raises:
        InputError: See `features_of`, `fitted`; weights of a model that learned from held-out images.
    """
    from madrnet_timm.data.sources import class_names
    from madrnet_timm.progress import progress
    from madrnet_timm.training.division import check_unseen

    rows: list[dict[str, Any]] = []
    chosen: Counter[tuple[float, float]] = Counter()
    features: list[Array] = []
    for seed in seeds:
        records, folds, _ = replace(config, seed=seed).divided_records()
        numbers, names = range(int(folds.max()) + 1), class_names(records)
        for fold in numbers:
            check_unseen(replace(config, fold=fold), records.select(np.flatnonzero(folds == fold)))
        features = features or features_of(config, records, parts)
        x, widths = np.hstack(features), [part.shape[1] for part in features]
        for fold in progress(numbers, len(numbers), f"seed {seed}", "fold"):
            said, settings = predicted(x, widths, records, folds, fold)
            chosen[settings] += 1
            place = replace(config, seed=seed, fold=fold)
            rows += class_rows(place, records.select(np.flatnonzero(folds == fold)), names, said)
    for (cost, gamma), count in sorted(chosen.items()):
        print(f"C = {cost:g}, gamma = {gamma:g}: chosen in {count} of {chosen.total()} folds")
    return rows, names


def main() -> None:
    args = arguments()

    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.training.recipe import Recipe
    from madrnet_timm.training.run_config import RunConfig

    check_table_name(args.output)
    config = RunConfig(
        model=args.model,
        dataset=args.dataset,
        output=args.output,
        data_dir=args.data_dir,
        skip_unreadable=args.skip_unreadable,
        protocol=args.protocol,
        folds=args.folds,
        backbone_weights=args.backbone_weights,
        recipe=Recipe(pipeline=args.pipeline, img_size=args.img_size),
    )
    rows, names = held_out_rows(config, args.features, sorted(set(args.seeds)))
    print(summary_table(summarize_predictions(rows, names)))
    write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
