"""Write which labels of HuSHeM and SMIDS are suspect, by held-out predictions and by identical images.

    python -m tools.suspects

Three reasons: confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021) on the held-out probabilities that come
with the published models; images with the same pixels under two labels, from the manifests; and two images of one cell
with two labels. Images are named by the hash of their pixels, so that any lossless copy of a data set can be searched;
no image is needed. docs/data.md explains the columns of docs/results/suspects-<data set>.csv.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.command import run_command
from madrnet_timm.data.manifest import read_manifest
from madrnet_timm.data.sources import SOURCES
from madrnet_timm.evaluation.predictions import read_predictions
from madrnet_timm.files import write_csv

from .stored import DOCS, RESULTS

MODELS = {
    "hushem": "madrnet_tf_efficientnet_lite0.smids_ft_hushem",
    "smids": "madrnet_tf_efficientnet_lite0.smids",
}
"""Folder in hub/ whose held-out predictions are taken."""

ONE_CELL = {
    "hushem": (),
    "smids": (
        ("Abnormal_Sperm/Abnormal_Sperm (638)", "Normal_Sperm/Normal_Sperm (242)"),
        ("Abnormal_Sperm/Abnormal_Sperm (670)", "Normal_Sperm/Normal_Sperm (317)"),
        ("Abnormal_Sperm/Abnormal_Sperm (752)", "Normal_Sperm/Normal_Sperm (192)"),
    ),
}
"""Of the pairs of other pixels and labels that `madrnet_timm.data.groups.twin_pairs` finds, those that show one cell by
eye. Four more on SMIDS are heads that look alike."""


def confident_classes(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class that each image belongs to by confident learning.

    An image belongs to a class if its probability is at least the mean probability of that class over all images that
    carry it as their label; of several to the most probable one. A model that is unsure of a class so needs less to
    name it.

    Args:
        labels: Of ``n`` images, each class among them.
        probabilities: ``(n, classes)``, held out.

    Returns:
        ``(n,)``; -1 where an image reaches the mean of no class.
    """
    means = np.array([probabilities[labels == k, k].mean() for k in range(probabilities.shape[1])])
    reached = probabilities >= means
    best = np.where(reached, probabilities, -1).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def suspects(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Images that belong to another class than their label, by confident learning, the surest first.

    Args:
        rows: Held-out predictions of one or more seeds. Counted is the mean of the probabilities over the seeds.
    """
    names = [key.removeprefix("p_") for key in rows[0] if key.startswith("p_")]
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_image[row["file"]].append(row)
    first = [found[0] for found in by_image.values()]
    labels = np.array([names.index(row["label"]) for row in first])
    by_seed = np.array([[[float(r[f"p_{n}"]) for n in names] for r in found] for found in by_image.values()])
    of_mean = by_seed.mean(axis=1)
    classes = confident_classes(labels, of_mean)
    seed_by_seed = [confident_classes(labels, by_seed[:, seed]) for seed in range(by_seed.shape[1])]
    out = [
        {
            "pixel_sha256": row["pixel_sha256"],
            "name": row["file"].rpartition(".")[0],
            "label": row["label"],
            "suggested": names[found],
            "reason": "confident learning",
            "p_label": round(float(p[label]), 4),
            "p_suggested": round(float(p[found]), 4),
            "seeds": sum(int(classes_of_seed[i] == found) for classes_of_seed in seed_by_seed),
        }
        for i, (row, label, found, p) in enumerate(zip(first, labels, classes, of_mean, strict=True))
        if found not in (-1, label)
    ]
    return sorted(out, key=lambda row: row["p_label"] - row["p_suggested"])


def two_labels(dataset: str) -> list[dict[str, Any]]:
    """Images of a data set whose pixels occur under another label, too."""
    folders = SOURCES[dataset].classes or {}
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for name, row in read_manifest(dataset).items():
        labels[row["pixel_sha256"]][name] = folders[name.partition("/")[0]]
    return [
        {
            "pixel_sha256": pixels,
            "name": name,
            "label": label,
            "suggested": " or ".join(sorted({*found.values()} - {label})),
            "reason": "two labels",
        }
        for pixels, found in labels.items()
        if len(set(found.values())) > 1
        for name, label in found.items()
    ]


def one_cell(dataset: str) -> list[dict[str, Any]]:
    """Both images of each pair in `ONE_CELL`."""
    folders, manifest = SOURCES[dataset].classes or {}, read_manifest(dataset)
    return [
        {
            "pixel_sha256": manifest[name]["pixel_sha256"],
            "name": name,
            "label": folders[name.partition("/")[0]],
            "suggested": folders[other.partition("/")[0]],
            "reason": "one cell",
        }
        for pair in ONE_CELL[dataset]
        for name, other in (pair, pair[::-1])
    ]


def table(dataset: str) -> list[dict[str, Any]]:
    """All rows of a data set."""
    rows = read_predictions(DOCS.parent / "hub" / MODELS[dataset] / "predictions.csv")
    found = [*suspects(rows), *two_labels(dataset), *one_cell(dataset)]
    columns = dict.fromkeys(key for row in found for key in row)
    return [{key: row.get(key, "") for key in columns} for row in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    for dataset in MODELS:
        rows = table(dataset)
        write_csv(RESULTS / f"suspects-{dataset}.csv", rows)
        print(f"{dataset}: {len(rows)} suspect labels")


if __name__ == "__main__":
    run_command(main)
