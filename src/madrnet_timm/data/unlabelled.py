"""Pictures that nobody labelled, without those that show a cell of the labelled ones."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .groups import find_groups
from .reading import decode, picture_files, pixel_sha256, read
from .sources import code_digest, generated, pictures

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["unlabelled_records"]

_logger = logging.getLogger(__name__)


def _records(paths: Sequence[str], labelled: "Dataset", digest: str) -> Iterator[dict]:
    """One record a picture; ``digest`` only is part of the cache's key."""
    contents = [read(Path(path)) for path in paths]
    images = [decode(data, path) for data, path in zip(contents, paths, strict=True)]
    hashes = [pixel_sha256(image) for image in images]
    group = find_groups([*pictures(labelled), *images], [*labelled["pixel_sha256"], *hashes])
    labelled_groups = set(group[: len(labelled)])
    for path, data, pixels, own in zip(paths, contents, hashes, group[len(labelled) :], strict=True):
        yield {
            "image": {"bytes": data, "path": Path(path).name},
            "file": path,
            "pixel_sha256": pixels,
            "labelled_cell": own in labelled_groups,
            "label": -1,
            "aspect_ratio": None,
            "ok": False,
        }


def unlabelled_records(paths: Sequence[Path], labelled: "Dataset") -> "Dataset":
    """Pictures for a student to follow its teachers on.

    Those that show a cell of a labelled picture (see `madrnet_timm.data.groups`) are left out, with a warning: the cell
    may be held out.

    Args:
        paths: Picture files, folders, which are searched to the bottom, and patterns.
        labelled: All records of the data set that is trained and measured on, also those that a protocol leaves out.

    Returns:
        A `datasets.Dataset` with the columns that `PictureDataset` needs, and ``pixel_sha256``; no label is known.

    Raises:
        InputError: See `picture_files` and `decode`; none is left.
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
    content = hashlib.sha256(b"".join(hashlib.sha256(read(path)).digest() for path in files)).hexdigest()
    arguments = {"paths": tuple(map(str, files)), "labelled": labelled, "digest": content + code_digest()}
    records = generated(_records, features, arguments)
    other = np.flatnonzero(~np.array(records["labelled_cell"]))
    if len(other) == 0:
        raise InputError(
            f"--unlabelled {paths[0]}: all of the {len(files)} pictures show cells of the labelled ones, which may be "
            "held out; give others"
        )
    if len(other) < len(files):
        left_out = len(files) - len(other)
        _logger.warning("--unlabelled: left out %d of %d pictures, of labelled cells", left_out, len(files))
    return records.select(other)
