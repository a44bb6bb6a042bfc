"""A cross-validation's models on their held-out heads as they are, mirrored, turned, shifted and resized: the mean.

    python -m examples.studies.test_time runs/mixed --output runs/mixed-views.csv

Twelve views of each prepared head: as it is, mirrored, turned by 5 and 10 degrees to either side, shifted by 3 pixels
in each direction, 7 % smaller and larger. Each fold is predicted by the model that never saw its images. The table has
a row per held-out image: seed, fold, file, label, prediction, probabilities.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.command import run_command

from .held_out import predict_held_out

if TYPE_CHECKING:
    from madrnet_timm.inference.classifier import Prepared

Image = NDArray[np.uint8]

CHANGES = (  # degrees, shift in pixels, size
    *((angle, (0, 0), 1.0) for angle in (-10, -5, 5, 10)),
    *((0, shift, 1.0) for shift in ((3, 0), (-3, 0), (0, 3), (0, -3))),
    *((0, (0, 0), size) for size in (0.93, 1.07)),
)


def changed(view: Image) -> Iterator[Image]:
    """A prepared head and what `CHANGES` and a mirror make of it."""
    import cv2

    yield view
    yield np.ascontiguousarray(view[:, ::-1])
    height, width = view.shape[:2]
    for angle, shift, size in CHANGES:
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, size)
        matrix[:, 2] += shift
        yield cv2.warpAffine(view, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def changed_heads(head: "Prepared") -> "Iterator[Prepared]":
    """What `changed` makes of a head, and of its second view where the model has one."""
    seconds = repeat(None) if head.second is None else changed(head.second)
    for view, second in zip(changed(head.view), seconds, strict=False):
        yield replace(head, view=view, second=second)


def probabilities(folder: Path, images: Iterable[Image], classes: Sequence[str]) -> NDArray[np.float64]:
    """The mean of what a model says of all views of images, ``(images, classes)``."""
    from madrnet_timm.inference import Classifier
    from madrnet_timm.morphology import measure

    classifier = Classifier(folder)
    order = [classifier.label_names.index(name) for name in classes]
    heads = [list(changed_heads(classifier.prepare(image, head=measure(image)))) for image in images]
    return np.mean([classifier.answers(each)[:, order] for each in zip(*heads, strict=True)], axis=0)


def main() -> None:
    predict_held_out(__doc__, probabilities)


if __name__ == "__main__":
    run_command(main)
