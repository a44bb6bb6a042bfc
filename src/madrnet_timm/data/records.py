"""Records of images: the files are read each time, and what was computed of them is kept in a cache.

The cache holds measurements, hashes and group numbers; no image and no name of a file is copied to it, since these may
be a patient's. It lies in the folder ``madrnet_timm`` of the cache of `datasets` (``HF_DATASETS_CACHE``) and may be
deleted at any time.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..cells import printable
from ..errors import InputError
from ..files import replacing
from .reading import decode, read

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["Item", "Row", "cached_rows", "code_digest", "computed_rows", "in_memory", "read_items"]

Row = dict[str, Any]

_LISTED = 20  # unreadable files in one message
_CHUNK = 1000  # records of one Arrow table, whose binary columns hold at most 2 GB

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """An image that is not decoded yet.

    Attributes:
        file: Its name in the data set.
        shown: Its name in messages.
        data: The bytes of its file.
        label: Class id, -1 if there is none.
    """

    file: str
    shown: str
    data: bytes
    label: int = -1


def read_items(paths: Sequence[Path], files: Sequence[str], labels: Sequence[int], failures: list[str]) -> list[Item]:
    """The files that can be read; why the others can't is added to ``failures``."""
    out = []
    for path, file, label in zip(paths, files, labels, strict=True):
        try:
            out.append(Item(printable(file), str(path), read(path), label))
        except InputError as error:
            failures.append(str(error))
    return out


def computed_rows(
    items: Sequence[Item],
    failures: list[str],
    compute: Callable[[Sequence[Item], list[NDArray[np.uint8]]], list[Row]],
    key: str,
    skip_unreadable: bool = False,
) -> tuple[list[Item], list[Row]]:
    """A row for each image that can be decoded, computed or from the cache.

    Args:
        items: The images.
        failures: Why others could not even be read.
        compute: Gives a row, of numbers, texts and lists of them, for each item and its decoded image.
        key: Covers what ``compute`` depends on beside the items.
        skip_unreadable: Leave out what can't be read, with a warning.

    Returns:
        The items that could be decoded, and their rows.

    Raises:
        InputError: Images that can't be read, all of them in one message.
    """
    total, failures = len(items) + len(failures), list(failures)
    digest = hashlib.sha256(f"{key} {code_digest()}".encode())
    for item in items:
        digest.update(item.file.encode() + b"\0" + hashlib.sha256(item.data).digest())
    path = _cache_path(digest.hexdigest())
    rows = _stored(path)
    if rows is None:
        images = _decoded(items, failures)
        _settle(failures, total, skip_unreadable)
        kept = [items[index] for index in images]
        found = compute(kept, list(images.values()))
        rows = [{"index": index} | row for index, row in zip(images, found, strict=True)]
        _store(path, rows)
    else:
        there = {row["index"] for row in rows}
        _decoded([item for index, item in enumerate(items) if index not in there], failures)
        _settle(failures, total, skip_unreadable)
    return [items[row.pop("index")] for row in rows], rows


def cached_rows(key: str, compute: Callable[[], list[Row]]) -> list[Row]:
    """What ``compute`` gives, or what it gave for that key before with the same code."""
    path = _cache_path(hashlib.sha256(f"{key} {code_digest()}".encode()).hexdigest())
    rows = _stored(path)
    if rows is None:
        rows = compute()
        _store(path, rows)
    return rows


def _decoded(items: Sequence[Item], failures: list[str]) -> dict[int, NDArray[np.uint8]]:
    images = {}
    for index, item in enumerate(items):
        try:
            images[index] = decode(item.data, item.shown, crop=True)
        except InputError as error:
            failures.append(str(error))
    return images


def _settle(failures: Sequence[str], total: int, skip: bool) -> None:
    """Refuse what can't be read, or warn that it is left out."""
    if not failures:
        return
    more = [f"and {len(failures) - _LISTED} more"] if len(failures) > _LISTED else []
    listed = "".join(f"\n  {line}" for line in [*failures[:_LISTED], *more])
    if skip and len(failures) < total:
        _logger.warning("left out %d of %d images that can't be read:%s", len(failures), total, listed)
    elif len(failures) == 1:
        raise InputError(f"{failures[0]}, or leave it out with --skip-unreadable")
    else:
        hint = "" if len(failures) == total else "\nLeave them out with --skip-unreadable, or mend them"
        raise InputError(f"{len(failures)} of {total} images can't be read:{listed}{hint}")


def _cache_path(digest: str) -> Path:
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "madrnet_timm" / f"{digest}.parquet"


def _stored(path: Path) -> list[Row] | None:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException):  # not there, or damaged
        return None


def _store(path: Path, rows: list[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            parquet.write_table(pyarrow.Table.from_pylist(rows), beside)
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or str(error).split(";")[0]
        _logger.warning("%s: can't keep what was measured (%s); the next start measures again", path.parent, reason)


def in_memory(records: Sequence[Row], features: "Features") -> "Dataset":
    """A `datasets.Dataset` of which nothing lies on the disk."""
    from datasets import Dataset, concatenate_datasets

    starts = range(0, max(len(records), 1), _CHUNK)
    return concatenate_datasets(
        [Dataset.from_list(list(records[start : start + _CHUNK]), features=features) for start in starts]
    )


def code_digest() -> str:
    """Hash of the code that reads, groups and measures, so that nothing in the cache outlives a change of it."""
    package = Path(__file__).parents[1]
    own = ("copies", "domain", "groups", "reading", "records", "sessions", "sources", "synthetic")
    paths = [*(package / "data" / f"{name}.py" for name in own), *sorted(package.glob("morphology/*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
