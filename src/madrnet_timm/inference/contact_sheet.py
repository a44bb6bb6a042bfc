"""A contact sheet of classified heads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.pipelines import prepare
from ..files import replacing

if TYPE_CHECKING:
    from .classifier import Prediction

__all__ = ["contact_sheet"]

_HEADS_PER_ROW = 4
_GREEN, _GRAY = "#00a000", "#666666"


def contact_sheet(
    images: Sequence[NDArray[np.uint8]], predictions: Sequence["Prediction"], pipeline: str, path: str | Path
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
    height = 1.5 * rows + 0.25
    figure = Figure(figsize=(2.6 * columns, height))
    grid = figure.add_gridspec(
        rows, columns, left=0.005, right=0.995, top=1 - 0.22 / height, bottom=0.25 / height, wspace=0.09, hspace=0.24
    )
    for index, (image, prediction) in enumerate(zip(images, predictions, strict=True)):
        left, right = (figure.add_subplot(cell) for cell in grid[index].subgridspec(1, 2, wspace=0.03))
        _draw_measured(left, image, prediction)
        _draw_predicted(right, image, prediction, pipeline)
    figure.text(0.5, 0.06 / height, "Research use only; not a medical device", ha="center", fontsize=8, color=_GRAY)
    with replacing(Path(path)) as beside:
        figure.savefig(beside, dpi=150, format="png")


def _draw_measured(axes: Any, image: NDArray[np.uint8], prediction: "Prediction") -> None:
    head = prediction.head
    axes.imshow(image)
    if len(head.contour):
        outline = np.vstack([head.contour, head.contour[:1]])
        axes.plot(outline[:, 0], outline[:, 1], color=_GREEN, linewidth=1.2)
    _finish(axes, "no head" if head.aspect_ratio is None else f"γ = {head.aspect_ratio:.2f}")


def _draw_predicted(axes: Any, image: NDArray[np.uint8], prediction: "Prediction", pipeline: str) -> None:
    axes.imshow(prepare(image, pipeline, 112, morphology=prediction.head))
    probability = 100 * prediction.probabilities[prediction.label]
    _finish(axes, f"{prediction.label} {'> 99' if probability > 99 else f'{probability:.0f}'} %")


def _finish(axes: Any, title: str) -> None:
    axes.axis("off")
    axes.set_title(title, fontsize=9, pad=3)
