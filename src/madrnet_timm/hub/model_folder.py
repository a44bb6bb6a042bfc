"""The model folder of timm: weights as safetensors, config.json and a model card."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.models import save_for_hf
from torch import nn

from ..data.pipelines import check_pipeline
from ..errors import InputError
from ..evaluation.calibration import Calibration
from ..files import replacing_folder, sha256_of, write_text
from ..models import MADRNet
from .weights import check_safetensors

__all__ = ["ModelFolder", "folder_digest", "model_folder_of", "save_model_folder"]


def model_folder_of(weights: Path) -> Path | None:
    """The model folder that a file of weights lies in; none for a file that stands alone, such as timm's."""
    return weights.parent if (weights.parent / "config.json").is_file() else None


def folder_digest(path: Path) -> str:
    """`ModelFolder.digest` of a folder, of which only bytes are read; empty where one of the files is missing."""
    try:
        content = hashlib.sha256((path / "config.json").read_bytes())
        content.update(bytes.fromhex(sha256_of(path / "model.safetensors")))
    except OSError:
        return ""
    return content.hexdigest()


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
        try:
            self.config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
            self.architecture: str = self.config["architecture"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{config_file}: not a model's config ({error}); fetch or save the model again") from None
        if not self.weights.is_file() and (
            pickled := sorted(self.path.glob("*.bin")) + sorted(self.path.glob("*.pth"))
        ):
            raise InputError(
                f"{pickled[0]}: a pickled checkpoint, which is never opened; ask for the model as model.safetensors"
            )
        check_safetensors(self.weights)
        self.info: dict[str, Any] = self.config.get("madrnet", {})
        counts = {self.config.get("num_classes"), self.config.get("pretrained_cfg", {}).get("num_classes")} - {None}
        if len(counts) > 1 or counts - {len(self.label_names)}:  # timm would start the classifier anew, silently
            raise InputError(
                f"{config_file}: names {len(self.label_names)} labels, but {sorted(counts)} classes; they do not fit"
            )
        check_pipeline(self.pipeline)

    @property
    def pipeline(self) -> str:
        """Name of the pipeline that prepares the pictures."""
        return self.info.get("pipeline", "raw")

    @property
    def learned_before(self) -> set[str]:
        """Data sets with a name of their own, unlike somebody's folder, that its start and teachers learned from."""
        return set(self.info.get("learned_before", ()))

    @property
    def data_sets(self) -> set[str]:
        """The same, and that of the model itself."""
        return (self.learned_before | {self.info.get("dataset", "folder")}) - {"folder", "npy"}

    @property
    def label_names(self) -> list[str]:
        """Name of each class id."""
        pretrained = self.config.get("pretrained_cfg", {})
        count = self.config.get("num_classes", pretrained.get("num_classes", 0))
        return list(self.config.get("label_names") or pretrained.get("label_names") or map(str, range(count)))

    @property
    def data_config(self) -> dict[str, Any]:
        """Input size, mean, std, interpolation and crop, in timm's words."""
        return resolve_data_config(pretrained_cfg=self.config.get("pretrained_cfg", {}))

    @property
    def calibration(self) -> Calibration | None:
        """Calibration by held-out pictures, where the model has one."""
        found = self.info.get("calibration")
        return None if found is None else Calibration(**found)

    @property
    def domain(self) -> dict[str, tuple[float, float]]:
        """Ranges of stain and size of the training pictures; empty where they are not known."""
        return self.info.get("domain", {})

    def digest(self) -> str:
        """Hash of weights and config."""
        return folder_digest(self.path)

    def load(self, **kwargs: Any) -> nn.Module:
        """The model with its weights, in eval mode.

        Raises:
            InputError: The weights do not fit the config.
        """
        try:
            return timm.create_model(f"local-dir:{self.path}", pretrained=True, **kwargs).eval()
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{self.path}: config.json and model.safetensors do not fit ({reason})") from None


def save_model_folder(
    model: nn.Module,
    path: str | Path,
    *,
    label_names: Sequence[str],
    data_config: Mapping[str, Any],
    madrnet: Mapping[str, Any],
    card: str,
) -> None:
    """Write what ``timm.create_model("local-dir:<path>", pretrained=True)`` reads.

    An existing folder is replaced as a whole.

    Args:
        model: A MADRNet or a plain timm model made by `timm.create_model`.
        path: The folder.
        label_names: Name of each class id.
        data_config: Input size, mean, std, interpolation and crop that the model was trained with, in the words of
            `timm.data.resolve_model_data_config`.
        madrnet: What timm's format has no key for, written under the key ``madrnet`` of config.json.
        card: Text of the model card, README.md.

    Raises:
        InputError: The folder can't be written.
    """
    overrides: dict[str, Any] = {}
    fresh: dict[str, Any] = {"label_names": None}  # those of the weights that it began with
    if isinstance(model, MADRNet):
        overrides["pretrained_backbone"] = False  # the weights are in the folder: the backbone's must not be fetched
        fresh["tag"] = None  # other architectures of timm may be built by it
    model = model.to(memory_format=torch.contiguous_format)  # safetensors takes no channels_last
    with replacing_folder(Path(path)) as folder:
        save_for_hf(
            model,
            str(folder),
            model_config={"label_names": list(label_names), "madrnet": dict(madrnet), "pretrained_cfg": fresh},
            model_args=overrides,
            safe_serialization=True,
            data_config=dict(data_config),
        )
        write_text(folder / "README.md", card)
        # safetensors makes its files readable by the owner alone
        shutil.copymode(folder / "README.md", folder / "model.safetensors")
