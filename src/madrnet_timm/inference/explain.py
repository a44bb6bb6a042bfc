"""Figures of what a model looks at: attention maps of single heads, t-SNE of the embeddings of many."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..files import replacing
from ..models import MADRNet
from ..opencv import cv2
from .classifier import Classifier, Prediction, Prepared
from .finite import check_finite
from .gradcam import attention_maps

__all__ = ["STAGES", "attention_figure", "attention_overlays", "embed", "title_of", "tsne", "tsne_figure"]

_HEAT = 0.45  # weight of a heat map on its image
_PERPLEXITY = 15
STAGES = {"backbone": "backbone B", "reversible": "after R", "bilinear": "in P"}


def attention_overlays(classifier: Classifier, prepared: Sequence[Prepared]) -> list[dict[str, NDArray[np.uint8]]]:
    """For each prepared image, what speaks for its predicted class after each stage, laid over it as a heat map.

    Args:
        classifier: Of a MADRNet, which prepared the images.
        prepared: The images.

    Raises:
        InputError: A plain timm model, which has no R and no P.
    """
    if not isinstance(classifier.model, MADRNet):
        raise InputError("attention maps need a MADRNet: a plain timm model has no R and no P")
    x = torch.from_numpy(classifier.normalized([item.view for item in prepared]))
    maps = attention_maps(classifier.model, x)
    out = []
    for index, item in enumerate(prepared):
        overlays = {}
        for name, cams in maps.items():
            heat = cv2.applyColorMap(np.uint8(255 * cams[index].numpy()), cv2.COLORMAP_VIRIDIS)[..., ::-1]
            overlays[name] = cv2.addWeighted(item.view, 1 - _HEAT, np.ascontiguousarray(heat), _HEAT, 0)
        out.append(overlays)
    return out


def title_of(prediction: Prediction) -> str:
    """Class and probability, and below them, a line for each, why they are to be doubted."""
    if "no_head" in prediction.head.flags:
        return "no head, so no class"
    doubts = ["abstains"] * prediction.abstain + ["unlike its training images"] * bool(prediction.out_of_domain)
    said = f"{prediction.label}  {100 * max(prediction.probabilities.values()):.0f} %"
    return "\n".join([said, *doubts])


def attention_figure(
    items: Sequence[Prepared],
    predictions: Sequence[Prediction],
    overlays: Sequence[dict[str, NDArray[np.uint8]]],
    path: Path,
) -> None:
    """The columns of the paper's Figure 4 as a PNG file, one row per image: as prepared, after B, after R, in P.

    Raises:
        InputError: The file can't be written.
    """
    from matplotlib.figure import Figure

    stages = list(overlays[0])
    figure = Figure(figsize=(2.1 * (1 + len(stages)), 2.3 * len(items) + 0.45), layout="constrained")
    grid = figure.subplots(len(items), 1 + len(stages), squeeze=False)
    for row, item, prediction, maps in zip(grid, items, predictions, overlays, strict=True):
        for axes, image in zip(row, (item.view, *maps.values()), strict=True):
            axes.imshow(image)
            axes.axis("off")
        row[0].set_title(title_of(prediction), fontsize=9)
        for axes, stage in zip(row[1:], stages, strict=True):
            axes.set_title(STAGES[stage], fontsize=9)
    figure.supxlabel(
        "Grad-CAM++, as coarse as the network's last map; all dark: nothing there speaks for the class.\n"
        "Research use only; not a medical device",
        fontsize=8,
        color="gray",
    )
    with replacing(path) as beside:  # tight: the layout cuts titles of several lines
        figure.savefig(beside, dpi=110, format="png", bbox_inches="tight", pad_inches=0.05)


@torch.inference_mode()
def embed(model: Any, x: torch.Tensor, batch_size: int = 32) -> NDArray[np.float32]:
    """Embeddings ``(images, width)`` of normalised images, what goes into the classifier.

    Raises:
        InputError: They are not finite.
    """
    parts = [model.forward_head(model.forward_features(part), pre_logits=True) for part in x.split(batch_size)]
    embeddings = torch.cat(parts).float().numpy()
    check_finite(embeddings, model.pretrained_cfg.get("file") or model.pretrained_cfg["architecture"])
    return embeddings


def tsne(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """t-SNE ``(images, 2)`` with the settings of Figures 3 and 12: perplexity 15, PCA initialisation, seed 42.

    Raises:
        InputError: Not more images than the perplexity.
    """
    from sklearn.manifold import TSNE

    if len(embeddings) <= _PERPLEXITY:
        raise InputError(f"{len(embeddings)} images: t-SNE with perplexity {_PERPLEXITY} needs more of them")
    return TSNE(2, perplexity=_PERPLEXITY, init="pca", random_state=42).fit_transform(embeddings)


def tsne_figure(
    points: NDArray[np.float32],
    labels: Sequence[int],
    names: Sequence[str],
    path: Path,
    trained_on: Sequence[bool] | None = None,
) -> None:
    """Points of `tsne` by class, told apart by colour and marker, as a PNG file.

    Args:
        points: ``(images, 2)``.
        labels: Class id of each image.
        names: Name of each class id.
        path: The file.
        trained_on: Images that the model was trained on, which are drawn pale.

    Raises:
        InputError: The file can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    chosen, pale = np.array(labels), np.zeros(len(labels), bool) if trained_on is None else np.array(trained_on)
    for label, name in enumerate(names):
        style = {"s": 22, "marker": "osD^vPX*"[label % 8], "color": f"C{label}", "linewidths": 0}
        for own, alpha in ((points[(chosen == label) & pale], 0.2), (points[(chosen == label) & ~pale], 0.85)):
            count = f"{name} ({len(own)}{' held out' if pale.any() else ''})"
            axes.scatter(own[:, 0], own[:, 1], alpha=alpha, label=count if alpha > 0.5 else None, **style)
    axes.legend(frameon=False)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE of the embedding (perplexity 15, PCA, seed 42)")
    with replacing(path) as beside:
        figure.savefig(beside, dpi=120, format="png")
