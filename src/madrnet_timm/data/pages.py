"""What is to be looked at: each image file, and each page of a TIFF with several."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..morphology.field import LEAST_SIDE
from ..progress import progress
from .kinds import kind_by_size
from .reading import ImageLike, formats, read_image, shown
from .stated_scale import StatedScale, stated_scale

__all__ = ["Page", "kinds_of", "page_name", "pages_of", "read_page", "read_single", "single_page"]

_NEARLY_FIELD = 250  # px of the longer side, from which on a person may take a crop for a field
_WHY_CROPS = f" (a field has at least {LEAST_SIDE} pixels each way)"

_SUBFILE_TYPE = 254  # tag of TIFF
_SERVES_ANOTHER = 1 | 4  # its bits for a page that shows another one smaller, and for a mask

_logger = logging.getLogger(__name__)
_opened = threading.local()  # the file that this thread read last: of a stack, finding a page anew takes long


@dataclass(frozen=True, slots=True)
class Page:
    """An image: a file, or a page of one.

    Attributes:
        path: The file.
        number: Of the page, from 1, where the file has several; else None.
        size: Width and height in pixels; zeros where the file can't be read.
        stated: The scale that the file states.
    """

    path: Path
    number: int | None = None
    size: tuple[int, int] = (0, 0)
    stated: StatedScale | None = None

    def __str__(self) -> str:
        """As messages name it."""
        return shown(self.path) if self.number is None else f"{shown(self.path)}, page {self.number}"


def page_name(name: str, page: Page) -> str:
    """The name of an image made of a page, from that of its file, see `madrnet_timm.data.reading.names_below`."""
    return name if page.number is None else f"{name.removesuffix('.png')}-page{page.number:04}.png"


def pages_of(paths: Sequence[Path]) -> list[Page]:
    """The pages of image files, by their headers alone, with a progress bar.

    A file that can't be read is a page of no size: why, is said where it is read. Pages of a TIFF that only show others
    smaller, or are masks of them, are left out, with a warning.
    """
    out, left_out = [], 0
    for path in progress(paths, len(paths), "looking at", "file", shown_from=500):
        found, serving = _pages(path)
        out += found
        left_out += serving
    if left_out:
        _logger.warning("%d pages of TIFF files are smaller copies or masks of other pages; left out", left_out)
    return out


def _pages(path: Path) -> tuple[list[Page], int]:
    """The pages of a file, and how many more only serve others.

    A page that states no scale that can be has that of the first, as OME and ImageJ say it once.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            return [Page(path)], 0
        with Image.open(path, formats=formats()) as opened:
            if opened.format != "TIFF":
                return [Page(path, None, opened.size, stated_scale(opened))], 0
            found = list(_tiff_pages(path, opened))
    except Exception:  # which ones Pillow's formats raise for broken files is nowhere written
        return [Page(path)], 0
    pages = [page for page, serves in found if not serves] or [page for page, _ in found]
    first = pages[0].stated
    pages = [page if page.stated and not page.stated.problem else replace(page, stated=first) for page in pages]
    return (pages if len(found) > 1 else [replace(pages[0], number=None)]), len(found) - len(pages)


def _tiff_pages(path: Path, opened: Image.Image) -> Iterator[tuple[Page, bool]]:
    """The pages of a TIFF, and whether each only serves another; where the file is damaged, a last one that can't be
    read.
    """
    for number in count(1):
        try:
            opened.seek(number - 1)
        except EOFError:
            return
        except Exception:  # as above
            yield Page(path, number), False
            return
        kind = getattr(opened, "tag_v2", {}).get(_SUBFILE_TYPE)
        serves = isinstance(kind, int) and bool(kind & _SERVES_ANOTHER)
        yield Page(path, number, opened.size, stated_scale(opened)), serves


def kinds_of(pages: Sequence[Page], wanted: str = "auto") -> str:
    """How many pages are taken for fields and how many for crops, in words; empty where all are crops without a doubt.

    Args:
        pages: Those that can't be read are in neither.
        wanted: One of `madrnet_timm.data.kinds.KINDS`.
    """
    kinds = Counter(kind_by_size(*page.size, wanted) for page in pages if page.size != (0, 0))
    fields, crops, either = (kinds[kind] for kind in ("field", "crop", "auto"))
    words = [f"{fields} {'field' if fields == 1 else 'fields'} of view"] * bool(fields)
    large = wanted == "auto" and any(
        kind_by_size(*page.size) == "crop" and max(page.size) >= _NEARLY_FIELD for page in pages
    )
    words += [f"{crops} {'crop' if crops == 1 else 'crops'}{_WHY_CROPS * large}"] * bool(crops)
    words += [f"{either} to be told by what they show (--input crop or field decides otherwise)"] * bool(either)
    return ", ".join(words) if fields or either or large else ""


def read_page(page: Page, crop: bool = False) -> NDArray[np.uint8]:
    """A page as RGB ``(height, width, 3)`` uint8.

    Args:
        page: One of `pages_of`.
        crop: Refuse what is too large for the crop of a single head.

    Raises:
        InputError: It can't be read; the message names file and page.
    """
    if page.number is None:
        return read_image(page.path, crop=crop)
    try:
        image = _stack(page.path)
        image.seek(page.number - 1)
    except Exception as error:
        reason = str(error).split(" <")[0] or type(error).__name__
        raise InputError(f"{page}: can't read it as an image ({reason}); replace or remove the file") from None
    return read_image(image, str(page), crop)


def single_page(path: str | Path) -> Page:
    """The page of a file that has one alone, see `pages_of`.

    Raises:
        InputError: It has several.
    """
    page, *more = pages_of([Path(path)])
    if more:
        raise InputError(
            f"{shown(page.path)}: {1 + len(more)} pages; give one of them, as an array or as Pillow's image"
        )
    return page


def read_single(image: ImageLike, crop: bool = False) -> NDArray[np.uint8]:
    """What `read_image` reads; the path of a file of several pages is refused.

    Raises:
        InputError: See `read_image` and `single_page`.
    """
    return read_page(single_page(image), crop) if isinstance(image, str | Path) else read_image(image, crop=crop)


def _stack(path: Path) -> Image.Image:
    """An opened file of several pages, which remembers where its pages lie; one for each thread."""
    found = os.stat(path)
    key = path, found.st_size, found.st_mtime_ns
    if getattr(_opened, "key", None) != key:
        with suppress(AttributeError):
            _opened.file.close()
        # of a path Pillow maps pages into memory, those that lie on their side with the wrong shape
        _opened.file = open(str(path), "rb")  # noqa: SIM115
        _opened.image, _opened.key = Image.open(_opened.file, formats=formats()), key
    image: Image.Image = _opened.image
    return image
