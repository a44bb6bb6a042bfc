"""Bars on the terminal; what is redirected to a file or a pipe holds none."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["progress"]

T = TypeVar("T")


def progress(items: Iterable[T], total: int, what: str, unit: str, shown_from: int = 1) -> Iterator[T]:
    """The items, with a bar on the terminal.

    Args:
        items: Gone through once.
        total: How many there are.
        what: Is being done, like ``"measuring"``.
        unit: What an item is.
        shown_from: A bar is shown from this many items on.
    """
    hidden = True if total < shown_from else None  # None: shown on a terminal
    return iter(tqdm(items, total=total, desc=what, unit=unit, disable=hidden))
