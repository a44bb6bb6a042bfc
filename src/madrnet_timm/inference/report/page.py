"""Writing the page of one table, or of two."""

import base64
import datetime
import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...cells import printable
from ...errors import InputError
from ...evaluation.prevalence import LOWER_REFERENCE_LIMIT
from ...files import check_output, sha256_of, write_text
from ..class_marks import class_marks
from ..counting import HeadCount, count_slides, doubts, normal_class, share_of
from ..gallery import chosen_rows, known_classifier, make_cards
from ..glossary import COLUMNS, DOMAIN, FLAGS, explain_word
from ..predicted import BETWEEN
from ..results import Results, info_path
from . import words
from .correcting import page_data
from .histogram import histograms
from .images import field_numbers, field_views, head_views
from .review import Review, read_reviews, reviewed_count, with_review
from .slide import Slide, class_rows, correction, measured, measurements, missing_images, two_slides

if TYPE_CHECKING:
    from ..classifier import Classifier

__all__ = ["Origin", "write_report"]

_GALLERY = 24  # images
_ENOUGH = 200  # spermatozoa a slide, WHO


@dataclass(frozen=True)
class Origin:
    """What a person says of a sample, in free text; empty where nothing is said.

    Attributes:
        sample: Its name or number.
        slides: Names of the slides, in the order of the tables.
        stain: Such as Diff-Quik.
        operator: Who took the images.
        microscope: With its objective and camera.
        command: By which the page was made.
        created: Date and time of the page.
    """

    sample: str = ""
    slides: Sequence[str] = ()
    stain: str = ""
    operator: str = ""
    microscope: str = ""
    command: str = ""
    created: str = field(default_factory=lambda: datetime.datetime.now().astimezone().isoformat(" ", "minutes"))

    @property
    def described(self) -> list[tuple[str, str]]:
        """What the head of the page says."""
        said = {
            "Sample": self.sample, "Slide": ", ".join(self.slides), "Stain": self.stain, "Operator": self.operator,
            "Microscope": self.microscope, "Date of the report": self.created,
        }  # fmt: skip
        return [(word, text) for word, text in said.items() if text]


def _titles(paths: Sequence[Path]) -> list[str]:
    """Names of the tables, with as much of their folders as tells them apart."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    kept = next((n for n in range(1, max(map(len, parts)) + 1) if len({part[-n:] for part in parts}) == len(parts)), 1)
    return [printable("/".join(part[-kept:])) for part in parts]


def _check_alike(slides: Sequence[Results]) -> None:
    for what, values in (
        ("models", {results.info.digest for results in slides}),
        ("thresholds (--threshold, --risk)", {results.info.threshold for results in slides}),
        ("models for what is no sperm (--screen)", {results.info.screen_digest for results in slides}),
        ("scales (--um-per-px)", {results.info.um_per_px for results in slides}),
    ):
        if len(values) > 1:
            raise InputError(f"{slides[0].path} and {slides[1].path}: made with different {what}; predict both alike")


def _check_place(slides: Sequence[Results], reviews: Sequence[Path], output: Path) -> None:
    """The page must not take the place of a table, of the file beside it, or of a person's corrections."""
    check_output(output)
    tables = [place for results in slides for place in (results.path, info_path(results.path))]
    for what, paths in (("the table itself", tables), ("the corrections themselves", reviews)):
        if any(output.exists() and path.exists() and output.samefile(path) for path in paths):
            raise InputError(f"--output {output}: {what}, which would be lost; expected a name of its own")


def _templates() -> Environment:
    loader = PackageLoader("madrnet_timm.inference.report")
    pages = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # whatever a table, a model or a person says is text
    pages.filters |= {"percent": words.percent, "word": words.spaced, "printable": printable, "explain": explain_word}
    pages.globals |= {
        **{name: getattr(words, name) for name in words.__all__},
        "doubts": doubts, "class_rows": class_rows, "measurements": measurements, "histograms": histograms,
        "correction": correction, "measured": measured, "missing_images": missing_images,
        "limit": LOWER_REFERENCE_LIMIT, "enough": _ENOUGH, "version": version("madrnet-timm"),
        "between": BETWEEN,
        "glossary": {"Flags": FLAGS, "Unlike the training images": DOMAIN, "Columns of the table": COLUMNS},
    }  # fmt: skip
    return pages


