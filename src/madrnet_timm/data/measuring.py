"""Head measurements of many images at once, by several processes."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import write_image
from ..morphology import FieldSearch, HeadMorphology, HeadRanges, draw_overlay, measure
from ..morphology.field_overlay import HeadMark, draw_field_overlay
from ..opencv import cv2
from ..progress import progress
from .kinds import examine, kind_by_size, nothing_found
from .pages import Page, kinds_of, page_name, pages_of, read_page
from .reading import names_below, read_image
from .scale import SlideScale
from .workers import map_in_processes

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Measured", "measure_dataset", "measure_files", "measurement_row", "place_row", "single_threaded_opencv"]

PLACE = ("page", "head", "x0", "y0", "x1", "y1", "center_x", "center_y")
"""Columns that say where in its field a head lies; empty for a crop. They stand after ``file``."""

_FIELD = 60  # crops that take as long as a field
_FIRM, _DOUBTFUL = (0, 122, 84), (190, 80, 0)

_lock = threading.Lock()
_inside: list[int] = []  # OpenCV's threads as they were when each that is in `single_threaded_opencv` came


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """OpenCV computes with one thread, and as before when the last that is in here has left."""
    with _lock:
        _inside.append(cv2.getNumThreads() if not _inside else _inside[0])
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                cv2.setNumThreads(before)


def measurement_row(head: HeadMorphology, ranges: HeadRanges | None = None) -> dict[str, Any]:
    """Measurements, flags and WHO checks of a head as the cells of a table.

    Lengths are in pixels; with a scale `length_um`, `width_um` and `area_um2` stand beside them. A check is True, False
    or None (missing).
    """
    row = head.to_dict()
    if head.um_per_px is not None:
        area = None if head.area is None else head.area * head.um_per_px**2
        row |= {"length_um": head.length_um, "width_um": head.width_um, "area_um2": area}
    checks = head.who_checks(ranges)
    return row | {f"who_{name}": ok for name, ok in checks.items() if head.um_per_px is not None or "_um" not in name}


def place_row(
    head: HeadMorphology | None = None,
    page: int | None = None,
    number: int | None = None,
    origin: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """Where in its field a head lies, and whether it counts, as the cells of a table; empty cells for a crop.

    Args:
        head: Of a field.
        page: Number of the page, from 1, in a file of several.
        number: Of the head in its field, from 1.
        origin: ``(x, y)`` in the field of the pixel that has ``(0, 0)`` in what ``head`` was measured on.
    """
    row: dict[str, Any] = {"page": page} | dict.fromkeys(PLACE[1:])
    if head is not None and head.box is not None and head.center is not None:
        x, y = origin
        x0, y0, x1, y1 = head.box
        row |= {"head": number, "x0": x0 + x, "y0": y0 + y, "x1": x1 + x, "y1": y1 + y}
        row |= {"center_x": head.center[0] + x, "center_y": head.center[1] + y}
    return row | {"counted": head is None or not head.touches_border}


@dataclass
class Measured:
    """What was measured on many images.

    Attributes:
        rows: One for each crop, and for each head of each field.
        failures: A message for each image that could not be read, and each overlay that could not be written.
        notes: Lines about scales that files state, and fields in which nothing was found.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Measured") -> None:
        """What was measured on one more image."""
        self.rows += other.rows
        self.failures += other.failures
        self.notes += other.notes


def _measure_page(page: Page, name: str, slide: SlideScale, kind: str, overlay: Path | None) -> Measured:
    um_per_px, _ = slide.um_per_px(page)
    try:
        image = read_page(page)
        found = examine(image, kind, um_per_px, str(page)) if kind != "crop" else measure(image, um_per_px)
    except InputError as error:
        return Measured(failures=[str(error)])
    out = Measured()
    if isinstance(found, FieldSearch):
        for number, head in enumerate(found.heads, 1):
            place = place_row(head, page.number, number)
            out.rows.append({"file": str(page.path)} | place | measurement_row(head))
        if found.reason:
            out.notes.append(f"{page}: {nothing_found(found.reason)}")
        drawn = partial(_field_overlay, image, found)
    else:
        out.rows.append({"file": str(page.path)} | place_row(page=page.number) | measurement_row(found))
        drawn = partial(draw_overlay, image, found)
    if overlay is not None:
        try:
            write_image(overlay / name, drawn(), parents=True)
        except InputError as error:
            out.failures.append(str(error))
    return out


