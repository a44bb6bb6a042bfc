"""What a model says of heads in a mirror."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..morphology import measure
from .classifier import Classifier

__all__ = ["mirrored_probabilities"]


def mirrored_probabilities(
    folder: Path, images: Iterable[NDArray[np.uint8]], names: Sequence[str]
) -> NDArray[np.float64]:
    """Probabilities ``(images, classes)`` of a model on the mirrored views of images, not calibrated.

    Args:
        folder: Model folder.
        images: ``(h, w, 3)`` RGB, crops of single heads as a data set holds them, also such as look like a field.
        names: Classes in the order of the columns.

    Raises:
        InputError: See `Classifier`.
    """
    classifier = Classifier(folder)
    prepared = [classifier.prepare(image, head=measure(image)).mirrored for image in images]
    return classifier.answers(prepared)[:, [classifier.label_names.index(name) for name in names]]
