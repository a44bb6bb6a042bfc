"""Teachers of a distillation: models whose training never saw what the student is measured on."""

from collections.abc import Collection, Sequence
from typing import Any

import torch

from ..data.images import View
from ..errors import InputError
from ..hub.description import DataConfig
from ..hub.lookup import find_model
from ..hub.model_folder import ModelFolder
from .leakage import seen_by

__all__ = ["TeacherOutputs", "Teachers", "check_teachers"]

TeacherOutputs = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Logits and embeddings of each teacher, one row per image."""


def check_teachers(
    teachers: Sequence[str],
    label_names: Sequence[str],
    input_size: Sequence[int],
    dataset: str,
    held_out: Collection[str],
) -> list[ModelFolder]:
    """The model folders of a student's teachers, before any weights are loaded.

    Args:
        teachers: What `find_model` takes.
        label_names: Classes of the student.
        input_size: Channels, height and width of the student's images.
        dataset: Name of their data set.
        held_out: ``pixel_sha256`` of the images that the student is measured on.

    Raises:
        InputError: No such model; other classes, images of another size; or a teacher that was trained on an
            image of ``held_out``.
    """
    folders = []
    for teacher in teachers:
        folder = ModelFolder(find_model(teacher))
        size = list(folder.data_config["input_size"])
        if folder.label_names != list(label_names) or size != list(input_size):
            raise InputError(
                f"--teacher {teacher}: has other classes or images of another size ({', '.join(folder.label_names)}; "
                f"{size}); expected those of the student ({', '.join(label_names)}; {list(input_size)})"
            )
        if not folder.architecture.startswith("madrnet_"):
            raise InputError(f"--teacher {teacher}: {folder.architecture} has no embedding; expected a madrnet_*")
        seen = seen_by(folder.path, dataset, held_out)
        if seen:
            raise InputError(
                f"--teacher {teacher}: was trained on {sum(value in seen for value in held_out)} of the "
                f"{len(held_out)} images that the student is measured on; take the teacher of the same fold and seed, "
                "begun with a model of another data set, or measure without them (--leave-out-seen)"
            )
        folders.append(folder)
    return folders


def _view(pipeline: str, data_config: DataConfig) -> View:
    return pipeline, data_config["crop_pct"] if pipeline == "raw" else 1.0


class Teachers:
    """Models that a student follows, frozen, each on its own view of the same images.

    Attributes:
        others: Views of teachers that are not the student's, see `ImageDataset`.

    Args:
        folders: See `check_teachers`.
        data_config: How the student's images are prepared.
        pipeline: Theirs.
        drawn: The student is shown one view of several, at random. Only a teacher that was trained so follows it there;
            the others see their own.
    """

    def __init__(
        self, folders: Sequence[ModelFolder], data_config: DataConfig, pipeline: str, drawn: bool = False
    ) -> None:
        student = _view(pipeline, data_config)
        theirs = [_view(folder.pipeline, folder.data_config) for folder in folders]
        own = [
            view != student or (drawn and not folder.info.mixed_views)
            for view, folder in zip(theirs, folders, strict=True)
        ]
        self.others = sorted({view for view, alone in zip(theirs, own, strict=True) if alone})
        self.places = [1 + self.others.index(view) if alone else 0 for view, alone in zip(theirs, own, strict=True)]
        self.models: list[Any] = []
        self.changes: list[tuple[torch.Tensor, torch.Tensor]] = []
        for folder in folders:
            self.models.append(folder.load())
            mean, std, own_mean, own_std = (
                torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1, 1)
                for source in (data_config, folder.data_config)
                for numbers in (source["mean"], source["std"])
            )
            # the student's normalisation undone and the teacher's done, in one step
            self.changes.append((std / own_std, (mean - own_mean) / own_std))

    def to(self, device: torch.device) -> "Teachers":
        """Move the models to a device."""
        self.models = [model.to(device) for model in self.models]
        self.changes = [(scale.to(device), shift.to(device)) for scale, shift in self.changes]
        return self

    @torch.no_grad()
    def __call__(self, views: Sequence[torch.Tensor]) -> TeacherOutputs:
        """Logits and embeddings of each teacher for images ``(batch, 3, size, size)``, normalised for the student.

        Args:
            views: The images as the student sees them, then in each view of `others`.
        """
        logits, embeddings = [], []
        for model, place, (scale, shift) in zip(self.models, self.places, self.changes, strict=True):
            images = views[place] * scale + shift
            embedding = model.forward_head(model.forward_features(images), pre_logits=True)
            embeddings.append(embedding)
            logits.append(model.get_classifier()(embedding))
        return logits, embeddings
