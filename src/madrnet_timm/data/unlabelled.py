"""Pictures that nobody labelled, without those that show a cell of the labelled ones."""

import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .groups import find_groups
from .reading import picture_files, pixel_sha256
from .records import Item, Row, computed_rows, in_memory, read_items
from .sources import pictures

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["unlabelled_records"]

_logger = logging.getLogger(__name__)


def _compared(items: Sequence[Item], images: list[NDArray[np.uint8]], labelled: "Dataset") -> list[Row]:
    """Hash of each image, and whether it shows a cell of a labelled one."""
    hashes = [pixel_sha256(image) for image in images]
    group = find_groups([*pictures(labelled), *images], [*labelled["pixel_sha256"], *hashes])
    cells = set(group[: len(labelled)])
    own = group[len(labelled) :]
    return [{"pixel_sha256": pixels, "labelled_cell": g in cells} for pixels, g in zip(hashes, own, strict=True)]


def unlabelled_records(paths: Sequence[Path], labelled: "Dataset", skip_unreadable: bool = False) -> "Dataset":
    """Pictures for a student to follow its teachers on.

    Those that show a cell of a labelled picture (see `madrnet_timm.data.groups`) are left out, with a warning: the cell
    may be held out.

    Args:
        paths: Picture files, folders, which are searched to the bottom, and patterns.
        labelled: All records of the data set that is trained and measured on, also those that a protocol leaves out.
        skip_unreadable: Leave out images that can't be read, with a warning.

    Returns:
        A `datasets.Dataset` with the columns that `PictureDataset` needs, and ``pixel_sha256``; no label is known.

    Raises:
        InputError: See `picture_files` and `computed_rows`; none is left.
    """
    from datasets import Features, Image, Value

    try:
        files = picture_files([Path(path).resolve() for path in paths])
    except InputError as error:
        raise InputError(f"--unlabelled {error}") from None
    features = Features(
        {
            "image": Image(),
            "file": Value("string"),
            "pixel_sha256": Value("string"),
            "labelled_cell": Value("bool"),
            "label": Value("int32"),
            "aspect_ratio": Value("float32"),
            "ok": Value("bool"),
        }
    )
    names, failures = list(map(str, files)), list[str]()
    items = read_items(files, names, [-1] * len(files), failures)
    key = "unlabelled " + hashlib.sha256("".join(labelled["pixel_sha256"]).encode()).hexdigest()
    items, rows = computed_rows(items, failures, partial(_compared, labelled=labelled), key, skip_unreadable)
    records = [
        {
            "image": {"bytes": item.data, "path": Path(item.file).name},
            "file": item.file,
            "label": item.label,
            "aspect_ratio": None,
            "ok": False,
            **row,
        }
        for item, row in zip(items, rows, strict=True)
        if not row["labelled_cell"]
    ]
    if not records:
        raise InputError(
            f"--unlabelled {paths[0]}: all of the {len(items)} pictures show cells of the labelled ones, which may be "
            "held out; give others"
        )
    if left_out := len(items) - len(records):
        _logger.warning("--unlabelled: left out %d of %d pictures, of labelled cells", left_out, len(items))
    return in_memory(records, features)
