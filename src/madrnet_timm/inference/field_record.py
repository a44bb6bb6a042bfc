"""What is known about a field of view from which rows of a table came: the list ``fields`` of the file beside it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..values import Values

__all__ = ["FieldRecord"]

_MANY = 1_000_000


@dataclass(frozen=True)
class FieldRecord:
    """A field that was searched for heads.

    Attributes:
        file: As it was named; with ``page`` it is that of the table's rows.
        page: Number from 1 within a file of several pages, else None.
        width: Of the field in pixels.
        height: Of the field in pixels.
        heads: Number of its rows in the table, those at the border among them.
        at_border: Number of heads at the border, which have rows but do not count.
        head_length: Median length of its heads in pixels, None without one.
        crop_side: Side in pixels of the squares around the heads that the model was shown, None without a head.
        um_per_px: Micrometres per pixel, None if unknown.
        um_source: Where that comes from: ``--um-per-px``, ``TIFF resolution``, ``ImageJ``, ``OME-XML``; or why what
            the file says is not believed; empty where nothing says it.
        reason: Why nothing was found; empty where something was.
        pixel_sha256: Of the field's pixels, as in its rows.
    """

    file: str
    page: int | None = None
    width: int = 0
    height: int = 0
    heads: int = 0
    at_border: int = 0
    head_length: float | None = None
    crop_side: int | None = None
    um_per_px: float | None = None
    um_source: str = ""
    reason: str = ""
    pixel_sha256: str = ""

    @classmethod
    def read(cls, values: Values) -> "FieldRecord":
        """Check what was read.

        Raises:
            InputError: A value that can't be; the message names file and key.
        """
        return cls(
            file=values.path("file"),
            page=values.count("page", None, 1),
            width=values.count("width", 0, 0, _MANY),
            height=values.count("height", 0, 0, _MANY),
            heads=values.count("heads", 0, 0, _MANY),
            at_border=values.count("at_border", 0, 0, _MANY),
            head_length=values.number("head_length", None, 0),
            crop_side=values.count("crop_side", None, 1, _MANY),
            um_per_px=values.number("um_per_px", None, 1e-9, 1e9),
            um_source=values.text("um_source", ""),
            reason=values.text("reason", ""),
            pixel_sha256=values.text("pixel_sha256", "", longest=64),
        )

    def to_dict(self) -> Mapping[str, Any]:
        """For JSON."""
        return asdict(self)
