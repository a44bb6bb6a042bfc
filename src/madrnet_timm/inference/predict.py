"""Many picture files into a table: decoded and measured by threads while the network computes."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2

from ..data.measuring import measurement_row
from ..data.reading import decode, pixel_sha256, read
from ..errors import InputError
from ..progress import progress
from .classifier import Classifier, Prediction, Prepared

__all__ = ["LARGEST_CROP", "predict_files", "prediction_row"]

LARGEST_CROP = 800
"""Longer side in pixels from which on a picture is taken for a whole field of view."""

_THREADS = 2  # that decode and measure
_AHEAD = 3  # batches that are prepared while one is computed

_Ready = tuple[Prepared, str]  # and the hash of its pixels


def prediction_row(file: str, prediction: Prediction, pixels: str) -> dict[str, Any]:
    """A prediction as the cells of a table: class, probabilities, doubts, measurements, `pixel_sha256` of the image."""
    return {
        "file": file,
        "prediction": prediction.label,
        "probability": max(prediction.probabilities.values()),
        "abstain": prediction.abstain,
        "entropy": prediction.entropy,
        "out_of_domain": " ".join(prediction.out_of_domain),
        **{f"p_{name}": value for name, value in prediction.probabilities.items()},
        **measurement_row(prediction.head),
        "pixel_sha256": pixels,
    }


def _prepare(path: Path, classifier: Classifier, um_per_px: float | None) -> _Ready | str:
    """A picture ready for the network and the hash of its pixels, or why there is none."""
    try:
        image = decode(read(path), str(path))
    except InputError as error:
        return str(error)
    height, width = image.shape[:2]
    if max(height, width) > LARGEST_CROP:
        return (
            f"{path}: {width}×{height} pixels look like a whole field of view; expected crops of single heads, at most "
            f"{LARGEST_CROP} pixels wide (HuSHeM's have 131): cut them out, or make the picture smaller"
        )
    return classifier.prepare(image, um_per_px), pixel_sha256(image)


def _batches(
    paths: Sequence[Path], batch_size: int, task: Callable[[Path], _Ready | str]
) -> Iterator[list[tuple[Path, _Ready | str]]]:
    """Prepared pictures in batches, a few of which are always under way."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[list[tuple[Path, Future[_Ready | str]]]] = deque()
        for start in range(0, len(paths), batch_size):
            waiting.append([(path, pool.submit(task, path)) for path in paths[start : start + batch_size]])
            if len(waiting) > _AHEAD:
                yield [(path, future.result()) for path, future in waiting.popleft()]
        while waiting:
            yield [(path, future.result()) for path, future in waiting.popleft()]


def predict_files(
    paths: Sequence[Path],
    classifier: Classifier,
    um_per_px: float | None = None,
    batch_size: int = 32,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Classify and measure many picture files, with a progress bar.

    Args:
        paths: The files.
        classifier: The model.
        um_per_px: Micrometres per pixel, if known.
        batch_size: Pictures a batch.

    Returns:
        A row for each picture, in order, and a message for each file that was skipped.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads are ours
    try:
        batches = _batches(paths, batch_size, lambda path: _prepare(path, classifier, um_per_px))
        count = math.ceil(len(paths) / batch_size)
        for batch in progress(batches, count, "predicting", "batch", shown_from=3):
            ready = [(path, *item) for path, item in batch if not isinstance(item, str)]
            skipped += [item for _, item in batch if isinstance(item, str)]
            if ready:
                predictions = classifier.predict([item for _, item, _ in ready])
                found = zip(ready, predictions, strict=True)
                rows += [prediction_row(str(path), prediction, pixels) for (path, _, pixels), prediction in found]
    finally:
        cv2.setNumThreads(before)
    return rows, skipped
