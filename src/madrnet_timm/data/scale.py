"""The scale of a slide's images: how long its heads are in pixels, and micrometres per pixel that are plausible."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..morphology import FieldSearch, HeadMorphology, HeadRanges
from ..morphology.scale import HUMAN_LENGTHS
from ..progress import progress
from .kinds import examine, kind_by_size, search
from .pages import Page, read_page, single_page
from .reading import ImageLike, read_image

__all__ = ["SearchedField", "SlideScale", "searched_field"]

_PLAUSIBLE = (2.0, 12.0)
"""Median length in µm: human sperm heads have 3 to 7, and no stain, swelling or other mammal is refused. Beyond
`HUMAN_LENGTHS` a warning says so, as fields may then be taken for empty."""

_CROPS, _FIELDS, _GROUPS = 24, 6, 20  # that are looked at: crops, fields of a group, groups of fields
_ENOUGH = 5  # heads from which on a median is trusted
_OTHER_MAGNIFICATION = 1.3  # ratio of the median of a field's heads to that of its slide
_FEW = 3  # heads of a field, of which such a ratio says little

_logger = logging.getLogger(__name__)

_Group = tuple[Path, tuple[int, int]]
"""Fields of one magnification, most likely: of one folder and size."""


def _spread(pages: Sequence[Page], count: int) -> list[Page]:
    chosen = np.unique(np.linspace(0, len(pages) - 1, min(count, len(pages))).round().astype(int))
    return [pages[index] for index in chosen]


def _trusted(heads: Iterable[HeadMorphology]) -> list[float]:
    """Lengths in pixels of the heads that can be trusted."""
    return [head.length for head in heads if head.ok and head.length is not None and "irregular" not in head.flags]


def _lengths(page: Page, kind: str) -> tuple[bool, list[float]]:
    """Whether it is a field, and what is `_trusted` of its heads."""
    try:
        found = examine(read_page(page), kind)
    except InputError:
        return False, []  # said where the image is measured
    return isinstance(found, FieldSearch), _trusted(found.heads if isinstance(found, FieldSearch) else [found])


def _fitting_scale(um_per_px: float, length: float) -> float:
    """The likeliest scale for heads of ``length`` pixels: a decimal point moved, px per µm given, or none of these."""
    low, high = HeadRanges().length_um
    usual = (low + high) / 2
    slips = [um_per_px * 10.0**k for k in range(-6, 7) if k] + [1 / um_per_px]
    likely = [slip for slip in slips if 3 <= slip * length <= 7]
    return min(likely or [usual / length], key=lambda slip: abs(math.log(slip * length / usual)))


def _plain(value: float, digits: int = 3) -> str:
    """A number to so many digits, without an exponent."""
    return np.format_float_positional(value, precision=digits, fractional=False, trim="-")


def _is_within(bounds: tuple[float, float], um_per_px: float, lengths: Sequence[float]) -> bool:
    """Whether heads of these lengths in pixels have a median within some µm; true where none are known."""
    return not lengths or bounds[0] <= float(np.median(lengths)) * um_per_px <= bounds[1]


@dataclass(frozen=True)
class SlideScale:
    """The scale of many images, from a look at some of them.

    Attributes:
        given: Micrometres per pixel that the user gave, if any.
        groups: Lengths in pixels of the heads of some fields, for each group of fields.
        doubted: Scales that files state and that do not fit their heads, with the median length in µm by each.
    """

    given: float | None = None
    groups: dict[_Group, list[float]] = field(default_factory=dict)
    doubted: dict[float, float] = field(default_factory=dict)

    @classmethod
    def of(cls, pages: Sequence[Page], um_per_px: float | None = None, kind: str = "auto") -> "SlideScale":
        """Look at some of the pages: six fields of each folder and size, 24 crops where a scale is to be checked.

        Args:
            pages: The images.
            um_per_px: Micrometres per pixel, if the user gives them.
            kind: One of `KINDS`.

        Raises:
            InputError: By the scale given the heads would not be 2 to 12 µm long; the message says which would fit.
                With fewer than five heads a warning must do: they may be something else. So it does where five or more
                have not the 2.8 to 7 µm of human heads.
        """
        fields: dict[_Group, list[Page]] = {}
        crops: list[Page] = []
        for page in pages:
            if page.size == (0, 0):
                continue
            if kind_by_size(*page.size, kind) == "crop":
                crops.append(page)
            else:
                fields.setdefault((page.path.parent, page.size), []).append(page)
        scaled = [page for page in crops if _candidate(page, um_per_px) is not None]
        # a field alone is its own scale
        alone = {key for key, found in fields.items() if len(found) == 1 and _candidate(found[0], um_per_px) is None}
        groups = [found for key, found in fields.items() if key not in alone][:_GROUPS]
        looked = [page for found in groups for page in _spread(found, _FIELDS)] + _spread(scaled, _CROPS)
        out = cls(um_per_px)
        by_scale: dict[float, list[float]] = {}
        for page in progress(looked, len(looked), "looking at the scale", "image", shown_from=3):
            is_field, lengths = _lengths(page, kind)
            if is_field:
                out.groups.setdefault((page.path.parent, page.size), []).extend(lengths)
            candidate = _candidate(page, um_per_px)
            if candidate is not None:
                by_scale.setdefault(candidate, []).extend(lengths)
        out.check(by_scale)
        return out

    def check(self, by_scale: dict[float, list[float]]) -> None:
        """Compare scales with the lengths in pixels of heads that were taken at each.

        Raises:
            InputError: See `of`.
        """
        for scale, lengths in by_scale.items():
            if _is_within(HUMAN_LENGTHS, scale, lengths):
                continue
            median, plausible = float(np.median(lengths)), _is_within(_PLAUSIBLE, scale, lengths)
            if plausible and len(lengths) < _ENOUGH:
                continue
            if self.given is None and not plausible:
                self.doubted[scale] = scale * median
                continue
            option = "scale" if self.given is None else "--um-per-px"
            message = (
                f"{option} {_plain(scale)}: heads would be {_plain(median * scale)} µm long (median of "
                f"{len(lengths)}), those of human sperm have 3 to 7; did you mean "
                f"{_plain(_fitting_scale(scale, median), 2)}?"
            )
            if len(lengths) >= _ENOUGH and not plausible:
                raise InputError(message)
            _logger.warning("%s", message)

    def um_per_px(self, page: Page) -> tuple[float | None, str]:
        """Micrometres per pixel of a page, and where they come from; None, and why the file is not believed."""
        if self.given is not None:
            return self.given, "--um-per-px"
        stated = page.stated
        if stated is None:
            return None, ""
        if stated.problem:
            return None, f"{stated.source}, {stated.words}: not believed, {stated.problem}"
        if stated.um_per_px in self.doubted:
            long = self.doubted[stated.um_per_px]
            return None, f"{stated.source}, {stated.words}: not believed, heads would be {_plain(long)} µm long"
        return stated.um_per_px, stated.source

    def sayings(self, pages: Iterable[Page]) -> list[str]:
        """Each scale that the files of the pages state, once, and whether it is taken."""
        counts: dict[str, int] = {}
        if self.given is None:
            for page in pages:
                if page.stated is not None:
                    value, source = self.um_per_px(page)
                    words = (
                        f"{_plain(value, 4)} µm per pixel ({source}, {page.stated.words})"
                        if value is not None
                        else source
                    )
                    counts[words] = counts.get(words, 0) + 1
        taken = "; --um-per-px overrules it"
        refused = "; lengths are in pixels, give --um-per-px"
        return [
            f"scale: {words}, said by {count} {'image' if count == 1 else 'images'}"
            f"{refused if 'not believed' in words else taken}"
            for words, count in counts.items()
        ]

    def head_length(self, page: Page, found: FieldSearch, um_per_px: float | None = None) -> float | None:
        """Typical length of the heads of a field in pixels, by which its crops are cut; None where it has none.

        A field has few heads, and those of its slide were taken with the same microscope: the median of those that were
        looked at is the better guess. Only where its own median is quite another (three heads at
        least, a ratio of more than 1.3) it counts alone: another magnification. Where fewer than five heads are known,
        but the scale is, the middle of WHO's range is taken.

        Args:
            page: The field.
            found: Its heads.
            um_per_px: Micrometres per pixel, if known.
        """
        if found.head_length is None:
            return None
        slide = self._lengths_beside(page)
        own = [head.length for head in found.heads if head.ok and head.length is not None]
        median = float(np.median(slide)) if slide else found.head_length
        ratio = max(found.head_length / median, median / found.head_length)
        if len(own) >= _FEW and ratio > _OTHER_MAGNIFICATION:
            return found.head_length
        if um_per_px is not None and max(len(slide), len(own)) < _ENOUGH:
            return sum(HeadRanges().length_um) / 2 / um_per_px
        return median

    def _lengths_beside(self, page: Page) -> list[float]:
        """Of the heads of some fields of the page's group."""
        return self.groups.get((page.path.parent, page.size), [])

    def known_of(self, page: Page) -> tuple[float, ...]:
        """All of it that a page's outcome depends on, which other pages can change; 0 for what is not known."""
        slide = self._lengths_beside(page)
        median = float(np.median(slide)) if slide else 0.0
        return self.um_per_px(page)[0] or 0.0, median, float(min(len(slide), _ENOUGH))


