"""Files that are either whole or not there: written beside, then renamed."""

import csv
import errno
import hashlib
import io
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from .cells import from_cell, to_cell
from .errors import InputError

__all__ = [
    "DIGITS",
    "LONGEST_NAME",
    "as_csv",
    "beside_path",
    "check_output",
    "check_table_name",
    "disk_reason",
    "fill_table",
    "make_output_folder",
    "read_csv",
    "remove_folder",
    "replacing",
    "replacing_folder",
    "reporting_disk_errors",
    "settle_folder",
    "sha256_of",
    "write_array",
    "write_csv",
    "write_image",
    "write_table",
    "write_text",
]


DIGITS = 6
"""Significant digits of numbers that people read."""

_ROWS_AT_ONCE = 4096
_KINDS = (bool, int, float, str)

LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems."""

_DISK_ERRNOS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPERM, errno.ENOSPC, errno.EROFS}
    | {errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY}
)
# torch.save reports a full disk as a RuntimeError, in these words
_TORCH_WRITE_ERRORS = ("PytorchStreamWriter", "unexpected pos", "iostream")


_OS_ERROR = re.compile(r"(?:\(os error |Os \{ code: )(\d+)")
"""Of what safetensors says; the second spelling is that of 0.4."""


def disk_reason(error: BaseException, *places: Path) -> str | None:
    """Why the disk did not take what was written to one of the places; None if the error is about something else.

    An error that names no file is taken to be about them, such as that of a full disk; one that names another file is
    not.
    """
    if isinstance(error, RuntimeError):
        return "no space left" if any(words in str(error) for words in _TORCH_WRITE_ERRORS) else None
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, SafetensorError) and (found := _OS_ERROR.search(str(error))):
        number = int(found[1])
    if number not in _DISK_ERRNOS:
        return None
    names = [name for name in (getattr(error, key, None) for key in ("filename", "filename2")) if name is not None]
    named = [Path(os.fsdecode(name)).absolute() for name in names if not isinstance(name, int)]
    theirs = [place.absolute() for place in places]
    if named:
        ours = any(one.is_relative_to(place) or place.is_relative_to(one) for one in named for place in theirs)
    else:
        ours = number != errno.ENOENT or any(str(place.parent) in str(error) for place in places)
    return os.strerror(number) if ours else None


@contextmanager
def reporting_disk_errors(path: Path, *besides: Path) -> Iterator[None]:
    """Turn what the disk says against writing ``path`` into one clear `InputError`; other errors are left alone.

    Args:
        path: What is written.
        besides: Where it is written until it is whole.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = disk_reason(error, path, *besides)
        if reason is None:
            raise
        raise InputError(
            f"{path}: can't be written ({reason}); free some space, check the permissions or choose another --output"
        ) from error


def beside_path(path: Path) -> Path:
    """Where `replacing_folder` writes until it is whole, the same in all processes of a run."""
    return path.with_name(f".{path.name}.part")


