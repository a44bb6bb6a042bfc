"""Files that are either whole or not there: written beside, then renamed."""

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from .errors import InputError

__all__ = [
    "as_csv",
    "beside_path",
    "check_table_name",
    "read_csv",
    "replacing",
    "replacing_folder",
    "reporting_disk_errors",
    "settle_folder",
    "sha256_of",
    "write_csv",
    "write_image",
    "write_table",
    "write_text",
]


# torch.save reports a full disk as a RuntimeError
_TORCH_WRITE_ERRORS = ("PytorchStreamWriter", "inline_container", "iostream", "No space", "File too large")


@contextmanager
def reporting_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a folder that can't be written into one clear `InputError`."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _TORCH_WRITE_ERRORS):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"{path}: can't be written ({reason}); free some space, check the permissions or choose another --output"
        ) from error


def beside_path(path: Path) -> Path:
    """Where `replacing_folder` writes until it is whole, the same in all processes of a run."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, renamed to ``path`` at the end; removed if anything fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may write the same file
    with reporting_disk_errors(path):
        try:
            yield beside
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def settle_folder(path: Path) -> None:
    """Put the old folder back where a process was killed between the two renames of `replacing_folder`."""
    old = _old_path(path)
    if old.exists() and not path.exists():
        os.replace(old, path)


def _old_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` to fill, put in its place at the end; removed if anything fails."""
    beside, old = beside_path(path), _old_path(path)
    with reporting_disk_errors(path):
        settle_folder(path)
        shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
        shutil.rmtree(old, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            yield beside
            if path.exists():
                os.replace(path, old)
            os.replace(beside, path)
        finally:
            settle_folder(path)  # if the second rename failed
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB picture ``(height, width, 3)`` as PNG."""
    with replacing(path) as beside:
        Image.fromarray(np.ascontiguousarray(image)).save(beside, format="PNG")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as text; the columns are those of the first row."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table that `write_csv` wrote."""
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, see `as_csv`."""
    write_text(path, as_csv(rows))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table as ``.csv`` or ``.parquet``, by the name's ending; None is an empty cell or null.

    Raises:
        InputError: Another ending, Parquet without pyarrow, or a file that can't be written.
    """
    check_table_name(path)
    if path.suffix.lower() == ".csv":
        write_csv(path, rows)
        return
    import pyarrow
    from pyarrow import parquet

    with replacing(path) as beside:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), beside)


def check_table_name(path: Path) -> None:
    """Raise `InputError` where `write_table` could not write such a file, before any work is done for it."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise InputError(f"--output {path}: expected a name that ends in .csv or .parquet")
    if kind == ".parquet" and find_spec("pyarrow") is None:
        raise InputError(f"--output {path}: Parquet needs pyarrow; pip install 'madrnet-timm[train]', or write .csv")
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: no folder {path.parent}; make it first")
