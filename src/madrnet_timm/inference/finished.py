"""Rows of a prediction as they come, in a file beside the table, so that an interrupted one can be taken up."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from ..errors import InputError

__all__ = ["FinishedRows", "Outcome", "finished_path"]

Outcome = dict[str, Any] | str
"""The row of an image, or why there is none."""

_logger = logging.getLogger(__name__)


def finished_path(table: Path) -> Path:
    """Where the rows of a table lie until it is whole: ``results.csv.part`` for ``results.csv``."""
    return table.with_name(f"{table.name}.part")


def _stamp(path: Path) -> list[int]:
    """Size and time of a file: another one means that it has changed since."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


class FinishedRows:
    """Outcomes of images, written as they come: a line of JSON each, below one that says how they are made.

    Args:
        path: The file, see `finished_path`.
        made_by: Digest of the model and every option that the rows depend on.
        resume: Take up what is there; else begin anew.

    The file is not touched before the first outcome is kept.

    Raises:
        InputError: Another model or other options, or a damaged file.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any], resume: bool = False) -> None:
        self.path = path
        self._outcomes: dict[str, tuple[list[int], Outcome]] = {}
        self._made_by = made_by
        self._file: TextIO | None = None
        self._full = False  # the disk
        self._kept = self._read(made_by) if resume and path.is_file() else 0  # bytes

    def _read(self, made_by: Mapping[str, Any]) -> int:
        """Take up the file; how many of its bytes are whole lines."""
        data = self.path.read_bytes()
        kept = data.rfind(b"\n") + 1
        if not kept:
            return 0
        try:
            begun, *found = (json.loads(line) for line in data[:kept].splitlines())
            other = [name for name in {**made_by, **begun} if begun.get(name) != made_by.get(name)]
            for item in found:
                outcome = item["row"] if "row" in item else str(item["skipped"])
                if isinstance(outcome, dict) and outcome["file"] != item["file"]:
                    raise ValueError("another file")
                self._outcomes[item["file"]] = item["stamp"], outcome
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(f"{self.path}: damaged; delete it, or leave --resume out to begin anew") from None
        if other:
            raise InputError(
                f"{self.path}: begun with {other[0]} {begun.get(other[0])}, not {made_by.get(other[0])}; "
                "give the same model and options, or leave --resume out to begin anew"
            )
        return kept

    def __len__(self) -> int:
        return len(self._outcomes)

    def get(self, path: Path) -> Outcome | None:
        """What came of an image; None where it is not done yet, or has changed since."""
        stamp, outcome = self._outcomes.get(str(path), (None, None))
        return outcome if stamp == _stamp(path) else None

    def add(self, outcomes: Sequence[tuple[Path, Outcome]]) -> None:
        """Keep what came of some images."""
        lines = []
        for path, outcome in outcomes:
            stamp = _stamp(path)
            self._outcomes[str(path)] = stamp, outcome
            kind = "row" if isinstance(outcome, dict) else "skipped"
            lines.append({"file": str(path), "stamp": stamp, kind: outcome})
        self._write(lines)

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if self._full:
            return
        try:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8", newline="\n")
                self._file.truncate(self._kept)  # a line that was cut off goes
                lines = lines if self._kept else [self._made_by, *lines]
            self._file.write("".join(f"{json.dumps(line)}\n" for line in lines))
            self._file.flush()
        except OSError as error:  # the rows themselves are not lost
            _logger.warning("%s: no more rows can be kept there (%s); going on without", self.path, error.strerror)
            self._full = True
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is still in its buffer finds no room
                self._file.close()
            self._file = None

    def remove(self) -> None:
        """The table is written: the file is no longer needed."""
        self._close()
        self.path.unlink(missing_ok=True)
