"""Images that are made of what is predicted: crops of a field's heads, outlines and classes on a field or a crop."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.crops import HeadCrop
from ..data.kinds import nothing_found
from ..data.pages import Page, page_name
from ..data.reading import names_below
from ..files import write_image
from ..morphology import draw_overlay
from ..morphology.field_overlay import HeadMark, LegendEntry, draw_field_overlay
from .class_marks import Mark
from .counting import doubts, machine_says
from .predicted import Row
from .screen import NO_SPERM

__all__ = ["FieldImages", "field_overlay"]

_NO_SPERM_COLOUR = (85, 85, 85)


def field_overlay(
    image: NDArray[np.uint8],
    rows: Sequence[Row],
    contours: Sequence[NDArray[np.float32]],
    marks: dict[str, Mark],
    reason: str = "",
) -> NDArray[np.uint8]:
    """A field with each head's outline, number and class: colour and letter, so that it can be read without colour.

    A doubtful head has a dashed outline and a question mark, one at the border brackets, one that the screen takes for
    no sperm a cross.

    Args:
        image: The field, RGB ``(height, width, 3)`` uint8.
        rows: Of its heads, see `prediction_row`.
        contours: Of these heads, in the field's pixels.
        marks: Of the model's classes, see `class_marks`.
        reason: Why nothing was found; it is written below the field.
    """
    if reason:
        return draw_field_overlay(image, (), (), nothing_found(reason))
    shown = []
    for row, contour in zip(rows, contours, strict=True):
        mark = marks[row["prediction"]]
        is_none = NO_SPERM in row["flags"].split()
        doubtful = bool(doubts(row))
        text = f"{row['head']} {'x' if is_none else mark.letter}{'?' if doubtful and not is_none else ''}"
        box = (row["x0"], row["y0"], row["x1"], row["y1"])
        colour = _NO_SPERM_COLOUR if is_none else mark.colour
        shown.append(HeadMark(contour, box, text if row["counted"] else f"({text})", colour, doubtful or is_none))
    counts = Counter(
        "" if NO_SPERM in row["flags"].split() else row["prediction"] for row in rows if row["counted"]
    )  # the marks in brackets are not among them
    legend = [LegendEntry(mark.letter, f"{name}: {counts[name]}", mark.colour) for name, mark in marks.items()]
    if counts[""]:
        legend.append(LegendEntry("x", f"no sperm: {counts['']}", _NO_SPERM_COLOUR))
    note = "? and dashed: in doubt;  ( ): at the border, not counted.  Research use only; not a medical device"
    return draw_field_overlay(image, shown, legend, note)


@dataclass(frozen=True)
class FieldImages:
    """Where the images of fields and crops are written.

    Attributes:
        names: Of the images made from each file, see `names_below`.
        marks: Of the model's classes.
        crops: Folder of the crops; None for none.
        overlay: Folder of the images with outlines; None for none.
    """

    names: dict[Path, str]
    marks: dict[str, Mark]
    crops: Path | None = None
    overlay: Path | None = None

    @classmethod
    def of(
        cls, paths: Sequence[Path], marks: dict[str, Mark], crops: Path | None, overlay: Path | None
    ) -> "FieldImages":
        """For some files."""
        return cls(dict(zip(paths, names_below(paths), strict=True)), marks, crops, overlay)

    def write_crop(self, page: Page, crop: HeadCrop, row: Row) -> None:
        """Write the overlay of an image that is a crop: what was measured, its class, and ``?`` where that is in doubt.

        Raises:
            InputError: It can't be written.
        """
        if self.overlay is None:
            return
        said = machine_says(row)
        text = "" if said is None else f"{said} {100 * row['probability']:.0f} %{' ?' if doubts(row) else ''}"
        drawn = draw_overlay(crop.image, crop.head, text=text)
        write_image(self.overlay / page_name(self.names[page.path], page), drawn, parents=True)

    def write(
        self,
        page: Page,
        image: NDArray[np.uint8] | None,
        crops: Sequence[HeadCrop],
        rows: Sequence[Row],
        reason: str = "",
    ) -> None:
        """Write the crops and the overlay of a field, on which ``reason`` stands where nothing was found.

        Raises:
            InputError: They can't be written.
        """
        name = page_name(self.names[page.path], page).removesuffix(".png")
        if self.crops is not None:
            for number, crop in enumerate(crops, 1):
                write_image(self.crops / f"{name}-head{number:02}.png", crop.image, parents=True)
        if self.overlay is not None and image is not None:
            contours = [crop.head.contour + np.array(crop.origin, dtype=np.float32) for crop in crops]
            drawn = field_overlay(image, rows, contours, self.marks, reason)
            write_image(self.overlay / f"{name}.png", drawn, parents=True)
