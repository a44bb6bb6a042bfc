"""A contact sheet of classified heads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.pipelines import prepare
from ..files import replacing
from .classifier import Prediction

__all__ = ["contact_sheet"]

_HEADS_PER_ROW = 4
_GREEN, _GRAY = "#00a000", "#666666"


def contact_sheet(
    images: Sequence[NDArray[np.uint8]], predictions: Sequence[Prediction], pipeline: str, path: str | Path
) -> None:
    """Draw each image with the head's outline and γ, and beside it what the network sees and the class it predicts.

    Args:
        images: RGB, ``(height, width, 3)`` uint8, at most some dozens.
        predictions: One per image.
        pipeline: Pipeline of the model, a name of `PIPELINES`.
        path: The PNG file to write.

    Raises:
        InputError: The file can't be written.
    """
    from matplotlib.figure import Figure

    columns = min(len(images), _HEADS_PER_ROW)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.3 * columns, 1.45 * rows + 0.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03)
    pairs = figure.subfigures(rows, columns, squeeze=False).flat
    for index, pair in enumerate(pairs):
        left, right = pair.subplots(1, 2)
        left.axis("off")
        right.axis("off")
        if index < len(images):
            _draw_measured(left, images[index], predictions[index])
            _draw_predicted(right, images[index], predictions[index], pipeline)
    figure.supxlabel("Research use only; not a medical device", fontsize=7, color=_GRAY)
    with replacing(Path(path)) as beside:
        figure.savefig(beside, dpi=180, format="png")


def _draw_measured(axes: Any, image: NDArray[np.uint8], prediction: Prediction) -> None:
    head = prediction.head
    axes.imshow(image)
    if len(head.contour):
        outline = np.vstack([head.contour, head.contour[:1]])
        axes.plot(outline[:, 0], outline[:, 1], color=_GREEN, linewidth=1.2)
    axes.set_title("no head" if head.aspect_ratio is None else f"γ = {head.aspect_ratio:.2f}", fontsize=9, pad=3)


def _draw_predicted(axes: Any, image: NDArray[np.uint8], prediction: Prediction, pipeline: str) -> None:
    axes.imshow(prepare(image, pipeline, 112, morphology=prediction.head))
    probability = 100 * prediction.probabilities[prediction.label]
    axes.set_title(f"{prediction.label} {probability:.0f} %", fontsize=9, pad=3, fontweight="bold")