def _field_overlay(image: NDArray[np.uint8], found: FieldSearch) -> NDArray[np.uint8]:
    marks = []
    for number, head in enumerate(found.heads, 1):
        text = f"({number})" if head.touches_border else str(number)
        if head.box is not None:
            marks.append(HeadMark(head.contour, head.box, text, _FIRM if head.ok else _DOUBTFUL, not head.ok))
    note = nothing_found(found.reason) if found.reason else "dashed: outline in doubt;  ( ): at the border"
    return draw_field_overlay(image, marks, (), note)


def _measure_page_alone(page: Page, name: str, **options: Any) -> Measured:
    """`_measure_page` in a process of its own."""
    cv2.setNumThreads(1)
    return _measure_page(page, name, **options)


def measure_files(
    paths: Sequence[Path],
    um_per_px: float | None = None,
    overlay: Path | None = None,
    processes: int | None = None,
    kind: str = "auto",
) -> Measured:
    """Measure the head in each of many crops, and every head in fields.

    Args:
        paths: The files; of a TIFF of several pages each page is an image.
        um_per_px: Micrometres per pixel; if None, what the files say, where that is plausible.
        overlay: Folder for an image of each measurement.
        processes: Number of processes; all cores if None.
        kind: What the images are, one of `madrnet_timm.data.kinds.KINDS`.

    Raises:
        InputError: The scale does not fit, see `SlideScale.of`.
    """
    if not paths:
        return Measured()
    pages = pages_of(paths)
    slide = SlideScale.of(pages, um_per_px, kind)
    names = dict(zip(paths, names_below(paths), strict=True))
    named = [page_name(names[page.path], page) for page in pages]
    weight = sum(1 if kind_by_size(*page.size, kind) == "crop" else _FIELD for page in pages)
    count = min(processes or os.cpu_count() or 1, -(-weight // 32), len(pages))
    options: dict[str, Any] = {"slide": slide, "kind": kind, "overlay": overlay}

    def results() -> Iterator[Measured]:
        if count == 1:
            with single_threaded_opencv():
                yield from map(partial(_measure_page, **options), pages, named)
            return
        task = partial(_measure_page_alone, **options)
        chunk = max(16 * len(pages) // weight, 1)
        yield from map_in_processes(task, pages, named, processes=count, chunksize=chunk)

    kinds = kinds_of(pages, kind)
    out = Measured(notes=[f"taken for: {kinds}"] * bool(kinds) + slide.sayings(pages))
    for found in progress(results(), len(pages), "measuring", "image", shown_from=min(100, 2000 // weight + 2)):
        out.add(found)
    return out


def _measure_record(record: dict[str, Any], um_per_px: float | None, alone: bool) -> dict[str, Any]:
    if alone:  # in a process of its own
        cv2.setNumThreads(1)
    stored = record["image"]
    image = Path(stored["path"]) if stored["bytes"] is None else stored["bytes"]
    return measurement_row(measure(read_image(image, stored["path"] or "image"), um_per_px))


def measure_dataset(dataset: "Dataset", um_per_px: float | None = None, processes: int | None = None) -> "Dataset":
    """Measure the head in every image of a data set, with a progress bar.

    Args:
        dataset: Any `datasets.Dataset` with a column ``image``.
        um_per_px: Micrometres per pixel, if known.
        processes: Number of processes; all cores if None.

    Returns:
        The data set with the columns of `measurement_row`, of which those it already had are measured anew.

    Raises:
        InputError: An image that can't be read.
    """
    from datasets import Features, Image, Value

    kinds = {"flags": "string", "ok": "bool"}
    columns = measurement_row(HeadMorphology.none((0, 0), um_per_px))
    new = {key: Value("bool" if key.startswith("who_") else kinds.get(key, "float64")) for key in columns}
    stored = dataset.cast_column("image", Image(decode=False))
    count = min(processes or os.cpu_count() or 1, max(len(dataset) // 32, 1))
    with single_threaded_opencv():
        measured = stored.map(
            partial(_measure_record, um_per_px=um_per_px, alone=count > 1),
            features=Features({**stored.features, **new}),
            num_proc=count if count > 1 else None,
            desc="measuring",
        )
    return measured.cast_column("image", Image())
