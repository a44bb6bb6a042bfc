"""A results table as one self-contained HTML page."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..cells import printable
from ..errors import InputError
from ..evaluation.prevalence import (
    LOWER_REFERENCE_LIMIT,
    NormalShare,
    normal_share,
    replicate_check,
    rogan_gladen,
    sensitivity_specificity,
)
from ..files import check_output, write_text
from ..morphology import HeadRanges
from .classifier import Classifier
from .counting import HeadCount, Row, count_slides, doubts, normal_class, share_of
from .gallery import Card, chosen_rows, known_classifier, make_cards
from .glossary import COLUMNS, DOMAIN, FLAGS, explain_word
from .results import Results, info_path

__all__ = ["write_report"]

_GALLERY = 24  # images
_BINS = np.arange(1.0, 4.01, 0.1)
_ENOUGH = 200  # spermatozoa a slide, WHO


@dataclass(frozen=True)
class _Slide:
    """A table on the page.

    Attributes:
        title: Of its sections: the name of its file.
        results: The table.
        count: What its images count for.
        normal: Its class of normal heads, if any.
        sure: Share of normal heads among those without a doubt.
        every: Share among all heads.
        cards: The gallery.
        no_maps: Why the gallery has no attention maps; empty where it has some.
    """

    title: str
    results: Results
    count: HeadCount
    normal: str | None
    sure: NormalShare | None
    every: NormalShare | None
    cards: list[Card]
    no_maps: str

    @property
    def missing(self) -> Counter[str]:
        """Why images of the gallery are not shown, and how many."""
        return Counter(card.missing for card in self.cards if card.missing)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _counted(number: int, noun: str) -> str:
    """``1 head``, ``2 heads``."""
    plural = f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _titles(paths: Sequence[Path]) -> list[str]:
    """Names of the tables, with as much of their folders as tells them apart."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    kept = next((n for n in range(1, max(map(len, parts)) + 1) if len({part[-n:] for part in parts}) == len(parts)), 1)
    return [printable("/".join(part[-kept:])) for part in parts]


def _correction(slide: _Slide) -> dict[str, Any] | None:
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


def _class_rows(slide: _Slide) -> list[dict[str, Any]]:
    """Counts of each class and their shares; images in which no head was found come last and are in no share."""
    without = [row for row in slide.count.no_head if row["prediction"] != slide.results.info.no_head_class]
    images = [row for row in slide.count.images if row not in without]
    counts = Counter(row["prediction"] for row in images)
    doubtful = Counter(row["prediction"] for row in slide.count.doubtful)
    total = max(len(images), 1)
    out: list[dict[str, Any]] = [
        {"name": name, "count": counts[name], "share": counts[name] / total, "doubtful": doubtful[name]}
        for name in slide.results.info.label_names
    ]
    if without:
        out.append({"name": "no head was found", "count": len(without), "share": None, "doubtful": 0})
    return out


def _measured(slide: _Slide) -> list[Row]:
    """Heads whose outline can be trusted."""
    return [row for row in slide.count.heads if row["ok"]]


def _measurements(slide: _Slide) -> list[dict[str, Any]]:
    """Median and quartiles of what was measured, and how many heads lie in the range of a normal one."""
    scaled = slide.results.info.um_per_px is not None
    rows, ranges = _measured(slide), HeadRanges()
    lengths = [("length_um", "length, µm", 2), ("width_um", "width, µm", 2)]
    if not scaled:
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


def _histogram(slide: _Slide) -> dict[str, Any] | None:
    """Bars, ticks and range of the histogram of γ, in the drawing's units; None without a measured head."""
    values = [row["aspect_ratio"] for row in _measured(slide) if row["aspect_ratio"] is not None]
    if not values:
        return None
    low, high = HeadRanges().aspect_ratio
    counts, _ = np.histogram(np.clip(values, _BINS[0], _BINS[-1] - 1e-6), _BINS)
    left, right, bottom, tallest = 40, 630, 180, 150
    scale = (right - left) / (_BINS[-1] - _BINS[0])
    top = max(int(counts.max()), 1)

    def x(value: float) -> float:
        return round(float(left + (value - _BINS[0]) * scale), 1)

    bars = [(x(start), bottom - tallest * n / top, tallest * n / top) for start, n in zip(_BINS, counts, strict=False)]
    return {
        "bars": bars, "width": 0.1 * scale - 1, "left": left, "right": right, "bottom": bottom, "top": top,
        "label_y": bottom - tallest + 4, "ticks": [(x(v), f"{v:.1f}") for v in np.arange(1, 4.1, 0.5)],
        "box": (x(low), x(high) - x(low)), "low": low, "high": high,
        "inside": sum(low <= value <= high for value in values), "total": len(values), "median": np.median(values),
    }  # fmt: skip


