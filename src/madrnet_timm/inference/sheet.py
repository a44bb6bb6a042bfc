"""A contact sheet of classified heads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.pipelines import prepare
from ..files import replacing
from .classifier import Prediction

__all__ = ["prediction_sheet"]


def prediction_sheet(
    images: Sequence[NDArray[np.uint8]], predictions: Sequence[Prediction], pipeline: str, path: str | Path
) -> None:
    """Pictures with their outline and γ, what the network saw of them, and the class it gave; a PNG file.

    Args:
        images: RGB, ``(height, width, 3)`` uint8, at most some dozens.
        predictions: One an image.
        pipeline: Pipeline of the model, a name of `PIPELINES`.
        path: The file.

    Raises:
        InputError: The file can't be written.
    """
    from matplotlib.figure import Figure

    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 4.0 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for index, (image, prediction) in enumerate(zip(images, predictions, strict=True)):
        top, column = 2 * (index // columns), index % columns
        found = prediction.head
        grid[top, column].imshow(image)
        if len(found.contour):
            outline = np.vstack([found.contour, found.contour[:1]])
            grid[top, column].plot(outline[:, 0], outline[:, 1], color="#00c000", linewidth=1.2)
        ratio = "no head" if found.aspect_ratio is None else f"γ = {found.aspect_ratio:.2f}"
        grid[top, column].set_title(ratio, fontsize=9)
        grid[top + 1, column].imshow(prepare(image, pipeline, 112, morphology=found))
        probability = prediction.probabilities[prediction.label]
        grid[top + 1, column].set_title(f"{prediction.label}  {100 * probability:.0f} %", fontsize=9)
    figure.supxlabel("Research use only; not a medical device", fontsize=8, color="gray")
    with replacing(Path(path)) as beside:
        figure.savefig(beside, dpi=110, format="png")
