"""What comes of a prediction: rows of a table, and what is known about them."""

from dataclasses import dataclass, field
from typing import Any

from .field_record import FieldRecord

__all__ = ["PLACE", "Predicted"]

PLACE = ("page", "head", "x0", "y0", "x1", "y1", "center_x", "center_y")
"""Columns that say where in its field a head lies; empty for a crop. They stand after ``file``."""


@dataclass
class Predicted:
    """What was found in many images.

    Attributes:
        rows: One per head, see `prediction_row`: of each crop, and of all heads of each field, in the images' order.
        skipped: A message for each file, or page of one, that could not be read.
        fields: The fields among the images, also those in which nothing was found.
        um_per_px: Micrometres per pixel, if it is known and the same for all.
        um_source: Where it comes from, see `FieldRecord`.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    fields: list[FieldRecord] = field(default_factory=list)
    um_per_px: float | None = None
    um_source: str = ""