def _candidate(page: Page, given: float | None) -> float | None:
    """A scale that the heads must fit."""
    if given is not None:
        return given
    return None if page.stated is None or page.stated.problem else page.stated.um_per_px


@dataclass(frozen=True)
class SearchedField:
    """A single field, read and searched for heads.

    Attributes:
        image: RGB ``(h, w, 3)`` uint8.
        found: Its heads.
        um_per_px: Micrometres per pixel, None if unknown.
        um_source: Where they come from, see `SlideScale.um_per_px`: ``given``, or what a path's file says, if that fits
            the heads.
        crop_length: Length in pixels by which crops are cut, see `SlideScale.head_length`; None without a head.
    """

    image: NDArray[np.uint8]
    found: FieldSearch
    um_per_px: float | None
    um_source: str
    crop_length: float | None


def searched_field(image: ImageLike, um_per_px: float | None = None) -> SearchedField:
    """Read a single field, which is a slide of its own, and search it for heads.

    Args:
        image: A path, a file's bytes, a Pillow image or an array, see `read_image`.
        um_per_px: Micrometres per pixel, if known.

    Raises:
        InputError: It can't be read, is smaller than 300 pixels a side, or has several pages; or by the scale given its
            heads, five or more, would not be 2 to 12 µm long.
    """
    page = single_page(image) if isinstance(image, str | Path) else None
    name = "image" if page is None else str(page)
    pixels = read_image(image, name) if page is None else read_page(page)
    found = search(pixels, None, name)
    seen = page or Page(Path(name), size=(pixels.shape[1], pixels.shape[0]))
    slide = SlideScale(um_per_px)
    candidate = _candidate(seen, um_per_px)
    if candidate is not None:  # as of a slide; without one a field alone is its own scale
        slide.groups[seen.path.parent, seen.size] = lengths = _trusted(found.heads)
        slide.check({candidate: lengths})
    scale, source = slide.um_per_px(seen)
    if scale is not None:
        found = search(pixels, scale, name)
    source = "given" if um_per_px is not None else source
    return SearchedField(pixels, found, scale, source, slide.head_length(seen, found, scale))
