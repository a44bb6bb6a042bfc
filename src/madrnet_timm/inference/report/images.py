"""Images of the page: each head for the person who corrects, each field with the boxes of its heads."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import InputError
from ...morphology.field_overlay import free_place
from ...progress import progress
from ..counting import HeadCount, Row
from ..field_record import FieldRecord
from ..results import Results
from ..stored_images import StoredImages, data_address

__all__ = ["FieldView", "HeadView", "field_numbers", "field_views", "head_views"]

_MOST_HEADS = 1000
"""More images are too many to be looked at one by one, and too many for a page."""

_MOST_FIELDS = 150
_HEAD_SIDE = 128  # px
_FIELD_SIDES = ((40, 1000), (80, 800), (_MOST_FIELDS, 600))
"""Longest side in px of the fields' images where there are up to so many of them, for a page of less than 15 MB."""

_QUALITY = 75
_BOX = ("x0", "y0", "x1", "y1")
_LETTER = 0.62  # width of a bold letter or digit, of the size of the font

_Place = tuple[str, int | None]  # file and page


@dataclass(frozen=True)
class HeadView:
    """A head as the person sees it.

    Attributes:
        row: Of the table.
        address: Its image as a ``data:`` address; None where `missing` says why not.
        missing: Why there is no image; empty where there is one.
    """

    row: Row
    address: str | None
    missing: str = ""


@dataclass(frozen=True)
class FieldView:
    """A field of view with its heads.

    Attributes:
        number: By which the page calls it, see `field_numbers`.
        record: What is known about it.
        address: Its image as a ``data:`` address; None where `missing` says why not.
        heads: The rows that are counted, in the order of the table.
        border: The rows of heads at its border.
        missing: Why there is no image; empty where there is one.
    """

    number: int
    record: FieldRecord
    address: str | None
    heads: list[Row]
    border: list[Row]
    missing: str = ""

    @property
    def font_size(self) -> int:
        """Of the texts on the image, in its pixels."""
        return max(round(self.record.width / 45), 12)

    @property
    def texts(self) -> dict[int, tuple[int, int]]:
        """Left end and base line of the text at each head, by the row's number: where least is under it."""
        rows = [row for row in self.heads + self.border if None not in (row[name] for name in _BOX)]
        boxes = [(row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows]
        taken, out = list(boxes), {}
        for row, box in zip(rows, boxes, strict=True):
            width = round(_LETTER * self.font_size * len(f"{row['head']} W"))
            place = free_place(box, (width, self.font_size), taken, (self.record.width, self.record.height))
            taken.append(place)
            out[row["number"]] = place[0], place[3] - self.font_size // 6
        return out


def _address(image: NDArray[np.uint8], side: int) -> str:
    """A ``data:`` address of an image, made smaller to this side."""
    smaller = Image.fromarray(np.ascontiguousarray(image))
    smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_address(np.asarray(smaller), _QUALITY)


def head_views(results: Results, count: HeadCount) -> tuple[list[HeadView], int]:
    """The images that count, in the table's order, and how many are left out since there are too many."""
    rows = sorted(count.images, key=lambda row: row["number"])
    chosen, stored = rows[:_MOST_HEADS], StoredImages(results)

    def view(row: Row) -> HeadView:
        try:
            return HeadView(row, _address(stored.head(row), _HEAD_SIDE))
        except InputError as error:
            return HeadView(row, None, str(error))

    views = [view(row) for row in progress(chosen, len(chosen), "cutting out", "head", shown_from=100)]
    return views, len(rows) - len(chosen)


def _records(results: Results) -> dict[_Place, FieldRecord]:
    """The fields of a table; of those that the file beside it does not know, what their heads say."""
    found = {(record.file, record.page): record for record in results.info.fields}
    for row in results.rows:
        key = row["file"], row["page"]
        if row["head"] is not None and key not in found:
            found[key] = FieldRecord(*key, pixel_sha256=row["pixel_sha256"])
    return found


def field_numbers(results: Results) -> dict[_Place, int]:
    """Number from 1 of each field of a table, by its file and page."""
    return {key: number for number, key in enumerate(_records(results), 1)}


def field_views(results: Results, count: HeadCount) -> tuple[list[FieldView], int]:
    """The fields of a table, without those whose heads all count elsewhere, and how many are left out since there are
    too many.
    """
    rows = sorted(count.images + count.border, key=lambda row: row["number"])
    by_field: dict[_Place, list[Row]] = {}
    for row in rows:
        by_field.setdefault((row["file"], row["page"]), []).append(row)
    named = {(row["file"], row["page"]) for row in results.rows}
    known = {key: record for key, record in _records(results).items() if key in by_field or key not in named}
    chosen, stored, numbers = list(known.items())[:_MOST_FIELDS], StoredImages(results), field_numbers(results)
    side = next(side for most, side in _FIELD_SIDES if len(chosen) <= most)

    def view(key: _Place, record: FieldRecord) -> FieldView:
        own = by_field.get(key, [])
        heads, border = ([row for row in own if row["counted"] == counted] for counted in (True, False))
        try:
            image = stored.whole(*key, record.pixel_sha256)
        except InputError as error:
            return FieldView(numbers[key], record, None, heads, border, str(error))
        known = replace(record, width=image.shape[1], height=image.shape[0])
        return FieldView(numbers[key], known, _address(image, side), heads, border)

    views = [view(*item) for item in progress(chosen, len(chosen), "drawing", "field", shown_from=20)]
    return views, len(known) - len(chosen)