def _beside_file(path: Path) -> Path:
    ending = f".{os.getpid()}.part"  # two processes may write the same file
    name = os.fsencode(path.name)
    if len(name) + len(ending) + 1 > LONGEST_NAME:
        return path.with_name(f".{hashlib.sha256(name).hexdigest()[:32]}{ending}")
    return path.with_name(f".{path.name}{ending}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, renamed to ``path`` at the end; removed if anything fails."""
    beside = _beside_file(path)
    with reporting_disk_errors(path, beside):
        if path.exists() and not path.is_file():  # renaming would put a file in the place of /dev/null
            raise InputError(f"{path}: expected the name of a file, not of a folder or a device")
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
    with reporting_disk_errors(path, beside, old):
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


def remove_folder(path: Path) -> None:
    """Remove a folder and what was left beside it; a process that is killed meanwhile leaves none that looks whole."""
    beside = beside_path(path)
    with reporting_disk_errors(path, beside):
        shutil.rmtree(beside, ignore_errors=True)
        if path.exists():
            os.replace(path, beside)
    for left in (beside, _old_path(path)):
        shutil.rmtree(left, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_image(path: Path, image: NDArray[np.uint8], parents: bool = False) -> None:
    """Write an RGB image ``(height, width, 3)`` as PNG; with ``parents`` the folders above it are made."""
    if parents:
        with reporting_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        Image.fromarray(np.ascontiguousarray(image)).save(beside, format="PNG")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a NumPy array as ``.npy``."""
    with replacing(path) as beside, beside.open("wb") as opened:
        np.save(opened, array, allow_pickle=False)


def _cells(rows: Iterable[Mapping[str, Any]], digits: int | None) -> Iterator[dict[str, Any]]:
    """Rows as they are written: text by `to_cell`, numbers with so many significant digits."""

    def cell(value: Any) -> Any:
        if isinstance(value, str):
            return to_cell(value)
        if digits is not None and isinstance(value, float):
            return float(f"{value:.{digits}g}")
        return value

    for row in rows:
        yield {to_cell(name): cell(value) for name, value in row.items()}


def as_csv(rows: Collection[Mapping[str, Any]], digits: int | None = None, excel: bool = False) -> str:
    """A table as text; a column is there if one of the rows has it.

    Args:
        rows: The table; text is written by `madrnet_timm.cells.to_cell`.
        digits: Significant digits of the numbers; all if None.
        excel: Begin with the byte order mark by which Excel knows UTF-8.
    """
    buffer = io.StringIO()
    _fill_csv(buffer, rows, _columns(rows), digits, excel)
    return buffer.getvalue()


def _fill_csv(
    opened: TextIO, rows: Iterable[Mapping[str, Any]], columns: Iterable[str], digits: int | None, excel: bool
) -> None:
    opened.write("\ufeff" * excel)
    writer = csv.DictWriter(opened, fieldnames=[to_cell(name) for name in columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(rows, digits))


def _columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, type]:
    """Name of each column and the type of its values; one that only later rows have stands where it stands in them."""
    names: list[str] = []
    kinds: dict[str, type] = {}
    for row in rows:
        if not row.keys() <= kinds.keys():
            place = 0
            for name in row:
                if name not in kinds:
                    names.insert(place, name)
                    kinds[name] = type(None)
                place = names.index(name) + 1
        for name, value in row.items():
            known = kinds[name]
            if value is not None and not (known is float or type(value) is known):
                kinds[name] = next((kind for kind in _KINDS if isinstance(value, kind)), str)
    return {name: kinds[name] for name in names}


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table that `write_csv` wrote, or a spreadsheet saved.

    A byte order mark is understood, and semicolons or tabulators between the cells.

    Raises:
        InputError: It can't be read, is not UTF-8, or its rows do not have the columns of its first line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except UnicodeDecodeError:
        raise InputError(f"{path}: not in UTF-8; save it as CSV UTF-8") from None
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read as CSV ({reason})") from None
    if not lines:
        return []
    names, *rows = [[from_cell(cell) for cell in row] for row in lines]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns of the same name; give each a name of its own")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise InputError(f"{path}, row {number}: {len(row)} cells; expected {len(names)}, as in the first line")
    return [dict(zip(names, row, strict=True)) for row in rows]


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, see `as_csv`."""
    write_text(path, as_csv(rows))


def write_table(path: Path, rows: Collection[Mapping[str, Any]], excel: bool = False) -> None:
    """Write a table for people and other programs as ``.csv`` or ``.parquet``, by the name's ending.

    None is an empty cell or null. Numbers in CSV have `DIGITS` significant digits, those in Parquet all.

    Raises:
        InputError: Another ending, Parquet without pyarrow, or a file that can't be written.
    """
    check_table_name(path)
    with replacing(path) as beside:
        fill_table(beside, rows, path.suffix, excel)


def fill_table(
    beside: Path, rows: Collection[Mapping[str, Any]], suffix: str, excel: bool = False, empty: Sequence[str] = ()
) -> None:
    """What `write_table` writes, to a file of any name; ``suffix`` says whether it is ``.csv`` or ``.parquet``.

    The rows are gone through twice, and no more than some thousand are held at once. A column is there if one of them
    has it; ``empty`` names the columns of a table without rows.
    """
    kinds = _columns(rows) or dict.fromkeys(empty, type(None))
    if suffix.lower() == ".csv":
        with beside.open("w", encoding="utf-8", newline="") as opened:
            _fill_csv(opened, rows, kinds, DIGITS, excel)
        return
    import pyarrow
    from pyarrow import parquet

    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    schema = pyarrow.schema([(to_cell(name), types.get(kind, pyarrow.null())) for name, kind in kinds.items()])
    with parquet.ParquetWriter(beside, schema) as file:
        cells = _cells(rows, None)
        while part := list(islice(cells, _ROWS_AT_ONCE)):
            file.write_table(pyarrow.Table.from_pylist(part, schema))


def check_table_name(path: Path) -> None:
    """Raise `InputError` where `write_table` could not write such a file, before any work is done for it."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise InputError(f"--output {path}: expected a name that ends in .csv or .parquet")
    if kind == ".parquet" and find_spec("pyarrow") is None:
        raise InputError(f"--output {path}: Parquet needs pyarrow; pip install 'madrnet-timm[train]', or write .csv")
    check_output(path)


def _try_file(path: Path) -> None:
    """Write an empty file and remove it again."""
    path.touch()
    path.unlink()


def check_output(path: Path) -> None:
    """Raise `InputError` where a file could not be written there, before any work is done for it."""
    beside = _beside_file(path)
    try:
        if not path.parent.is_dir():
            raise InputError(f"--output {path}: no folder {path.parent}; make it first")
        if path.is_dir():  # fails where the name is too long
            raise InputError(f"--output {path}: a folder; expected the name of a file")
        _try_file(beside)
    except OSError as error:
        raise InputError(
            f"--output {path}: can't be written ({error.strerror}); check the permissions, or choose another name"
        ) from None


def make_output_folder(path: Path, option: str) -> None:
    """Make a folder for many files; raise `InputError` where it or a file in it can't be made.

    Args:
        path: The folder.
        option: That it was given by, for the message.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        _try_file(path / f".{os.getpid()}.part")
    except OSError as error:
        reason = "a file lies there" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise InputError(f"{option} {path}: no folder to write to ({reason}); choose another one") from None
