"""Figures of a training run: learning curves and confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

__all__ = ["confusion_matrix_figure", "learning_curves_figure", "mean_curves_figure"]


def _marker(epochs: Sequence[float]) -> str | None:
    """For a single epoch, which makes no line."""
    return "o" if len(epochs) == 1 else None


def learning_curves_figure(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss parts and held-out accuracy and F1 over the epochs, as a PNG file."""
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    marker = _marker(epochs)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key in history[0]:
        if key == "loss" or key.startswith("loss_"):
            name = key.removeprefix("loss_").replace("_", " ") if key != "loss" else "total"
            left.plot(
                epochs, [row[key] for row in history], label=name, marker=marker, linewidth=2 if key == "loss" else 1
            )
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    left.legend(frameon=False)
    for key in ("accuracy", "f1"):
        right.plot(epochs, [row[key] for row in history], label="F1 (macro)" if key == "f1" else key, marker=marker)
    right.set(xlabel="epoch", ylabel="held-out fold", ylim=(0, 1.02))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120, format="png")


def mean_curves_figure(histories: Sequence[Sequence[Mapping[str, float]]], path: Path) -> None:
    """Training loss and held-out accuracy of runs of the same length, thin, and their means, thick; a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("training loss", "held-out accuracy"), strict=True
    ):
        values = np.array([[row[key] for row in history] for history in histories])
        epochs = [row["epoch"] for row in histories[0]]
        axes.plot(epochs, values.T, color="C0", alpha=0.3, linewidth=0.8)
        label, marker = f"mean of {len(histories)} folds", _marker(epochs)
        axes.plot(epochs, values.mean(axis=0), color="C0", linewidth=2, marker=marker, label=label)
        axes.set(xlabel="epoch", ylabel=title, ylim=(0, 1.02 if key == "accuracy" else None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120, format="png")


def confusion_matrix_figure(matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path) -> None:
    """Confusion matrix with counts, shaded by the share of the row, as a PNG file."""
    from matplotlib.figure import Figure

    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.85 * len(class_names)
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, col), count in np.ndenumerate(counts):
        axes.text(col, row, str(count), ha="center", va="center", color="white" if share[row, col] > 0.5 else "black")
    axes.set(
        xticks=range(len(class_names)),
        yticks=range(len(class_names)),
        xticklabels=class_names,
        yticklabels=class_names,
        xlabel="predicted",
        ylabel="reference",
    )
    axes.tick_params(axis="x", rotation=30)
    figure.savefig(path, dpi=120, format="png")
