"""What comes of a prediction: rows of a table, and what is known about them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .field_record import FieldRecord

if TYPE_CHECKING:
    from ..hub.model_folder import ModelFolder

__all__ = ["BETWEEN", "Outcome", "Predicted", "Row"]

Row = dict[str, Any]

BETWEEN = " / "
"""Stands between the classes of a prediction set: no folder's name, which a class may be, has a slash."""


@dataclass(frozen=True)
class Outcome:
    """What came of an image.

    Attributes:
        rows: Of a crop one, of a field one for each head.
        field: Of a field.
        skipped: Why the image could not be read; empty where it could.
    """

    rows: tuple[Row, ...] = ()
    field: FieldRecord | None = None
    skipped: str = ""


@dataclass
class Predicted:
    """What was found in many images.

    Attributes:
        rows: One per head, see `prediction_row`: of each crop, and of all heads of each field, in the images' order.
        columns: Of the rows, where there are none, too.
        skipped: A message for each file, or page of one, that could not be read.
        fields: The fields among the images, also those in which nothing was found.
        um_per_px: Micrometres per pixel, if it is known and the same for all.
        um_source: Where it comes from, see `FieldRecord`.
        screen: Folder of the model that decided what is no sperm, if any.
        abstained: Number of rows on which the model abstains.
        outside: Number of rows that are unlike its training images.
        no_sperm: Number of rows that are no sperm by the screen.
        by_look: What those images were taken for, ``field`` or ``crop``, whose size did not tell it.
    """

    rows: Collection[Row] = field(default_factory=list)
    columns: Sequence[str] = ()
    skipped: list[str] = field(default_factory=list)
    fields: list[FieldRecord] = field(default_factory=list)
    um_per_px: float | None = None
    um_source: str = ""
    screen: "ModelFolder | None" = None
    abstained: int = 0
    outside: int = 0
    no_sperm: int = 0
    by_look: Counter[str] = field(default_factory=Counter)
