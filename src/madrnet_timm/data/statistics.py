"""What a data set holds, class by class: images, cells, sessions, aspect ratios, flags."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .sources import class_names

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["class_statistics", "duplicate_statistics"]


def class_statistics(dataset: "Dataset") -> list[dict[str, Any]]:
    """One row per class: images, groups (cells), images of each session, quartiles of γ, trusted and flagged ones."""
    labels, groups, sessions = (np.array(dataset[name]) for name in ("label", "group", "session"))
    ratios = np.array([np.nan if value is None else value for value in dataset["aspect_ratio"]], dtype=float)
    ok, flags = np.array(dataset["ok"]), [set(value.split()) for value in dataset["flags"]]
    names = sorted({flag for found in flags for flag in found})
    rows = []
    for label, name in enumerate(class_names(dataset)):
        own = labels == label
        row: dict[str, Any] = {"class": name, "images": int(own.sum()), "groups": len(set(groups[own].tolist()))}
        row |= {
            f"session_{number}": int((own & (sessions == number)).sum()) for number in sorted(set(sessions.tolist()))
        }
        known = ratios[own & ~np.isnan(ratios)]
        quartiles = np.percentile(known, (25, 50, 75)) if len(known) else [float("nan")] * 3
        row |= {f"gamma_{q}": round(float(v), 3) for q, v in zip(("q1", "median", "q3"), quartiles, strict=True)}
        row["trusted"] = int((own & ok).sum())
        row |= {flag: sum(flag in found for found, here in zip(flags, own, strict=True) if here) for flag in names}
        rows.append(row)
    return rows


def duplicate_statistics(dataset: "Dataset") -> dict[str, int]:
    """Counts of images that must not be divided between training and test.

    ``identical``: images whose pixels occurred before; ``conflicting``: images whose pixels occur with more than
    one label; ``grouped``: images in groups of more than one; ``groups_across_classes``: groups with more than one
    label.
    """
    hashes, labels, groups = dataset["pixel_sha256"], dataset["label"], dataset["group"]
    labels_of: dict[str, set[int]] = {}
    classes_of: dict[int, set[int]] = {}
    for value, label, group in zip(hashes, labels, groups, strict=True):
        labels_of.setdefault(value, set()).add(label)
        classes_of.setdefault(group, set()).add(label)
    sizes = Counter(groups)
    return {
        "identical": len(hashes) - len(labels_of),
        "conflicting": sum(len(labels_of[value]) > 1 for value in hashes),
        "grouped": sum(size for size in sizes.values() if size > 1),
        "groups_across_classes": sum(len(found) > 1 for found in classes_of.values()),
    }
