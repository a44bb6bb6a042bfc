"""What the images of a table count for: copies once, heads only, doubtful ones apart."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..evaluation.prevalence import NormalShare, normal_share
from .results import Results
from .screen import NO_SPERM

__all__ = ["HeadCount", "Row", "count_slides", "doubts", "machine_says", "normal_class", "share_of", "shows_no_head"]

Row = dict[str, Any]

_REASONS = ("the model abstains", "unlike its training images", "outline not to be trusted")


@dataclass(frozen=True)
class HeadCount:
    """The images of a table, each in one of four lists, by `count_slides`.

    Attributes:
        copies: Number of rows that do not count, since an earlier one of the table has the same pixels.
        shared: Number of images that do not count, since they are on the first slide, too.
        border: Heads at the border of their field, of which a part may be missing: in no other list.
        no_head: Images that show no head: of the model's class for that, or with the flag ``no_head`` or
            ``no_sperm``.
        doubtful: Heads with `doubts`.
        decided: The other heads.
    """

    copies: int
    shared: int
    border: list[Row]
    no_head: list[Row]
    doubtful: list[Row]
    decided: list[Row]

    @property
    def heads(self) -> list[Row]:
        """All heads, doubtful ones too."""
        return self.decided + self.doubtful

    @property
    def images(self) -> list[Row]:
        """All images but heads at the border of a field."""
        return self.heads + self.no_head

    @property
    def perhaps_heads(self) -> list[Row]:
        """Images of the model's class without a head, of which that is in doubt."""
        return [row for row in self.no_head if machine_says(row) is not None and doubts(row)]

    @property
    def reasons(self) -> Counter[str]:
        """Number of heads with each doubt; a head may have several."""
        return Counter(reason for row in self.doubtful for reason in doubts(row))


def doubts(row: Row) -> list[str]:
    """Why the class of a head is not to be counted without a look; empty where there is no reason."""
    found = (row["abstain"], row["out_of_domain"], not row["ok"])
    return [reason for reason, there in zip(_REASONS, found, strict=True) if there]


def machine_says(row: Row) -> str | None:
    """The model's class; None where no head was found, or where the screen takes it for no sperm."""
    return None if {"no_head", NO_SPERM} & set(row["flags"].split()) else row["prediction"]


def shows_no_head(row: Row, no_head_class: str | None) -> bool:
    """Whether the machine sees no head: by the flag ``no_head`` or ``no_sperm``, or by the model's class for that."""
    return machine_says(row) in (None, no_head_class)


def share_of(rows: Sequence[Row], normal: str | None) -> NormalShare | None:
    """Share of the heads of the class ``normal``; None without such a class or without heads."""
    if normal is None or not rows:
        return None
    return normal_share(sum(row["prediction"] == normal for row in rows), len(rows))


def normal_class(results: Results, name: str | None = None) -> str | None:
    """The class that means a normal head: the one named, the model's own, or one called "normal"; None without any.

    Raises:
        InputError: The model has no class of the name given, or it is the one without a head.
    """
    labels = [label for label in results.info.label_names if label != results.info.no_head_class]
    if name is None and results.info.normal_class is not None:
        return results.info.normal_class
    wanted = (name or "normal").casefold()
    found = [label for label in labels if label == name] or [label for label in labels if label.casefold() == wanted]
    if name is not None and not found:
        raise InputError(
            f"--normal-class {name}: {results.path} has no such class; expected one of {', '.join(labels)}"
        )
    return found[0] if found else None


def count_slides(slides: Sequence[Results]) -> list[HeadCount]:
    """Count the images of one slide, or of two slides of one sample; what both show counts for the first one.

    Raises:
        InputError: A table without images, or one whose images are all in the other, too.
    """
    out: list[HeadCount] = []
    before: dict[tuple[str, int | None], Row] = {}
    for number, results in enumerate(slides):
        if not results.rows:
            fields = len(results.info.fields)
            why = f"no head was found in its fields ({fields})" if fields else "holds no images"
            raise InputError(f"{results.path}: {why}; nothing to report")
        own = {_identity(results, row): row for row in reversed(results.rows)}  # of copies the first one
        if number and own.keys() <= before.keys():
            raise InputError(
                f"{slides[0].path} and {results.path}: all {len(own)} images of the second are in the first, too; "
                "expected two slides of one sample, with images of their own"
            )
        rows = [row for key, row in reversed(own.items()) if key not in before]
        out.append(_divided(results, rows, len(results.rows) - len(own), len(own) - len(rows)))
        before |= own
    return out


def _identity(results: Results, row: Row) -> tuple[str, int | None]:
    """What copies of an image, or of a head of a field, have in common; in tables of version 0.1.0 its path alone."""
    image = row["pixel_sha256"] or os.path.abspath(os.path.join(results.info.directory, row["file"]))
    return image, row["head"]


def _divided(results: Results, rows: Sequence[Row], copies: int, shared: int) -> HeadCount:
    count = HeadCount(copies, shared, [], [], [], [])
    for row in rows:
        if not row["counted"]:
            count.border.append(row)
        elif shows_no_head(row, results.info.no_head_class):
            count.no_head.append(row)
        else:
            (count.doubtful if doubts(row) else count.decided).append(row)
    return count