def _page(slides: Sequence[Slide], origin: Origin, save_name: str) -> str:
    pages = _templates()
    script = pages.get_template("report.js").render()
    shares = [slide.sure for slide in slides], [slide.reviewed.share for slide in slides]
    agreement, corrected = map(two_slides, shares)
    reviewers = dict.fromkeys(name for slide in slides for name in slide.review.reviewers)
    return pages.get_template("report.html.jinja").render(
        slides=slides,
        origin=origin,
        agreement=agreement,
        corrected_agreement=corrected,
        any_judged=any(slide.reviewed.judged for slide in slides),
        data=[page_data(slide) for slide in slides],
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        save_name=save_name,
        again=origin.command or shlex.join(["madrnet", "report", *(slide.results.path.name for slide in slides)]),
        reviewer=", ".join(reviewers) or origin.operator,
    )


def _classifier(results: Results) -> "tuple[Classifier | None, str]":
    """The model that made a table, or why there is none."""
    try:
        return known_classifier(results), ""
    except InputError as error:
        return None, printable(str(error))


def _slide(
    results: Results,
    count: HeadCount,
    normal: str | None,
    review: Review,
    classifier: "Classifier | None",
    **names: str,
) -> Slide:
    heads, not_shown = head_views(results, count)
    fields, fields_left_out = field_views(results, count)
    return Slide(
        results=results,
        table_sha256=sha256_of(results.path) if results.path.is_file() else "",
        count=count,
        normal=normal,
        sure=share_of(count.decided, normal),
        every=share_of(count.heads, normal),
        marks=class_marks(results.info.label_names, normal, results.info.no_head_class),
        review=review,
        reviewed=reviewed_count(count, results, normal),
        field_numbers=field_numbers(results),
        heads=heads,
        not_shown=not_shown,
        fields=fields,
        fields_left_out=fields_left_out,
        cards=make_cards(results, chosen_rows(count.images, _GALLERY), classifier),
        **names,
    )


def write_report(
    tables: Sequence[Results],
    output: Path,
    normal: str | None = None,
    classifier: "Classifier | None" = None,
    origin: Origin | None = None,
    reviewed: Sequence[Path] = (),
) -> list[str]:
    """Write a report of one slide, or of two slides of one sample.

    Args:
        tables: One or two tables of `madrnet predict`.
        output: The HTML file; it needs nothing else, neither files nor a network.
        normal: Name of the class that means a normal head, if not the model's own.
        classifier: The model that made the tables; if None it is looked for on this machine's disk.
        origin: What a person says of the sample.
        reviewed: Files of a person's corrections that such a page saved.

    Returns:
        What the page lacks, and why: images and attention maps.

    Raises:
        InputError: No images in a table, two tables of the same images or made differently, no class ``normal``,
            corrections of another table, or the file can't be written.
    """
    _check_place(tables, reviewed, output)
    _check_alike(tables)
    origin = origin or Origin()
    normals = [normal_class(results, normal) for results in tables]
    reviews = read_reviews(reviewed, tables)
    tables = [with_review(*both) for both in zip(tables, reviews, strict=True)]
    counts, no_maps = count_slides(tables), ""
    if classifier is None:
        classifier, no_maps = _classifier(tables[0])
    titles = _titles([results.path for results in tables])
    slides = []
    for number, (results, count) in enumerate(zip(tables, counts, strict=True)):
        name = origin.slides[number] if number < len(origin.slides) else ""
        words_of = {"title": titles[number], "name": printable(name), "no_maps": no_maps}
        slides.append(_slide(results, count, normals[number], reviews[number], classifier, **words_of))
    write_text(output, _page(slides, origin, f"{output.stem}.reviewed.csv"))
    missing = [
        f"{slide.title}: {words.counted(number, 'image')} not shown: {why}"
        for slide in slides
        for why, number in missing_images(slide).items()
    ]
    return [*missing, *([f"no attention maps: {no_maps}"] if no_maps else [])]
