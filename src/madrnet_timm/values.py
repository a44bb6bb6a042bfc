"""Values of a file that somebody else may have written: each is checked when it is taken."""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError

__all__ = ["LONGEST_LINE", "REQUIRED", "Values", "is_line", "is_number", "read_json"]

REQUIRED: Any = object()
"""The default of a value that must be there."""

LONGEST_LINE = 200
"""Characters of a name, such as a class has."""

_LARGEST_FILE = 4 * 2**20
_LONGEST_LIST = 10_000
_LARGEST_COUNT = 10**9


def read_json(path: Path, largest: int = _LARGEST_FILE) -> "Values":
    """The JSON object that a file holds.

    Args:
        path: The file.
        largest: Most bytes that are read.

    Raises:
        InputError: It can't be read, holds no object, or is larger.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise InputError(f"{path}: {size} bytes; expected a JSON file of at most {largest}")
        return Values(json.loads(path.read_text(encoding="utf-8")), str(path))
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a JSON file that is to be read here") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); fetch or save it again") from None


class Values:
    """A JSON object. What is wrong with a value is one line that names the file and the key.

    Keys that nobody takes are ignored; a key that is missing, or null, has the default.

    Args:
        found: What was read.
        where: Name of the file, and of the key where the object lies in another.

    Raises:
        InputError: Not an object.
    """

    def __init__(self, found: Any, where: str) -> None:
        if not isinstance(found, dict):
            raise InputError(f"{where}: expected an object in braces, found {_shown(found)}")
        self.found: Mapping[str, Any] = found
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self.found.get(key) is not None

    def wrong(self, key: str, expected: str) -> InputError:
        """The error for a value, to be raised."""
        return InputError(f"{self.where}: {key} = {_shown(self.found.get(key))}; expected {expected}")

    def _take(self, key: str, default: Any, expected: str) -> Any:
        value = self.found.get(key)
        if value is None:
            if default is REQUIRED:
                raise InputError(f"{self.where}: {key} is missing; expected {expected}")
            return default
        return value

    def text(self, key: str, default: Any = REQUIRED, choices: Collection[str] = (), longest: int = 10_000) -> Any:
        """A string, one of ``choices`` if there are any."""
        expected = f"one of {', '.join(choices)}" if choices else f"a text of at most {longest} characters"
        value = self._take(key, default, expected)
        if value is default:
            return value
        if not _is_text(value, longest) or (choices and value not in choices):
            raise self.wrong(key, expected)
        return value

    def flag(self, key: str, default: Any = REQUIRED) -> Any:
        """true or false."""
        value = self._take(key, default, "true or false")
        if value is not default and not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(self, key: str, default: Any = REQUIRED, low: float = -math.inf, high: float = math.inf) -> Any:
        """A finite number from ``low`` to ``high``, as float."""
        expected = f"a number from {low:g} to {high:g}"
        value = self._take(key, default, expected)
        if value is default:
            return value
        if not is_number(value, low, high):
            raise self.wrong(key, expected)
        return float(value)

    def count(self, key: str, default: Any = REQUIRED, low: int = 0, high: int = _LARGEST_COUNT) -> Any:
        """A whole number from ``low`` to ``high``."""
        expected = f"a whole number from {low} to {high}"
        value = self._take(key, default, expected)
        if value is not default and not (isinstance(value, int) and is_number(value, low, high)):
            raise self.wrong(key, expected)
        return value

    def path(self, key: str, default: Any = REQUIRED) -> Any:
        """A path as a string; what is not UTF-8 in it is written as Python does."""
        value = self._take(key, default, "a path")
        if not isinstance(value, str) or len(value) > _LONGEST_LIST or "\0" in value:
            raise self.wrong(key, "a path")
        return value

    def items(self, key: str, default: Any = REQUIRED, expected: str = "a list", most: int = _LONGEST_LIST) -> Any:
        """A list of anything."""
        value = self._take(key, default, expected)
        if value is not default and not (isinstance(value, list) and len(value) <= most):
            raise self.wrong(key, expected)
        return value

    def texts(self, key: str, default: Any = REQUIRED, longest: int = LONGEST_LINE) -> Any:
        """A tuple of strings of one line, none of them empty."""
        expected = f"a list of texts of 1 to {longest} characters, each in one line"
        value = self.items(key, default, expected)
        if value is default:
            return value
        if not all(is_line(item, longest) for item in value):
            raise self.wrong(key, expected)
        return tuple(value)

    def numbers(
        self, key: str, default: Any = REQUIRED, length: int = 3, low: float = -math.inf, high: float = math.inf
    ) -> Any:
        """A tuple of ``length`` finite numbers from ``low`` to ``high``, as floats."""
        expected = f"a list of {length} numbers from {low:g} to {high:g}"
        value = self.items(key, default, expected)
        if value is default:
            return value
        if len(value) != length or not all(is_number(item, low, high) for item in value):
            raise self.wrong(key, expected)
        return tuple(map(float, value))

    def confusion_matrix(self, key: str, default: Any = REQUIRED, classes: int = 2) -> Any:
        """A tuple of ``classes`` rows of ``classes`` counts."""
        expected = f"{classes} rows of {classes} counts, one for each label"
        rows = self.items(key, default, expected)
        if rows is default:
            return rows
        square = len(rows) == classes and all(isinstance(row, list) and len(row) == classes for row in rows)
        if not square or not all(
            isinstance(cell, int) and is_number(cell, 0, _LARGEST_COUNT) for row in rows for cell in row
        ):
            raise self.wrong(key, expected)
        return tuple(map(tuple, rows))

    def objects(self, key: str, most: int = _LONGEST_LIST) -> "list[Values]":
        """A list of objects; an empty one where the key is missing."""
        found = self.items(key, (), "a list of objects", most)
        return [Values(item, f"{self.where}: {key}[{number}]") for number, item in enumerate(found)]

    def values(self, key: str) -> "Values":
        """An object; an empty one where the key is missing."""
        return Values(self._take(key, {}, "an object"), f"{self.where}: {key}")


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether it is a finite number in these bounds; true and false are none."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and abs(value) < 1e300
    )


def is_line(value: Any, longest: int = LONGEST_LINE) -> bool:
    """Whether it is a string of 1 to so many printable characters, not spaces alone, as a name is."""
    return _is_text(value, longest) and value.isprintable() and bool(value.strip())


def _is_text(value: Any, longest: int) -> bool:
    """Whether it is a string that can be written as UTF-8."""
    return isinstance(value, str) and len(value) <= longest and not any("\ud800" <= c <= "\udfff" for c in value)


def _shown(value: Any) -> str:
    """A value in a message, never longer than a line."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # deep, or a number of more digits than Python prints
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
