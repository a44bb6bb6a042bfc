"""Many image files into a table: decoded and measured by threads while the network computes."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..data.measuring import measurement_row, single_threaded_opencv
from ..data.reading import pixel_sha256, read_image
from ..data.scale import check_scale_fits
from ..errors import InputError
from ..progress import progress
from .classifier import Classifier, Prediction, Prepared
from .finished import FinishedRows, Outcome
from .predicted import PLACE, Predicted

__all__ = ["predict_files", "prediction_row"]

_THREADS = 2  # that decode and measure
_AHEAD = 3  # batches that are prepared while one is computed

_Ready = tuple[Prepared, str]  # and the hash of its pixels


def prediction_row(file: str, prediction: Prediction, pixels: str) -> dict[str, Any]:
    """A prediction as the cells of a table: class, probabilities, doubts, measurements, `pixel_sha256` of the image."""
    return {
        "file": file,
        **dict.fromkeys(PLACE),
        "counted": True,
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
    """An image ready for the network and the hash of its pixels, or why there is none."""
    try:
        image = read_image(path, crop=True)
    except InputError as error:
        return str(error)
    return classifier.prepare(image, um_per_px), pixel_sha256(image)


def _batches(
    paths: Sequence[Path], batch_size: int, task: Callable[[Path], _Ready | str]
) -> Iterator[list[tuple[Path, _Ready | str]]]:
    """Prepared images in batches, a few of which are always under way."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[list[tuple[Path, Future[_Ready | str]]]] = deque()
        for start in range(0, len(paths), batch_size):
            waiting.append([(path, pool.submit(task, path)) for path in paths[start : start + batch_size]])
            if len(waiting) > _AHEAD:
                yield [(path, future.result()) for path, future in waiting.popleft()]
        while waiting:
            yield [(path, future.result()) for path, future in waiting.popleft()]


@contextmanager
def _sharing_cores() -> Iterator[None]:
    """OpenCV with one thread in each of ours, PyTorch with those that are left; more would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(before - _THREADS, 1))
    try:
        with single_threaded_opencv():
            yield
    finally:
        torch.set_num_threads(before)


def predict_files(
    paths: Sequence[Path],
    classifier: Classifier,
    um_per_px: float | None = None,
    batch_size: int = 32,
    finished: FinishedRows | None = None,
) -> Predicted:
    """Classify and measure many image files, with a progress bar.

    Args:
        paths: The files.
        classifier: The model.
        um_per_px: Micrometres per pixel, if known.
        batch_size: Images per batch.
        finished: Where each batch is kept as it comes, and what is done already.

    Returns:
        A row for each image, in order, and a message for each file that was skipped.

    Raises:
        InputError: The scale does not fit, see `check_scale_fits`.
    """
    check_scale_fits(paths, um_per_px)
    outcomes: dict[Path, Outcome] = {}
    if finished is not None:
        outcomes = {path: outcome for path in paths if (outcome := finished.get(path)) is not None}
    todo = [path for path in paths if path not in outcomes]
    with _sharing_cores():
        batches = _batches(todo, batch_size, lambda path: _prepare(path, classifier, um_per_px))
        count = math.ceil(len(todo) / batch_size)
        for batch in progress(batches, count, "predicting", "batch", shown_from=3):
            done: list[tuple[Path, Outcome]] = [(path, item) for path, item in batch if isinstance(item, str)]
            ready = [(path, *item) for path, item in batch if not isinstance(item, str)]
            if ready:
                predictions = classifier.predict([item for _, item, _ in ready])
                found = zip(ready, predictions, strict=True)
                done += [(path, prediction_row(str(path), given, pixels)) for (path, _, pixels), given in found]
            outcomes.update(done)
            if finished is not None:
                finished.add(done)
    ordered = [outcomes[path] for path in paths]
    return Predicted(
        [row for row in ordered if isinstance(row, dict)],
        [why for why in ordered if isinstance(why, str)],
        um_per_px=um_per_px,
        um_source="" if um_per_px is None else "--um-per-px",
    )
