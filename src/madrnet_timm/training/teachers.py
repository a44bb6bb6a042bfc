"""Teachers of a distillation: finished runs whose training never saw what the student is measured on."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..hub.model_folder import ModelFolder
from .run_folder import RunFolder
from .seen import seen_by

__all__ = ["Answers", "Teachers", "check_teachers"]

Answers = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Logits and embeddings of each teacher, a row a picture."""


def check_teachers(
    paths: Sequence[Path],
    label_names: Sequence[str],
    input_size: Sequence[int],
    pipeline: str,
    dataset: str,
    held_out: Collection[str],
) -> list[ModelFolder]:
    """The model folders of a student's teachers, before any weights are loaded.

    Args:
        paths: Run folders.
        label_names: Classes of the student.
        input_size: Channels, height and width of the student's pictures.
        pipeline: Their pipeline.
        dataset: Name of their data set.
        held_out: ``pixel_sha256`` of the pictures that the student is measured on.

    Raises:
        InputError: Not a finished run; other classes, another preparation; or a teacher that was trained on a picture
            of ``held_out``.
    """
    folders = []
    for path in paths:
        run = RunFolder(path)
        if not (run.model / "config.json").is_file() or not run.folds.is_file():
            raise InputError(f"--teacher {path}: not a finished run; expected the folder of a run of examples/train.py")
        folder = ModelFolder(run.model)
        size = list(folder.data_config["input_size"])
        if folder.label_names != list(label_names) or folder.pipeline != pipeline or size != list(input_size):
            raise InputError(
                f"--teacher {path}: has other classes or another preparation of the pictures ({folder.pipeline}, "
                f"{size}); teacher and student must see the same"
            )
        if not folder.architecture.startswith("madrnet_"):
            raise InputError(f"--teacher {path}: {folder.architecture} has no embedding; expected a madrnet_*")
        seen = seen_by(run.model, dataset, held_out)
        if seen:
            raise InputError(
                f"--teacher {path}: was trained on {len(seen)} of the pictures that the student is measured on; take "
                "the teacher of the same fold and seed, begun with a model of another data set"
            )
        folders.append(folder)
    return folders


class Teachers:
    """Models that a student follows, frozen, on the same prepared pictures.

    Args:
        folders: See `check_teachers`.
        data_config: How the student's pictures are prepared.
    """

    def __init__(self, folders: Sequence[ModelFolder], data_config: Mapping[str, Any]) -> None:
        self.models: list[Any] = []
        self.changes: list[tuple[torch.Tensor, torch.Tensor]] = []
        for folder in folders:
            self.models.append(folder.load())
            mean, std, own_mean, own_std = (
                torch.tensor(source[key], dtype=torch.float32).view(1, -1, 1, 1)
                for source in (data_config, folder.data_config)
                for key in ("mean", "std")
            )
            # the student's normalisation undone and the teacher's done, in one step
            self.changes.append((std / own_std, (mean - own_mean) / own_std))

    def to(self, device: torch.device) -> "Teachers":
        """Move the models to a device."""
        self.models = [model.to(device) for model in self.models]
        self.changes = [(scale.to(device), shift.to(device)) for scale, shift in self.changes]
        return self

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Answers:
        """Logits and embeddings of each teacher for pictures ``(batch, 3, size, size)``, as the student sees them."""
        logits, embeddings = [], []
        for model, (scale, shift) in zip(self.models, self.changes, strict=True):
            embedding = model.forward_head(model.forward_features(images * scale + shift), pre_logits=True)
            embeddings.append(embedding)
            logits.append(model.get_classifier()(embedding))
        return logits, embeddings
