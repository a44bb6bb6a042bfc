"""Head measurements of many images at once, by several processes."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import reporting_disk_errors, write_image
from ..morphology import HeadMorphology, HeadRanges, draw_overlay, measure
from ..opencv import cv2
from ..progress import progress
from .reading import names_below, read_image
from .scale import check_scale_fits
from .workers import map_in_processes

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["measure_dataset", "measure_files", "measurement_row", "single_threaded_opencv"]

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


_Measured = tuple[dict[str, Any] | None, str | None]
"""The row of one file, and what went wrong with it or its overlay."""


def _measure_file(path: Path, name: str, um_per_px: float | None, overlay: Path | None) -> _Measured:
    try:
        image = read_image(path)
    except InputError as error:
        return None, str(error)
    head = measure(image, um_per_px)
    row = {"file": str(path)} | measurement_row(head)
    if overlay is not None:
        target = overlay / name
        try:
            with reporting_disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                write_image(target, draw_overlay(image, head))
        except InputError as error:
            return row, str(error)
    return row, None


def _measure_file_alone(path: Path, name: str, **options: Any) -> _Measured:
    """`_measure_file` in a process of its own."""
    cv2.setNumThreads(1)
    return _measure_file(path, name, **options)


def measure_files(
    paths: Sequence[Path],
    um_per_px: float | None = None,
    overlay: Path | None = None,
    processes: int | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the head in each of many image files.

    Args:
        paths: The files.
        um_per_px: Micrometres per pixel, if known.
        overlay: Folder for an image of each measurement.
        processes: Number of processes; all cores if None.

    Returns:
        A row for each file that could be read, in order, and a message for each of the others and for each overlay
        that could not be written.

    Raises:
        InputError: The scale does not fit, see `check_scale_fits`.
    """
    if not paths:
        return [], []
    check_scale_fits(paths, um_per_px)
    count = min(processes or os.cpu_count() or 1, -(-len(paths) // 32))
    options: dict[str, Any] = {"um_per_px": um_per_px, "overlay": overlay}
    names = names_below(paths)

    def results() -> Iterator[_Measured]:
        if count == 1:
            with single_threaded_opencv():
                yield from map(partial(_measure_file, **options), paths, names)
            return
        task = partial(_measure_file_alone, **options)
        yield from map_in_processes(task, paths, names, processes=count, chunksize=16)

    found = list(progress(results(), len(paths), "measuring", "image", shown_from=100))
    return [row for row, _ in found if row is not None], [why for _, why in found if why is not None]


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

    mask, neck = np.zeros((2, 0, 0), dtype=bool)
    kinds = {"flags": "string", "ok": "bool"}
    columns = measurement_row(HeadMorphology(mask, neck, np.zeros((0, 2), dtype=np.float32), um_per_px=um_per_px))
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
