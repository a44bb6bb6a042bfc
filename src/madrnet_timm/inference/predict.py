"""Many images into a table: read, searched for heads and measured by threads while the network computes."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.crops import HeadCrop, cut_head
from ..data.kinds import examine, kind_by_size
from ..data.measuring import measurement_row, place_row, single_threaded_opencv
from ..data.pages import Page, pages_of, read_page
from ..data.reading import pixel_sha256
from ..data.scale import SlideScale
from ..errors import InputError
from ..hub.crop_scale import crop_side
from ..morphology import FieldSearch, HeadMorphology
from ..progress import progress
from .classifier import Classifier, Prediction, Prepared
from .field_images import FieldImages
from .field_record import FieldRecord
from .finished import FinishedRows, StoredRows
from .predicted import BETWEEN, Outcome, Predicted, Row
from .screen import NO_SPERM, Screen

__all__ = ["Options", "finish_pages", "predict_files", "predict_pages", "prediction_row"]

_THREADS = 2  # that read, search and measure
_AHEAD = 3  # batches that are prepared while one is computed
_SHOWN_FROM = {True: 3, False: 50}  # images with a bar, with and without fields among them
_HEADS_OF_FIELD = 8  # as many as a field is reckoned to have, when images are put into batches
_PIXELS_OF_FIELD = 2_000_000  # a larger one is reckoned to have more: few large fields are under way at a time


@dataclass(frozen=True)
class Options:
    """How images are predicted.

    Attributes:
        slide: Their scale.
        kind: What they are, one of `madrnet_timm.data.kinds.KINDS`.
        batch_size: Heads per batch.
        screen: Another model that says what is no sperm.
        images: Where crops of fields and overlays are written.
        quiet: Another process shows how far the prediction is.
    """

    slide: SlideScale
    kind: str = "auto"
    batch_size: int = 32
    screen: Screen | None = None
    images: FieldImages | None = None
    quiet: bool = False


@dataclass(frozen=True)
class _Ready:
    """A page on its way into the network. Of a field nothing of its size is kept but where its image is drawn upon."""

    pixels: str  # hash
    crops: list[HeadCrop]
    prepared: list[Prepared]
    screened: list[Prepared]
    field: FieldRecord | None = None
    image: NDArray[np.uint8] | None = None


def prediction_row(file: str, prediction: Prediction, pixels: str, place: Row | None = None) -> Row:
    """A prediction as the cells of a table: class, probabilities, doubts, measurements, `pixel_sha256` of the image.

    Args:
        file: The image's name.
        prediction: Of a head.
        pixels: `pixel_sha256` of the crop, or of the field that the head lies in.
        place: Where in its field the head lies, see `place_row`; None for a crop.
    """
    return {
        "file": file,
        **(place or place_row()),
        "prediction": prediction.label,
        "probability": max(prediction.probabilities.values()),
        "abstain": prediction.abstain,
        "prediction_set": BETWEEN.join(prediction.prediction_set),
        "entropy": prediction.entropy,
        "out_of_domain": " ".join(prediction.out_of_domain),
        **{f"p_{name}": value for name, value in prediction.probabilities.items()},
        **measurement_row(prediction.head),
        "pixel_sha256": pixels,
    }


def _prepare(page: Page, classifier: Classifier, options: Options) -> _Ready | str:
    """A page ready for the network, or why it can't be read."""
    scale, source = options.slide.um_per_px(page)
    try:
        image = read_page(page, crop=options.kind == "crop")
        found = examine(image, options.kind, scale, str(page))
    except InputError as error:
        return str(error)
    pixels = pixel_sha256(image)
    if isinstance(found, HeadMorphology):
        crops, field = [HeadCrop(image, found, (0, 0))], None
        screened = crops
    else:
        length = options.slide.head_length(page, found, scale)
        field = _record(page, image, found, (scale, source), pixels)
        crops, screened = _cut(image, found, length, classifier), []
        if options.screen is not None:
            screened = _cut(image, found, length, options.screen.classifier)
        if crops:
            field = replace(field, crop_side=len(crops[0].image))
    return _Ready(
        pixels,
        crops,
        [classifier.prepare(crop.image, scale, crop.head) for crop in crops],
        [] if options.screen is None else [
            options.screen.classifier.prepare(crop.image, scale, crop.head) for crop in screened
        ],
        field,
        image if field is not None and options.images is not None and options.images.overlay is not None else None,
    )  # fmt: skip


