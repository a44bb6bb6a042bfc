"""What the page says of a number, a head or a table, in its templates' filters and functions."""

import re
from collections.abc import Sequence

from ...cells import printable
from ..class_marks import Mark
from ..counting import Row, machine_says, shows_no_head
from ..field_record import FieldRecord
from .slide import Slide

__all__ = [
    "counted",
    "empty_fields",
    "file_name",
    "has_box",
    "head_label",
    "head_name",
    "judged_state",
    "machine_says",
    "nothing_there",
    "object_of",
    "percent",
    "person_says",
    "scale_of",
    "shown_mark",
    "spaced",
    "without_head",
]

_NO_CLASS = Mark("–", (85, 85, 85))
_STRUCK = Mark("✗", (85, 85, 85))


def percent(value: float) -> str:
    """``4.0 %``."""
    return f"{100 * value:.1f} %"


def counted(number: int, noun: str) -> str:
    """``1 head``, ``2 heads``."""
    plural = f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def spaced(text: str) -> str:
    """A word of the table as people write it."""
    return text.replace("_", " ")


def empty_fields(slide: Slide) -> list[FieldRecord]:
    """Fields in which nothing was found."""
    return [record for record in slide.results.info.fields if record.reason]


def has_box(row: Row) -> bool:
    """Whether the table says where in its field a head lies."""
    return None not in (row["x0"], row["y0"], row["x1"], row["y1"])


def file_name(file: str, page: int | None) -> str:
    """Name of a file without its folders, and the page."""
    return printable(re.split(r"[/\\\\]", file)[-1]) + (f", page {page}" if page is not None else "")


def head_label(slide: Slide, row: Row) -> str:
    """Short name of a head on the page: the numbers of its field and of the head in it, else that of its row."""
    if row["head"] is None:
        return str(row["number"])
    return f"{slide.field_numbers[row['file'], row['page']]}.{row['head']}"


def head_name(slide: Slide, row: Row) -> str:
    """Long name of a head: the short one and its file."""
    return f"{head_label(slide, row)} ({file_name(row['file'], row['page'])})"


def judged_state(row: Row) -> str:
    """What a person did with a head, as the style sheet calls it; empty where nobody looked."""
    if not row["judged"]:
        return ""
    if row["person"] is None:
        return "struck"
    return "same" if row["person"] == machine_says(row) else "changed"


def person_says(row: Row) -> str:
    """What a person said of a head; empty where nobody looked."""
    return {"": "", "struck": "struck out", "same": "confirmed"}.get(judged_state(row), f"person: {row['person']}")


def nothing_there(row: Row) -> str:
    """Why the machine gives no class."""
    return "no head" if "no_head" in row["flags"].split() else "no sperm"


def object_of(slide: Slide) -> str:
    """What a row stands for, a head or not: an ``image``, or an ``object`` of a field."""
    return "object" if any(row["head"] is not None for row in slide.results.rows) else "image"


def without_head(slide: Slide, rows: Sequence[Row]) -> int:
    """How many of some rows show no head, as the machine says."""
    return sum(shows_no_head(row, slide.results.info.no_head_class) for row in rows)


def shown_mark(slide: Slide, row: Row) -> Mark:
    """Letter and colour of a head: the person's class before the machine's."""
    if judged_state(row) == "struck":
        return _STRUCK
    label = row["person"] or machine_says(row)
    return _NO_CLASS if label is None else slide.marks[label]


def scale_of(slide: Slide) -> str:
    """Micrometres per pixel and where they come from."""
    info = slide.results.info
    if info.um_per_px is not None:
        return f"{info.um_per_px:g} µm a pixel" + f" ({info.um_source})" * bool(info.um_source)
    known = {record.um_per_px for record in info.fields if record.um_per_px is not None}
    if known:
        sources = dict.fromkeys(record.um_source for record in info.fields if record.um_per_px is not None)
        return f"{min(known):g} to {max(known):g} µm a pixel, by field ({', '.join(filter(None, sources))})"
    measured = [row for row in slide.results.rows if row["head_length"]]
    scales = [row["length_um"] / row["head_length"] for row in measured if row["length_um"] is not None]
    if scales:
        low, high = (f"{value:.3g}" for value in (min(scales), max(scales)))
        span = low if low == high else f"{low} to {high}"
        return f"{span} µm a pixel, known for {len(scales)} of {counted(len(measured), 'measured head')}"
    return "not known: lengths in pixels only"
