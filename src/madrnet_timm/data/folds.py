"""Folds for cross-validation: stratified by class, groups undivided, the same for everybody."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .sources import class_names

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["make_folds"]


def make_folds(dataset: "Dataset", folds: int = 5, seed: int = 0) -> NDArray[np.int64]:
    """Number of the fold in which each record is held out.

    `sklearn.model_selection.StratifiedGroupKFold` on the records in the order of their pixels' hash, so that the folds
    depend on the pictures, the groups and the seed, not on file names or the order of files.

    Args:
        dataset: Records with ``label``, ``group`` and ``pixel_sha256``.
        folds: Number of folds, at least 2.
        seed: Of the shuffling.

    Raises:
        InputError: A class has fewer groups than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if folds < 2:
        raise InputError(f"--folds {folds}: expected at least 2")
    labels, groups = np.array(dataset["label"]), np.array(dataset["group"])
    for label, name in enumerate(class_names(dataset)):
        available = len(set(groups[labels == label]))
        if available < folds:
            raise InputError(
                f"class {name}: {available} groups of pictures (one cell each), fewer than the {folds} folds; "
                f"add pictures or choose --folds {max(available, 2)}"
            )
    order = np.lexsort((dataset["file"], dataset["pixel_sha256"]))
    # group numbers follow the order of files: rename them by their first picture in the order of hashes
    first = {group: i for i, group in reversed(list(enumerate(groups[order].tolist())))}
    stable = [first[group] for group in groups[order].tolist()]
    out = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(labels[order], labels[order], stable)):
        out[order[held_out]] = number
    return out
