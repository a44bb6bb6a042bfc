"""What came of images, in a file beside the table, so that an interrupted prediction can be taken up.

In memory there is no more than where in the file each image stands, however many heads there are.
"""

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from ..data.pages import Page
from ..data.scale import SlideScale
from ..errors import InputError
from ..values import Values
from .field_record import FieldRecord
from .predicted import Outcome, Row

__all__ = ["FinishedRows", "StoredRows", "finished_path", "share_path", "share_paths", "work_digest"]

_logger = logging.getLogger(__name__)

_Key = tuple[str, int | None]


def finished_path(table: Path) -> Path:
    """Where the rows of a table lie until it is whole: ``results.csv.part`` for ``results.csv``."""
    return table.with_name(f"{table.name}.part")


def share_path(table: Path, process: int) -> Path:
    """Where one of several processes, not the first, keeps its rows: ``results.csv.part-1``."""
    return table.with_name(f"{finished_path(table).name}-{process}")


def share_paths(table: Path) -> list[Path]:
    """The files of such processes that are there."""
    begin = f"{finished_path(table).name}-"
    found = [path for path in table.parent.iterdir() if path.name.startswith(begin)]
    return sorted(path for path in found if path.name.removeprefix(begin).isdecimal())


def _stamp(page: Page, slide: SlideScale) -> tuple[float, ...]:
    """Size and time of a page's file, and its scale: another one means that its outcome has changed since."""
    try:
        found = page.path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, *slide.known_of(page)


def _shown(value: Any) -> str:
    """An option's value for a message; of a digest the first digits."""
    text = str(value)
    return f"{text[:8]}..." if re.fullmatch("[0-9a-f]{64}", text) else text


def _key(page: Page) -> _Key:
    return str(page.path), page.number


def work_digest(made_by: Mapping[str, Any], pages: Sequence[Page], slide: SlideScale) -> str:
    """The images as they are now, and everything else that a table of them depends on: a sha256."""
    images = [[*_key(page), *_stamp(page, slide)] for page in pages]
    return hashlib.sha256(json.dumps([made_by, images]).encode()).hexdigest()


def _line(page: Page, stamp: Sequence[float], outcome: Outcome) -> dict[str, Any]:
    line = {"file": str(page.path), "page": page.number, "stamp": stamp}
    if outcome.skipped:
        return line | {"skipped": outcome.skipped}
    field = {} if outcome.field is None else {"field": outcome.field.to_dict()}
    return line | {"rows": outcome.rows} | field


def _outcome(line: Mapping[str, Any]) -> Outcome:
    """What a line says.

    Raises:
        ValueError, KeyError, TypeError, InputError: It is not such a line.
    """
    if "skipped" in line:
        return Outcome(skipped=str(line["skipped"]))
    for row in line["rows"]:
        if row["file"] != line["file"]:
            raise ValueError("another file")
    field = FieldRecord.read(Values(line["field"], "field")) if "field" in line else None
    return Outcome(tuple(line["rows"]), field)


