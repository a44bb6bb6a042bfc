"""Bars on the terminal; what is redirected to a file or a pipe gets a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["progress"]

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 30.0


def progress(items: Iterable[T], total: int, what: str, unit: str, shown_from: int = 1) -> Iterator[T]:
    """The items, with a bar on the terminal, or a line every half minute where standard error is something else.

    Args:
        items: Gone through once.
        total: How many there are.
        what: Is being done, like ``"measuring"``.
        unit: What an item is.
        shown_from: A bar is shown from this many items on.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return iter(tqdm(items, total=total, desc=what, unit=unit, disable=total < shown_from))
    return _with_lines(items, total, what, unit)


def _with_lines(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - said >= _SECONDS_BETWEEN_LINES and done < total:
            print(f"{what}: {unit} {done} of {total} done", file=sys.stderr, flush=True)
            said = time.monotonic()