def _agreement(slides: Sequence[_Slide]) -> dict[str, Any] | None:
    """Whether two slides of one sample agree; None for one slide, or without shares."""
    shares = [slide.sure for slide in slides if slide.sure is not None]
    if len(shares) != 2:
        return None
    difference, limit, agree = replicate_check(*shares)
    both = normal_share(sum(share.normal for share in shares), sum(share.total for share in shares))
    return {"difference": difference, "limit": limit, "agree": agree, "both": both}


def _check_alike(slides: Sequence[Results]) -> None:
    for what, values in (
        ("models", {results.info.digest for results in slides}),
        ("scales (--um-per-px)", {results.info.um_per_px for results in slides}),
    ):
        if len(values) > 1:
            raise InputError(f"{slides[0].path} and {slides[1].path}: made with different {what}; predict both alike")


def _check_place(slides: Sequence[Results], output: Path) -> None:
    """The page must not take the place of a table, or of the file beside it."""
    check_output(output)
    for path in (place for results in slides for place in (results.path, info_path(results.path))):
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"--output {output}: the table itself, which would be lost; expected a name of its own")


def _word(text: str) -> str:
    return text.replace("_", " ")


def _page(slides: Sequence[_Slide]) -> str:
    loader = PackageLoader("madrnet_timm", "inference")
    pages = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # whatever a table or a model says is text
    pages.filters |= {"percent": _percent, "word": _word, "printable": printable, "explain": explain_word}
    pages.globals |= {
        "counted": _counted, "doubts": doubts, "class_rows": _class_rows, "measurements": _measurements,
        "histogram": _histogram, "correction": _correction, "measured": _measured,
        "limit": LOWER_REFERENCE_LIMIT, "enough": _ENOUGH,
        "glossary": {"Flags": FLAGS, "Unlike the training images": DOMAIN, "Columns of the table": COLUMNS},
    }  # fmt: skip
    return pages.get_template("report.html.jinja").render(slides=slides, agreement=_agreement(slides))


def write_report(
    slides: Sequence[Results], output: Path, normal: str | None = None, classifier: Classifier | None = None
) -> list[str]:
    """Write a report of one slide, or of two slides of one sample.

    Args:
        slides: One or two tables of `madrnet predict`.
        output: The HTML file; it needs nothing else, neither files nor a network.
        normal: Name of the class that means a normal head, if not the model's own.
        classifier: The model that made the tables; if None it is looked for on this machine's disk.

    Returns:
        What the page lacks, and why: images and attention maps.

    Raises:
        InputError: No images in a table, two tables of the same images or made differently, no class ``normal``, or
            the file can't be written.
    """
    _check_place(slides, output)
    _check_alike(slides)
    names = [normal_class(results, normal) for results in slides]
    counts = count_slides(slides)
    no_maps = ""
    if classifier is None:
        try:
            classifier = known_classifier(slides[0])
        except InputError as error:
            no_maps = printable(str(error))
    found = []
    for title, results, count, name in zip(_titles([r.path for r in slides]), slides, counts, names, strict=True):
        cards = make_cards(results, chosen_rows(count.images, _GALLERY), classifier)
        shares = share_of(count.decided, name), share_of(count.heads, name)
        found.append(_Slide(title, results, count, name, *shares, cards, no_maps))
    write_text(output, _page(found))
    missing = [
        f"{slide.title}: {number} of {_counted(len(slide.cards), 'image')} of the gallery not shown: {why}"
        for slide in found
        for why, number in slide.missing.items()
    ]
    return [*missing, *([f"no attention maps: {no_maps}"] if no_maps else [])]