def _cut(image: NDArray[np.uint8], found: FieldSearch, length: float | None, classifier: Classifier) -> list[HeadCrop]:
    if length is None:
        return []
    side = crop_side(length, classifier.folder.info)
    return [cut_head(image, head, side) for head in found.heads]


def _record(
    page: Page, image: NDArray[np.uint8], found: FieldSearch, scale: tuple[float | None, str], pixels: str
) -> FieldRecord:
    return FieldRecord(
        file=str(page.path),
        page=page.number,
        width=image.shape[1],
        height=image.shape[0],
        heads=len(found.heads),
        at_border=sum(head.touches_border for head in found.heads),
        head_length=found.head_length,
        um_per_px=scale[0],
        um_source=scale[1],
        reason=found.reason,
        pixel_sha256=pixels,
    )


def _chunks(pages: Sequence[Page], options: Options) -> Iterator[list[Page]]:
    """Pages with about as many heads as a batch has."""
    chunk: list[Page] = []
    heads = 0
    for page in pages:
        more = 1
        if kind_by_size(*page.size, options.kind) != "crop":
            more = max(round(_HEADS_OF_FIELD * page.size[0] * page.size[1] / _PIXELS_OF_FIELD), _HEADS_OF_FIELD)
        if chunk and heads + more > options.batch_size:
            yield chunk
            chunk, heads = [], 0
        chunk.append(page)
        heads += more
    if chunk:
        yield chunk


