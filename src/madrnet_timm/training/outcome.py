"""What a finished training writes: metrics, predictions, figures and the model folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from torch import nn

from ..data.sources import SOURCES
from ..evaluation.domain import domain_ranges
from ..evaluation.figures import confusion_matrix_figure, learning_curves_figure
from ..files import replacing, write_csv, write_text
from ..hub.cost import Cost
from ..hub.description import DataConfig, Description
from ..hub.model_folder import save_model_folder
from ..hub.model_info import ModelInfo
from .division import Division
from .evidence import Evidence, model_card
from .initial_weights import base_model_of
from .leakage import Experience
from .run_config import RunConfig
from .run_folder import RunFolder

__all__ = ["HOW_TO_TRAIN", "Outcome"]

HOW_TO_TRAIN = "Every option stands in `config.yaml` of the run; `madrnet train --help` explains them."
"""In a model card."""


@dataclass(frozen=True)
class Outcome:
    """A trained model and what it came from.

    Attributes:
        config: Of the training.
        folder: Of the run.
        division: Of its data.
        model: In eval mode.
        data_config: How its images are prepared.
        before: What its initial weights and its teachers have seen.
        cost: Of the model.
    """

    config: RunConfig
    folder: RunFolder
    division: Division
    model: nn.Module
    data_config: DataConfig
    before: Experience
    cost: Cost

    def write(self, history: Sequence[Mapping[str, float]], evidence: Evidence, probabilities: np.ndarray) -> None:
        """Write everything; ``probabilities`` are those of the held-out images, in the order of the records."""
        folder, metrics = self.folder, evidence.metrics
        write_text(folder.metrics, json.dumps(metrics.to_dict(), indent=2) + "\n")
        write_csv(folder.predictions, self._prediction_rows(probabilities))
        with replacing(folder.learning_curves) as path:
            learning_curves_figure(history, path)
        with replacing(folder.confusion_matrix) as path:
            confusion_matrix_figure(metrics.confusion_matrix, self.division.names, path)
        self.save_model(evidence)

    def save_model(self, evidence: Evidence | None) -> None:
        """Write the model folder; without ``evidence`` it says that nothing was measured."""
        config, division = self.config, self.division
        info = self._info()
        if evidence is None:
            images, title = len(division.train_records), SOURCES[config.dataset].title
            info = replace(info, protocol=f"Trained on all {images} images of {title}; none was held out.")
        else:
            info = evidence.added_to(info)
        description = Description(config.model, division.names, self.data_config, info, config.license)
        figures = [self.folder.confusion_matrix] if self.folder.confusion_matrix.is_file() else []
        card = model_card(description, self.cost, HOW_TO_TRAIN, evidence, figures[0].name if figures else None)
        save_model_folder(
            self.model,
            self.folder.model,
            description,
            card.text(),
            seen={*division.train_records["pixel_sha256"], *self.before.pixels},
            beside=figures,
        )

    def _info(self) -> ModelInfo:
        """What is known of the model but its figures."""
        config, division, source = self.config, self.division, SOURCES[self.config.dataset]
        return ModelInfo(
            version=version("madrnet-timm"),
            dataset=config.dataset,
            learned_before=tuple(self.before.data_sets),
            base_model=base_model_of(config),
            pipeline=config.recipe.pipeline,
            mixed_views=config.recipe.views != "pipeline",
            second_view=config.recipe.second_view,
            normal_class=division.normal,
            no_head_class=source.no_head if source.no_head in division.names else None,
            domain=domain_ranges(division.train_records["domain"]),
            relative_length=self._relative_length(source.no_head),
        )

    def _relative_length(self, no_head: str | None) -> float | None:
        """Median over the training images of a head's length over its image's longer side."""
        names, records = self.division.names, self.division.train_records
        lengths = [
            features["relative_length"]
            for features, label in zip(records["domain"], records["label"], strict=True)
            if features["relative_length"] is not None and names[label] != no_head
        ]
        return round(float(np.median(lengths)), 4) if lengths else None

    def _prediction_rows(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        columns = ("file", "pixel_sha256", "group", "label", "aspect_ratio")
        names, records = self.division.names, self.division.test_records
        rows = zip(*(records[column] for column in columns), probabilities, strict=True)
        return [
            {
                "file": file,
                "pixel_sha256": pixels,
                "group": group,
                "label": names[label],
                "prediction": names[int(probability.argmax())],
                **{f"p_{name}": f"{p:.6f}" for name, p in zip(names, probability, strict=True)},
                "aspect_ratio": "" if ratio is None else f"{ratio:.4f}",
            }
            for file, pixels, group, label, ratio, probability in rows
        ]