class FinishedRows:
    """Outcomes of images, written as they come: a line of JSON each, below one that says how they are made.

    Args:
        path: The file, see `finished_path`.
        made_by: Digest of the model and every option that the rows depend on.
        slide: Scale of the images. What came of an image at another scale, as other images of the slide may bring, does
            not count as done.
        resume: Take up what is there; else begin anew.
        needed: Another process will read the file: where the disk is full, nothing is done without it.

    The file is not touched before the first outcome is kept.

    Raises:
        InputError: Another model or other options, or a damaged file.
    """

    def __init__(
        self, path: Path, made_by: Mapping[str, Any], slide: SlideScale, resume: bool = False, needed: bool = False
    ) -> None:
        self.path = path
        self._slide = slide
        self._needed = needed
        self._places: dict[_Key, tuple[tuple[float, ...], int | Outcome]] = {}  # stamp, and where in the file it stands
        self._made_by = made_by
        self._file: IO[bytes] | None = None
        self._full = False  # the disk
        self._kept = 0  # bytes
        if resume and path.is_file():
            self._read()

    def _read(self) -> None:
        """Take up the whole lines of the file."""
        for line, data in self._whole_lines(self.path):
            if line is not None:
                self._places[line["file"], line["page"]] = tuple(line["stamp"]), self._kept
            self._kept += len(data)

    def _whole_lines(self, path: Path) -> Iterator[tuple[dict[str, Any] | None, bytes]]:
        """The lines of a file, checked; None for that which says how the others are made."""
        try:
            with path.open("rb") as opened:
                for number, data in enumerate(opened):
                    if not data.endswith(b"\n"):
                        break
                    line = json.loads(data)
                    if number == 0:
                        self._check(line, path)
                    else:
                        _outcome(line)
                        _ = line["page"], tuple(line["stamp"])
                    yield (line if number else None), data
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError) as error:
            if isinstance(error, InputError) and str(path) in str(error):
                raise
            raise InputError(f"{path}: damaged; delete it, or leave --resume out to begin anew") from None

    def take(self, path: Path) -> None:
        """Add what another process has kept in a file of the same kind, and remove that file.

        Raises:
            InputError: Another model or other options, or a damaged file.
        """
        for line, data in self._whole_lines(path):
            if line is not None:
                place = self._written(data)
                self._places[line["file"], line["page"]] = (
                    tuple(line["stamp"]), _outcome(line) if place is None else place,
                )  # fmt: skip
        path.unlink()

    def _check(self, begun: Mapping[str, Any], path: Path) -> None:
        for name in {**self._made_by, **begun}:
            if begun.get(name) != self._made_by.get(name):
                before, now = (_shown(made_by.get(name)) for made_by in (begun, self._made_by))
                raise InputError(
                    f"{path}: begun with {name} {before}, not {now}; give the same model and options, or leave "
                    "--resume out to begin anew"
                )

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, page: Page) -> bool:
        """It is done, and has not changed since."""
        found = self._places.get(_key(page))
        return found is not None and found[0] == _stamp(page, self._slide)

    def outcomes(self, pages: Sequence[Page]) -> Iterator[Outcome]:
        """What came of images, each of which is done."""
        with ExitStack() as stack:
            opened: IO[bytes] | None = None
            for page in pages:
                _, place = self._places[_key(page)]
                if isinstance(place, Outcome):
                    yield place
                    continue
                opened = opened or stack.enter_context(self.path.open("rb"))
                opened.seek(place)
                yield _outcome(json.loads(opened.readline()))

    def add(self, page: Page, outcome: Outcome) -> None:
        """Keep what came of an image."""
        stamp = _stamp(page, self._slide)
        place = self._written(f"{json.dumps(_line(page, stamp, outcome))}\n".encode())
        self._places[_key(page)] = stamp, outcome if place is None else place

    def _written(self, data: bytes) -> int | None:
        """Where in the file it stands; None where the disk takes no more."""
        if self._full:
            return None
        try:
            if self._file is None:
                self._file = self.path.open("r+b" if self._kept else "wb")
                self._file.truncate(self._kept)  # a line that was cut off goes
                self._file.seek(self._kept)
                if not self._kept:
                    self._kept = self._file.write(f"{json.dumps(self._made_by)}\n".encode())
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            if self._needed:
                raise InputError(f"{self.path}: can't be written: {error.strerror}") from None
            # the rows themselves are not lost
            _logger.warning("%s: no more rows can be kept there (%s); going on without", self.path, error.strerror)
            self._full = True
            self._close()
            return None
        place, self._kept = self._kept, self._kept + len(data)
        return place

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is still in its buffer finds no room
                self._file.close()
            self._file = None

    def remove(self) -> None:
        """The table is written: the file is no longer needed."""
        self._close()
        self.path.unlink(missing_ok=True)


class StoredRows(Collection[Row]):
    """The rows of images that are done, read from the file each time that they are gone through.

    Args:
        finished: Where they lie.
        pages: The images, in order.
    """

    def __init__(self, finished: FinishedRows, pages: Sequence[Page]) -> None:
        self._finished, self._pages = finished, pages
        self._count = sum(len(outcome.rows) for outcome in finished.outcomes(pages))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return (row for outcome in self._finished.outcomes(self._pages) for row in outcome.rows)

    def __contains__(self, row: object) -> bool:
        return any(row == found for found in self)