def _prepared(
    chunks: Iterable[list[Page]], task: Callable[[Page], _Ready | str]
) -> Iterator[list[tuple[Page, _Ready | str]]]:
    """Prepared pages in chunks, a few of which are always under way."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[list[tuple[Page, Future[_Ready | str]]]] = deque()
        try:
            for chunk in chunks:
                waiting.append([(page, pool.submit(task, page)) for page in chunk])
                if len(waiting) > _AHEAD:
                    yield [(page, future.result()) for page, future in waiting.popleft()]
            while waiting:
                yield [(page, future.result()) for page, future in waiting.popleft()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # interrupted: what has not begun need not


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


def _outcomes(
    chunk: Sequence[tuple[Page, _Ready | str]], classifier: Classifier, options: Options
) -> list[tuple[Page, Outcome]]:
    """Classify the heads of some pages."""
    ready = [item for _, item in chunk if isinstance(item, _Ready)]
    prepared = [one for item in ready for one in item.prepared]
    size = options.batch_size
    predictions = [
        one for start in range(0, len(prepared), size) for one in classifier.predict(prepared[start : start + size])
    ]
    no_sperm: list[tuple[float, bool]] = []
    if options.screen is not None:
        screened = [one for item in ready for one in item.screened]
        for start in range(0, len(screened), size):
            no_sperm += options.screen.no_sperm(screened[start : start + size])
    out, begin = [], 0
    for page, item in chunk:
        if isinstance(item, str):
            out.append((page, Outcome(skipped=item)))
            continue
        its = slice(begin, begin + len(item.prepared))
        begin = its.stop
        rows = _rows(page, item, predictions[its], no_sperm[its])
        if options.images is not None and item.field is not None:
            options.images.write(page, item.image, item.crops, rows, item.field.reason)
        elif options.images is not None:
            options.images.write_crop(page, item.crops[0], rows[0])
        out.append((page, Outcome(tuple(rows), item.field)))
    return out


def _rows(
    page: Page, item: _Ready, predictions: Sequence[Prediction], no_sperm: Sequence[tuple[float, bool]]
) -> list[Row]:
    rows = []
    for number, (crop, prediction) in enumerate(zip(item.crops, predictions, strict=True), 1):
        place = None if item.field is None else place_row(crop.head, page.number, number, crop.origin)
        row = prediction_row(str(page.path), prediction, item.pixels, place or place_row(page=page.number))
        if no_sperm:
            probability, is_none = no_sperm[number - 1]
            row[NO_SPERM] = probability
            row["flags"] = " ".join(sorted({*row["flags"].split(), *([NO_SPERM] if is_none else [])}))
        rows.append(row)
    return rows


def _predicted(pages: Sequence[Page], classifier: Classifier, options: Options) -> Iterator[tuple[Page, Outcome]]:
    """What comes of each image, in order. What has been given is not kept."""

    def outcomes() -> Iterator[tuple[Page, Outcome]]:
        task = partial(_prepare, classifier=classifier, options=options)
        for batch in _prepared(_chunks(pages, options), task):
            yield from _outcomes(batch, classifier, options)

    fields = any(kind_by_size(*page.size, options.kind) != "crop" for page in pages)
    with _sharing_cores():
        if options.quiet:
            yield from outcomes()
        else:
            yield from progress(outcomes(), len(pages), "predicting", "image", shown_from=_SHOWN_FROM[fields])


def _common_scale(pages: Sequence[Page], slide: SlideScale) -> tuple[float | None, str]:
    """Micrometres per pixel that all images have in common, and where they come from; None where they differ."""
    found = {slide.um_per_px(page) for page in pages if page.size != (0, 0)}
    return found.pop() if len(found) == 1 else (slide.given, "--um-per-px" if slide.given is not None else "")


def _columns(pages: Sequence[Page], classifier: Classifier, options: Options) -> tuple[str, ...]:
    """Those of the rows; in micrometres where an image has a scale."""
    scales = (options.slide.um_per_px(page)[0] for page in pages)
    head = HeadMorphology.none((0, 0), next((scale for scale in scales if scale is not None), None))
    nothing = Prediction("", dict.fromkeys(classifier.label_names, 0.0), 0.0, True, (), (), head)
    return (*prediction_row("", nothing, ""), *([] if options.screen is None else [NO_SPERM]))


def _noted(
    rows: Collection[Row], outcomes: Iterable[Outcome], pages: Sequence[Page], classifier: Classifier, options: Options
) -> Predicted:
    """Rows, and everything else that is known about them."""
    um_per_px, um_source = _common_scale(pages, options.slide)
    out = Predicted(rows, _columns(pages, classifier, options), um_per_px=um_per_px, um_source=um_source)
    if options.screen is not None:
        out.screen = options.screen.classifier.folder
    for page, outcome in zip(pages, outcomes, strict=True):
        if outcome.skipped:
            out.skipped.append(outcome.skipped)
        elif kind_by_size(*page.size, options.kind) == "auto":
            out.by_look["crop" if outcome.field is None else "field"] += 1
        if outcome.field is not None:
            out.fields.append(outcome.field)
        out.abstained += sum(row["abstain"] for row in outcome.rows)
        out.outside += sum(bool(row["out_of_domain"]) for row in outcome.rows)
        out.no_sperm += sum(NO_SPERM in row["flags"].split() for row in outcome.rows)
    return out


def predict_pages(
    pages: Sequence[Page], classifier: Classifier, options: Options, finished: FinishedRows | None = None
) -> Predicted:
    """Classify and measure the heads of many images, with a progress bar.

    Args:
        pages: Files and pages of files.
        classifier: The model.
        options: Scale, kind and so on.
        finished: A file where outcomes are kept as they come, and what is done already. With it the rows lie on the
            disk, and many images take no more memory than a few.
    """
    if finished is None:
        outcomes = [outcome for _, outcome in _predicted(pages, classifier, options)]
        return _noted([row for outcome in outcomes for row in outcome.rows], outcomes, pages, classifier, options)
    finish_pages(pages, classifier, options, finished)
    return _noted(StoredRows(finished, pages), finished.outcomes(pages), pages, classifier, options)


def finish_pages(pages: Sequence[Page], classifier: Classifier, options: Options, finished: FinishedRows) -> None:
    """Classify and measure the heads of those images that are not done yet, into the file where outcomes are kept."""
    for page, outcome in _predicted([page for page in pages if page not in finished], classifier, options):
        finished.add(page, outcome)


def predict_files(
    paths: Sequence[Path],
    classifier: Classifier,
    um_per_px: float | None = None,
    batch_size: int = 32,
    kind: str = "auto",
) -> Predicted:
    """Classify and measure the heads of many image files, crops, fields or both, with a progress bar.

    Args:
        paths: The files; of a TIFF of several pages each page is an image.
        classifier: The model.
        um_per_px: Micrometres per pixel; if None, what the files say, where that is plausible.
        batch_size: Heads per batch.
        kind: What the images are, one of `madrnet_timm.data.kinds.KINDS`.

    Raises:
        InputError: The scale given does not fit, see `SlideScale.of`.
    """
    pages = pages_of(paths)
    return predict_pages(pages, classifier, Options(SlideScale.of(pages, um_per_px, kind), kind, batch_size))
