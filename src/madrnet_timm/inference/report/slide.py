"""What the page says of one table: shares, classes, measurements."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...evaluation.intervals import wilson_interval
from ...evaluation.prevalence import NormalShare, normal_share, replicate_check, rogan_gladen, sensitivity_specificity
from ...morphology import HeadRanges
from ..class_marks import Mark
from ..counting import HeadCount, Row
from ..gallery import Card
from ..results import Results
from .images import FieldView, HeadView
from .review import Review, ReviewedCount

__all__ = ["Slide", "class_rows", "correction", "measured", "measurements", "missing_images", "two_slides"]


@dataclass(frozen=True)
class Slide:
    """A table on the page.

    Attributes:
        title: Name of its file.
        name: Of the slide, as the person named it; empty without.
        results: The table.
        table_sha256: Hash of its file; empty if it is not there.
        count: What its images count for.
        normal: Its class of normal heads, if any.
        sure: Share of normal heads among those without a doubt.
        every: Share among all heads.
        marks: Letter and colour of each class.
        review: What a person said of its heads.
        reviewed: What the heads count for with that.
        field_numbers: By which the page calls the fields, by file and page.
        heads: The heads to be corrected, each with its image.
        not_shown: Number of images that are not among them, since there are too many for a page.
        fields: Its fields with their heads' boxes.
        fields_left_out: Number of fields that are not among them, since there are too many for a page.
        cards: The gallery.
        no_maps: Why the gallery has no attention maps; empty where it has some.
    """

    title: str
    name: str
    results: Results
    table_sha256: str
    count: HeadCount
    normal: str | None
    sure: NormalShare | None
    every: NormalShare | None
    marks: dict[str, Mark]
    review: Review
    reviewed: ReviewedCount
    field_numbers: dict[tuple[str, int | None], int]
    heads: list[HeadView]
    not_shown: int
    fields: list[FieldView]
    fields_left_out: int
    cards: list[Card]
    no_maps: str

    @property
    def heading(self) -> str:
        """What the sections are headed by."""
        return self.name or self.title


def missing_images(slide: Slide) -> Counter[str]:
    """Why images of heads, fields and the gallery are not shown, and how many."""
    views: list[HeadView | FieldView] = [*slide.heads, *slide.fields]
    shown = {view.row["number"] for view in slide.heads}
    others = [card.missing for card in slide.cards if card.row["number"] not in shown]
    return Counter(why for why in [*(view.missing for view in views), *others] if why)


def correction(slide: Slide) -> dict[str, Any] | None:
    """Share of all heads corrected for the model's errors among heads; None where these are not known or too large."""
    info = slide.results.info
    heads = [index for index, name in enumerate(info.label_names) if name != info.no_head_class]
    if slide.every is None or slide.normal is None or not info.confusion_matrix:
        return None
    matrix = [[info.confusion_matrix[row][column] for column in heads] for row in heads]
    try:
        found = sensitivity_specificity(matrix, [info.label_names[index] for index in heads].index(slide.normal))
    except ValueError:
        return None
    corrected = rogan_gladen(slide.every.share, *found)
    if corrected is None:
        return None
    return {"share": corrected, "sensitivity": found[0], "specificity": found[1], "held_out": info.held_out}


def class_rows(slide: Slide) -> list[dict[str, Any]]:
    """Counts of each class, their shares of the heads and 95 % Wilson intervals.

    The class without a head has a count and no share; last come images in which no head was found.
    """
    no_head_class = slide.results.info.no_head_class
    by_class = [row for row in slide.count.no_head if row["prediction"] == no_head_class]
    without = [row for row in slide.count.no_head if row["prediction"] != no_head_class]
    counts = Counter(row["prediction"] for row in slide.count.heads)
    doubtful = Counter(row["prediction"] for row in slide.count.doubtful)
    total = max(len(slide.count.heads), 1)
    reviewed = slide.reviewed.classes
    of_heads = max(sum(reviewed.values()), 1)
    out: list[dict[str, Any]] = []
    for name in slide.results.info.label_names:
        mark = slide.marks[name]
        if name == no_head_class:
            perhaps = len(slide.count.perhaps_heads)
            out.append({"name": name, "mark": mark, "head": False, "count": len(by_class), "doubtful": perhaps})
            continue
        out.append({
            "name": name, "mark": mark, "head": True, "count": counts[name], "share": counts[name] / total,
            "interval": wilson_interval(counts[name], total), "doubtful": doubtful[name],
            "reviewed": reviewed[name], "reviewed_share": reviewed[name] / of_heads,
        })  # fmt: skip
    screened = sum("no_head" not in row["flags"].split() for row in without)
    for name, count in (("no head was found", len(without) - screened), ("no sperm, by the screen", screened)):
        if count:
            out.append({"name": name, "mark": None, "count": count})
    return out


def measured(slide: Slide) -> list[Row]:
    """Heads whose outline can be trusted."""
    return [row for row in slide.count.heads if row["ok"]]


def measurements(slide: Slide) -> list[dict[str, Any]]:
    """Median and quartiles of what was measured, and how many heads lie in the range of a normal one."""
    rows, ranges = measured(slide), HeadRanges()
    lengths = [("length_um", "length, µm", 2), ("width_um", "width, µm", 2)]
    if not any(row["length_um"] is not None for row in rows):
        lengths = [("head_length", "length, px", 1), ("head_width", "width, px", 1)]
    names = [*lengths, ("aspect_ratio", "aspect ratio γ", 2), ("acrosome_fraction", "acrosome, part of the head", 2)]
    out = []
    for name, title, digits in names:
        values = [row[name] for row in rows if row[name] is not None]
        if not values:
            continue
        low, median, high = (f"{value:.{digits}f}" for value in np.percentile(values, (25, 50, 75)))
        entry: dict[str, Any] = {"name": name, "title": title, "median": median, "middle": f"{low} to {high}"}
        normal = getattr(ranges, name, None)  # of lengths in pixels there is none
        inside = 0 if normal is None else sum(normal[0] <= value <= normal[1] for value in values)
        out.append(entry | {"range": normal and "{} to {}".format(*normal), "inside": inside, "total": len(values)})
    return out


def two_slides(shares: Sequence[NormalShare | None]) -> dict[str, Any] | None:
    """Whether two slides of one sample agree; None for one slide, or without both shares."""
    known = [share for share in shares if share is not None]
    if len(known) != 2:
        return None
    difference, limit, agree = replicate_check(*known)
    both = normal_share(sum(share.normal for share in known), sum(share.total for share in known))
    return {"difference": difference, "limit": limit, "agree": agree, "both": both}
