"""The heads of a field as an image: outlines, numbers, and a word about each."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..opencv import cv2

__all__ = ["HeadMark", "LegendEntry", "draw_field_overlay", "free_place"]

_SHIFT = 4
_LEAST_TEXT = 15  # px
_TEXT = 0.24  # of a head's length
_DASH = 0.16  # of a head's length
_WHITE = (255, 255, 255)

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class HeadMark:
    """A head as it is shown.

    Attributes:
        contour: Outline ``(points, 2)`` in the field's pixels.
        box: ``(x0, y0, x1, y1)`` of the head.
        text: Beside it, on a plate.
        colour: RGB of outline and plate; white letters can be read on it.
        dashed: The outline is, for a head that is in doubt.
    """

    contour: NDArray[np.float32]
    box: Box
    text: str
    colour: Colour
    dashed: bool = False


@dataclass(frozen=True)
class LegendEntry:
    """What a letter of the marks stands for."""

    letter: str
    words: str
    colour: Colour


def draw_field_overlay(
    image: NDArray[np.uint8], marks: Sequence[HeadMark], legend: Sequence[LegendEntry] = (), note: str = ""
) -> NDArray[np.uint8]:
    """Draw the outline of each head, and its text beside it where there is room.

    Args:
        image: The field, RGB ``(height, width, 3)`` uint8.
        marks: Its heads.
        legend: For a strip below the field; without entries and note there is none.
        note: A line of text at the end of the legend.

    Returns:
        RGB uint8 of the field's width; the strip makes it higher.
    """
    canvas = image.copy()
    sides = [max(mark.box[2] - mark.box[0], mark.box[3] - mark.box[1]) for mark in marks]
    length = float(np.median(sides)) if sides else 60.0
    for mark in marks:
        _outline(canvas, mark, length)
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(max(round(_TEXT * length), _LEAST_TEXT))
    taken = [mark.box for mark in marks]
    for mark in marks:
        _plate(pen, font, mark, taken, drawn.size)
    strip = _legend(drawn.width, legend, note)
    return np.asarray(drawn) if strip is None else np.vstack([np.asarray(drawn), strip])


def _outline(canvas: NDArray[np.uint8], mark: HeadMark, length: float) -> None:
    if not len(mark.contour):
        return
    points = np.rint(np.vstack([mark.contour, mark.contour[:1]]) * 2**_SHIFT).astype(np.int32)
    pieces = [points]
    if mark.dashed:
        steps = np.hypot(*np.diff(mark.contour, axis=0, append=mark.contour[:1]).T)
        dashes = (np.concatenate([[0], np.cumsum(steps)]) / (_DASH * length)).astype(int)
        edges = np.flatnonzero(np.diff(dashes)) + 1
        pieces = [piece for number, piece in enumerate(np.split(points, edges)) if number % 2 == 0]
    width = max(round(length / 45), 2)
    for colour, thickness in ((_WHITE, width + 2), (mark.colour, width)):
        cv2.polylines(canvas, pieces, False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _plate(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    mark: HeadMark,
    taken: list[Box],
    size: tuple[int, int],
) -> None:
    """The text of a mark, at the first place around its head that nothing takes; ``taken`` grows by it."""
    left, top, right, bottom = pen.textbbox((0, 0), mark.text, font=font)
    least = free_place(mark.box, (round(right - left) + 8, round(bottom - top) + 6), taken, size)
    pen.rectangle((least[0], least[1], least[2] - 1, least[3] - 1), fill=mark.colour, outline=_WHITE)
    pen.text((least[0] + 4 - left, least[1] + 3 - top), mark.text, fill=_WHITE, font=font)
    taken.append(least)


def free_place(box: Box, text: tuple[int, int], taken: Sequence[Box], size: tuple[int, int]) -> Box:
    """Where around a head a text has least of what is taken under it.

    Args:
        box: Of the head.
        text: Width and height of the text.
        taken: By other heads, whose boxes are among them, and by other texts.
        size: Width and height of the image.
    """
    (x0, y0, x1, y1), (width, height) = box, text
    middle_x, middle_y = (x0 + x1 - width) // 2, (y0 + y1 - height) // 2
    places = [
        (x1 + 2, y0 - height // 2), (x0 - width - 2, y0 - height // 2), (x1 + 2, y1 - height // 2),
        (x0 - width - 2, y1 - height // 2), (middle_x, y0 - height - 3), (middle_x, y1 + 3),
        (x1 + 3, middle_y), (x0 - width - 3, middle_y),
    ]  # fmt: skip
    boxes = [(x, y, x + width, y + height) for x, y in places]
    inside = [one for one in boxes if one[0] >= 0 and one[1] >= 0 and one[2] <= size[0] and one[3] <= size[1]]
    others = [other for other in taken if other != box]
    return min(inside or boxes[:1], key=lambda one: sum(_overlap(one, other) for other in others))


def _overlap(one: Box, other: Box) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _legend(width: int, legend: Sequence[LegendEntry], note: str) -> NDArray[np.uint8] | None:
    """A strip of text, as many lines as it needs."""
    if not legend and not note:
        return None
    font = ImageFont.load_default(16)
    measured = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    items = [(entry.letter, entry.words, entry.colour) for entry in legend]
    lines = textwrap.wrap(note, max(int((width - 16) / measured.textlength("n", font=font)), 10))
    items += [("", line, (60, 60, 60)) for line in lines]
    places, x, y = [], 8, 6
    for letter, words, _ in items:
        plate = measured.textlength(letter, font=font) + 10 if letter else 0
        whole = plate + 6 + measured.textlength(words, font=font) + 18
        if x > 8 and x + whole > width:
            x, y = 8, y + 26
        places.append((x, y, round(plate)))
        x += round(whole)
    strip = Image.new("RGB", (width, y + 28), "white")
    pen = ImageDraw.Draw(strip)
    for (letter, words, colour), (left, top, plate) in zip(items, places, strict=True):
        if letter:
            pen.rectangle((left, top, left + plate - 2, top + 20), fill=colour)
            pen.text((left + 4, top + 1), letter, fill=_WHITE, font=font)
        pen.text((left + plate + 6, top + 1), words, fill=(30, 30, 30), font=font)
    return np.asarray(strip)
