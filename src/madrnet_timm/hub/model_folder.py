"""The model folder of timm: weights as safetensors, config.json and a model card."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn

from ..errors import InputError
from ..evaluation.calibration import Calibration
from ..files import as_csv, read_csv, replacing_folder, write_text
from ..models import MADRNet
from .description import DataConfig, Description
from .folder_files import SEEN, folder_digest
from .model_config import ModelConfig
from .model_info import ModelInfo
from .notes import with_pipeline
from .weights import check_fit, check_numbers, check_safetensors, fill

__all__ = ["PRECISIONS", "ModelFolder", "save_model_folder"]

PRECISIONS = {"float32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""How weights may be stored."""


class ModelFolder:
    """A model folder as it lies on the disk.

    Args:
        path: The folder.

    Raises:
        InputError: No such folder, or one without a readable ``config.json`` and ``model.safetensors``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        config_file, self.weights = self.path / "config.json", self.path / "model.safetensors"
        if not config_file.is_file():
            raise InputError(f"{path}: no model folder (config.json is missing); expected the folder model/ of a run")
        self.config = ModelConfig.read(config_file)
        if not self.weights.is_file() and (
            pickled := sorted(self.path.glob("*.bin")) + sorted(self.path.glob("*.pth"))
        ):
            raise InputError(
                f"{pickled[0]}: a pickled checkpoint, which is never opened; ask for the model as model.safetensors"
            )
        check_safetensors(self.weights)

    @property
    def info(self) -> ModelInfo:
        """How the model was trained, what it prepares and what it was measured at."""
        return self.config.info

    @property
    def architecture(self) -> str:
        """Its name in timm's registry."""
        return self.config.architecture

    @property
    def pipeline(self) -> str:
        """Name of the pipeline that prepares the images."""
        return self.info.pipeline

    @property
    def learned_before(self) -> set[str]:
        """Data sets known by name that its initial weights and its teachers learned from."""
        return set(self.info.learned_before)

    @property
    def data_sets(self) -> set[str]:
        """Data sets known by name that it, its initial weights or its teachers learned from."""
        return (self.learned_before | {self.info.dataset}) - {"folder", "npy"}

    @property
    def label_names(self) -> list[str]:
        """Name of each class id."""
        return list(self.config.label_names)

    @property
    def data_config(self) -> DataConfig:
        """How its images are prepared."""
        return self.config.data_config

    @property
    def description(self) -> Description:
        """All that it says of the model."""
        cfg = self.config.pretrained_cfg
        return Description(self.architecture, self.label_names, self.data_config, self.info, cfg["license"], cfg["tag"])

    @property
    def calibration(self) -> Calibration | None:
        """Calibration by held-out images, where the model has one."""
        return self.info.calibration

    @property
    def domain(self) -> Mapping[str, tuple[float, float]]:
        """Ranges of stain and size of the training images; empty where they are not known."""
        return self.info.domain

    @property
    def seen(self) -> frozenset[str] | None:
        """``pixel_sha256`` of all that it, its initial weights and its teachers were trained on; None if unknown.

        Raises:
            InputError: The file that says so is not such a file.
        """
        path = self.path / SEEN
        if not path.is_file():
            return None
        try:
            return frozenset(row["pixel_sha256"] for row in read_csv(path))
        except KeyError:
            raise InputError(
                f"{path}: expected a CSV with the column pixel_sha256; fetch or save the model again"
            ) from None

    def digest(self) -> str:
        """Hash of weights and config."""
        return folder_digest(self.path)

    def outline(self, **kwargs: Any) -> nn.Module:
        """The model without numbers, on the meta device, in eval mode; see `load`."""
        try:
            return self._build(device="meta", **kwargs).eval()
        except Exception as error:  # whatever the architecture's code raises with arguments that do not go together
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
            raise InputError(
                f"{self.path / 'config.json'}: {self.architecture} can't be made with its model_args "
                f"({type(error).__name__}: {reason})"
            ) from error

    def load(self, **kwargs: Any) -> nn.Module:
        """The model with its weights, in eval mode.

        Args:
            kwargs: Further arguments of `timm.create_model`.

        Raises:
            InputError: No model can be made of the config, or the weights do not fit it.
        """
        check_fit(self.outline(**kwargs), self.weights)  # needs no memory for weights, of which there may be too many
        model = self._build(**kwargs)
        fill(model, self.weights)
        return model.eval()

    def _build(self, **kwargs: Any) -> nn.Module:
        args = dict(self.config.model_args) | kwargs
        return timm.create_model(self.architecture, pretrained_cfg=dict(self.config.pretrained_cfg), **args)


def save_model_folder(
    model: nn.Module,
    path: str | Path,
    description: Description,
    card: str,
    seen: Collection[str] | None = None,
    precision: str = "float32",
    beside: Sequence[Path] = (),
) -> None:
    """Write what ``timm.create_model("local-dir:<path>", pretrained=True)`` reads.

    An existing folder is replaced as a whole.

    Args:
        model: A MADRNet or a plain timm model made by `timm.create_model`.
        path: The folder.
        description: What it says of the model.
        card: Text of the model card, README.md.
        seen: See `ModelFolder.seen`.
        precision: One of `PRECISIONS`, of matrices and kernels; norms and biases stay as they are. Whatever it is, the
            model that is loaded has float32.
        beside: Further files, which are copied into the folder.

    Raises:
        InputError: The folder can't be written, or the weights hold numbers that are not finite.
    """
    check_numbers(model.state_dict(), path)
    own: dict[str, Any] = {"label_names": None, "license": description.license}  # not the initial weights'
    own["notes"] = with_pipeline({}, description.info.pipeline)
    if isinstance(model, MADRNet):
        own["tag"] = description.tag  # other architectures of timm may be built by it
    more = {"label_names": list(description.label_names), "pretrained_cfg": own} | description.info.to_config()
    model = model.to(memory_format=torch.contiguous_format)  # safetensors takes no channels_last
    with replacing_folder(Path(path)) as folder:
        save_for_hf(
            model,
            str(folder),
            model_config=more,
            # the weights are in the folder: the backbone's must not be fetched
            model_args={"pretrained_backbone": False} if isinstance(model, MADRNet) else {},
            safe_serialization=True,
            data_config=dict(description.data_config),
        )
        weights = _in_precision(model.state_dict(), precision)
        check_numbers(weights, path)
        save_file(weights, folder / "model.safetensors", metadata=_metadata(model, description))  # timm writes none
        write_text(folder / "README.md", card)
        if seen:
            write_text(folder / SEEN, as_csv([{"pixel_sha256": value} for value in sorted(seen)]))
        for file in beside:
            shutil.copy(file, folder / file.name)
        # safetensors makes its files readable by the owner alone
        shutil.copymode(folder / "README.md", folder / "model.safetensors")


def _metadata(model: Any, description: Description) -> dict[str, str]:
    """Of the weights file."""
    return {
        "format": "pt",
        "madrnet_timm": description.info.version or "unknown",
        "architecture": model.pretrained_cfg["architecture"],
        "label_names": json.dumps(list(description.label_names)),
        "input_size": json.dumps(list(description.data_config["input_size"])),
        "pipeline": description.info.pipeline,
    }


def _in_precision(state: Mapping[str, torch.Tensor], precision: str) -> dict[str, torch.Tensor]:
    kind = PRECISIONS[precision]
    return {k: v.to(kind) if v.ndim > 1 and v.dtype == torch.float32 else v for k, v in state.items()}
