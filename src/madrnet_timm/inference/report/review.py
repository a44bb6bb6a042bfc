"""What a person said of the heads of a table: the file that the page saves, and the count with it."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...cells import flag_of
from ...errors import InputError
from ...evaluation.agreement import Agreement, agreement
from ...evaluation.prevalence import NormalShare, normal_share
from ...files import read_csv, sha256_of
from ..counting import HeadCount, doubts, machine_says, shows_no_head
from ..results import Results

__all__ = ["COLUMNS", "Review", "ReviewedCount", "heads_digest", "read_reviews", "reviewed_count", "with_review"]

COLUMNS = ("table", "row", "file", "page", "head", "machine", "person", "struck", "reviewer", "saved")
"""Of the file that the page saves. ``row`` counts the table's rows from 1; ``struck`` is True where the person struck
the head out; both ``person`` and ``struck`` are empty where nobody looked."""

_PLACE = ("page", "head", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Review:
    """What a person said of the heads of one table.

    Attributes:
        judged: By number of the row, from 1: the class that the person gave the head, None where it was struck out.
        files: Names and hashes of the files that say so.
        reviewers: Who looked, as written there.
        saved: When the last of the files was saved.
    """

    judged: Mapping[int, str | None] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    reviewers: tuple[str, ...] = ()
    saved: str = ""


@dataclass(frozen=True)
class ReviewedCount:
    """What the heads of a slide count for after a person has looked.

    Attributes:
        classes: Number of heads of each class: the person's where there is one, else the machine's; doubtful heads
            that nobody looked at are left out.
        share: Share of normal heads among them.
        own: Share of normal heads among those that a person gave a class.
        judged: Number of heads that a person looked at.
        changed: Number of those with another class than the machine's.
        struck: Number of those that the person struck out, so that they do not count.
        agreement: Of person and machine, among the heads that a person gave a class.
    """

    classes: Counter[str]
    share: NormalShare | None
    own: NormalShare | None
    judged: int
    changed: int
    struck: int
    agreement: Agreement | None


def heads_digest(results: Results) -> str:
    """A mark of the heads of a table, whatever the files are called and whichever model classified them."""
    digest = hashlib.sha256()
    for row in results.rows:
        head = [row["pixel_sha256"] or row["file"], *(row[name] for name in _PLACE)]
        digest.update(json.dumps(head).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]


def _read_row(where: str, cells: Mapping[str, str], results: Results) -> tuple[int, str | None] | None:
    """Number and class (None: struck out) of a head that a person looked at; None if nobody did."""
    try:
        number = int(cells["row"])
    except ValueError:
        number = 0
    if not 1 <= number <= len(results.rows):
        raise InputError(f"{where}: row {cells['row']!r}; expected a number from 1 to {len(results.rows)}")
    struck = flag_of(cells["struck"]) if cells["struck"].strip() else False
    if struck is None:
        raise InputError(f"{where}: struck {cells['struck']!r}; expected True, or nothing")
    label = cells["person"]
    if struck:
        return number, None
    if not label:
        return None
    if label not in results.info.label_names:
        raise InputError(f"{where}: person {label!r}; expected one of {', '.join(results.info.label_names)}")
    return number, label


@dataclass
class _Gathered:
    """What the files read so far say of one table."""

    judged: dict[int, str | None] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    reviewers: dict[str, None] = field(default_factory=dict)
    saved: str = ""

    def add(self, where: str, number: int, label: str | None) -> None:
        if self.judged.setdefault(number, label) != label:
            raise InputError(f"{where}: row {number} is judged twice, and differently; give one file for each table")


def read_reviews(paths: Sequence[Path], slides: Sequence[Results]) -> list[Review]:
    """Read what a person said of the heads of some tables, one `Review` for each.

    Args:
        paths: Files that the page saved.
        slides: The tables.

    Raises:
        InputError: A file can't be read, is no such file, belongs to another table, or contradicts another one.
    """
    gathered = [_Gathered() for _ in slides]
    tables = {heads_digest(both[0]): both for both in zip(slides, gathered, strict=True)}
    for path in paths:
        if not path.is_file():
            raise InputError(f"--reviewed {path}: no such file; expected the one that the report's page saved")
        digest, rows = sha256_of(path), read_csv(path)
        if not rows:
            raise InputError(f"{path}: holds no heads, so there is nothing to take from it")
        for line, cells in enumerate(rows, 2):
            if missing := [name for name in COLUMNS if name not in cells]:
                raise InputError(f"{path}: has no column {missing[0]}; expected the file that the report's page saved")
            if cells["table"] not in tables:
                names = " or ".join(str(results.path) for results in slides)
                raise InputError(f"{path}: belongs to the heads of another table, not to those of {names}")
            results, own = tables[cells["table"]]
            where = f"{path}, line {line}"
            found = _read_row(where, cells, results)
            if found is not None:
                own.add(where, *found)
                own.files[path.name] = digest
                own.saved = max(own.saved, cells["saved"])
                own.reviewers |= dict.fromkeys(filter(None, [cells["reviewer"].strip()]))
    return [Review(own.judged, tuple(own.files.items()), tuple(own.reviewers), own.saved) for own in gathered]


def with_review(results: Results, review: Review) -> Results:
    """A table whose rows have ``number`` from 1, ``judged``, and ``person``: its class, None where struck out or not
    judged.
    """
    rows = [
        row | {"number": number, "judged": number in review.judged, "person": review.judged.get(number)}
        for number, row in enumerate(results.rows, 1)
    ]
    return dataclasses.replace(results, rows=rows)


def reviewed_count(count: HeadCount, results: Results, normal: str | None) -> ReviewedCount:
    """Count the heads of a slide, the person's word before the machine's.

    Args:
        count: Of the table `with_review`.
        results: The table.
        normal: Its class of normal heads, if any.
    """
    classes: Counter[str] = Counter()
    own: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []
    judged = struck = 0
    no_head = results.info.no_head_class
    for row in count.images:
        if not row["judged"]:
            if not shows_no_head(row, no_head) and not doubts(row):
                classes[row["prediction"]] += 1
            continue
        judged += 1
        if row["person"] is None:
            struck += 1
            continue
        pairs.append((row["person"], machine_says(row) or ""))
        if row["person"] != no_head:
            classes[row["person"]] += 1
            own[row["person"]] += 1

    def share(found: Counter[str]) -> NormalShare | None:
        total = found.total()
        return None if normal is None or not total else normal_share(found[normal], total)

    people, machine = [one for one, _ in pairs], [other for _, other in pairs]
    return ReviewedCount(
        classes, share(classes), share(own), judged, sum(one != other for one, other in pairs), struck,
        agreement(people, machine) if pairs else None,
    )  # fmt: skip
