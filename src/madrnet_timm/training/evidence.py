"""What was measured of a model, on which images: the part of a model folder that others have to trust."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.folds import PROTOCOLS, divided_groups
from ..data.sources import SOURCES
from ..evaluation.calibration import Calibration, calibrate
from ..evaluation.guarantee import Guarantee, guarantee
from ..evaluation.results import Metrics
from ..hub.card import ANYWHERE, Card
from ..hub.cost import Cost
from ..hub.description import Description
from ..hub.model_info import ModelInfo
from .division import Division
from .run_config import RunConfig

__all__ = ["CALIBRATED", "Evidence", "describe_folds", "evidence_of_fold", "model_card", "promised"]

CALIBRATED = (
    "The temperature of the calibration, the threshold below which it abstains and its prediction sets come from {}, "
    "but for images without an outline and of cells that were trained on, too; what they promise is judged on images "
    "of other cells than those that chose the temperature."
)
"""Said of the held-out images that they come from."""


@dataclass(frozen=True)
class Evidence:
    """Figures and how they came about.

    Attributes:
        metrics: On held-out images, beside the controls there.
        protocol: What was trained and measured on which images.
        calibration: By the held-out images, see `promised`; None where it is not known.
        guarantee: What they allow to promise, see there; None where it is not known.
        images: Number of held-out images, each counted once whatever the number of seeds.
        where: What the controls were measured on.
        note: How to read the figures.
    """

    metrics: Metrics
    protocol: str
    calibration: Calibration | None
    guarantee: Guarantee | None
    images: int
    where: str = "the same fold"
    note: str = "One fold of a small data set: a single image moves the accuracy. Compare models over all folds."

    def added_to(self, info: ModelInfo) -> ModelInfo:
        """What is known of a model, with these figures."""
        return replace(
            info,
            protocol=self.protocol,
            accuracy=self.metrics.accuracy,
            confusion_matrix=self.metrics.confusion_matrix,
            controls=self.metrics.controls,
            held_out=self.images,
            auc=self.metrics.auc,
            calibration_error=self.metrics.calibration_error,
            calibration=self.calibration,
            guarantee=self.guarantee,
        )


def model_card(
    description: Description,
    cost: Cost,
    train: str,
    evidence: Evidence | None,
    figure: str | None = None,
    place: str = ANYWHERE,
    speed: str = "",
) -> Card:
    """The card of a trained model; see `Card`.

    Args:
        description: Of the model, with its figures.
        cost: Of one image.
        train: How to train it again, as Markdown.
        evidence: Where its figures come from; None for a model without any.
        figure: Name of the image of the confusion matrix beside the card.
        place: How to load it.
        speed: Time for one image, as rows of a Markdown table.
    """
    note, where = ("", "") if evidence is None else (evidence.note, evidence.where)
    return Card(description, cost, train, place=place, note=note, where=where, speed=speed, figure=figure)


def evidence_of_fold(
    config: RunConfig, division: Division, metrics: Metrics, probabilities: NDArray[np.float32]
) -> Evidence:
    """What a held-out fold says.

    Args:
        config: Of the training.
        division: Of its data.
        metrics: On the held-out images, beside the controls there.
        probabilities: Of the held-out images, ``(images, classes)``, in the order of the records.
    """
    divided = divided_groups(division.records["group"], division.folds.tolist())
    left_out = (
        f" {division.left_out} more of them are left out: the weights that it began with had been trained on them."
        if division.left_out
        else ""
    )
    conflicts = len(division.conflicts)
    protocol = (
        f"Trained on {len(division.train_records)} images of {SOURCES[config.dataset].title}, measured on the "
        f"{len(division.test_records)} of fold {config.fold} of {int(division.folds.max()) + 1} (numbered from 0; "
        f"{describe_folds(config, divided)}).{left_out} The held-out fold chose nothing of the training: the number "
        f"of epochs was fixed ({config.recipe.duration}). {CALIBRATED.format('it')}"
        + (f" {conflicts} images with conflicting labels were left out." if conflicts else "")
    )
    labels, groups, ratios = (division.test_records[key] for key in ("label", "group", "aspect_ratio"))
    known = set(division.train_records["group"])
    counted = [group not in known and ratio is not None for group, ratio in zip(groups, ratios, strict=True)]
    calibration, guaranteed = promised(probabilities, labels, groups, counted)
    return Evidence(metrics, protocol, calibration, guaranteed, len(labels))


def promised(
    probabilities: NDArray[np.floating], labels: Sequence[int], groups: Sequence[int], counted: Sequence[bool]
) -> tuple[Calibration | None, Guarantee | None]:
    """Calibration and guarantee by held-out images.

    Args:
        probabilities: ``(images, classes)``; the rows may be of several seeds.
        labels: Class ids.
        groups: Images of one cell have the same.
        counted: Of each image, whether it is like one that a user asks about: with an outline, as a model leaves a
            head without one to its user whatever the probability is, and of a cell of which no image was trained on.

    Returns:
        None twice where no image counts.
    """
    which = np.asarray(counted, dtype=bool)
    if not which.any():
        return None, None
    found = probabilities[which], np.asarray(labels)[which], np.asarray(groups)[which]
    return calibrate(*found), guarantee(*found)


def describe_folds(config: RunConfig, divided: int, seeds: Sequence[int] = ()) -> str:
    """How a run's images are divided, in words.

    Args:
        config: Of the run.
        divided: How many cells have images in several folds; said of folds from a file, which may do anything.
        seeds: Where there are several.
    """
    if isinstance(config.folds, Path):
        cells = f"{divided} cells have images in several folds, which flatters" if divided else "they divide no cell"
        return f"folds from {config.folds.name}; {cells}"
    several = f"; each of the seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"; seed {config.seed}"
    seed = "" if config.protocol == "session" else several
    return f"protocol {config.protocol}: {PROTOCOLS[config.protocol]}{seed}"
