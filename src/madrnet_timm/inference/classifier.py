"""Classify pictures of heads with a trained model, prepared as they were in training."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import resolve_model_data_config

from ..data.pipelines import check_pipeline, prepare
from ..data.reading import decode
from ..errors import InputError
from ..hub.weights import check_safetensors
from ..morphology.head import as_rgb

__all__ = ["Classifier", "Prediction"]

Picture = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """Class of one picture.

    Attributes:
        label: Name of the most probable class.
        probabilities: Probability of each class by name.
    """

    label: str
    probabilities: dict[str, float]


class Classifier:
    """A model folder, ready to classify.

    Args:
        model: Path of a model folder (config.json and model.safetensors).
        device: Where to compute.

    Raises:
        InputError: No such folder, or not a model folder of this package.
    """

    def __init__(self, model: str | Path, device: str | torch.device = "cpu") -> None:
        folder = Path(model)
        config_file = folder / "config.json"
        if not config_file.is_file():
            raise InputError(f"{folder}: no model folder (config.json is missing); expected the folder model/ of a run")
        try:
            config = json.loads(config_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{config_file}: not JSON ({error}); fetch or save the model again") from None
        self.pipeline: str = config.get("madrnet", {}).get("pipeline", "raw")
        check_pipeline(self.pipeline)
        check_safetensors(folder / "model.safetensors")
        self.device = torch.device(device)
        self.model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().to(self.device)
        self.data_config = resolve_model_data_config(self.model)
        names = self.model.pretrained_cfg.get("label_names")
        self.label_names = list(names or map(str, range(self.model.num_classes)))

    def tensors(self, images: Sequence[Picture]) -> torch.Tensor:
        """Pictures as the network sees them, ``(pictures, 3, size, size)`` float32, normalised.

        Raises:
            InputError: A file that can't be read as a picture.
        """
        size, crop_pct = self.data_config["input_size"][-1], self.data_config["crop_pct"]
        prepared = [prepare(_rgb(image), self.pipeline, size, crop_pct) for image in images]
        x = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(self.data_config["mean"]).view(1, -1, 1, 1)
        std = torch.tensor(self.data_config["std"]).view(1, -1, 1, 1)
        return (x - mean) / std

    @torch.inference_mode()
    def __call__(self, images: Iterable[Picture], batch_size: int = 32) -> list[Prediction]:
        """Classify pictures: paths, Pillow images or RGB arrays ``(height, width, 3)`` uint8.

        Raises:
            InputError: A file that can't be read as a picture.
        """
        if isinstance(images, str | Path):
            raise InputError(f"{images}: expected a list of pictures; write [{str(images)!r}]")
        pictures = list(images)
        out = []
        for start in range(0, len(pictures), batch_size):
            x = self.tensors(pictures[start : start + batch_size]).to(self.device)
            for row in self.model(x).softmax(dim=1).cpu().tolist():
                probabilities = dict(zip(self.label_names, row, strict=True))
                out.append(Prediction(max(probabilities, key=probabilities.__getitem__), probabilities))
        return out


def _rgb(image: Picture) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        try:
            return decode(Path(image).read_bytes(), str(image))
        except OSError as error:
            raise InputError(f"{image}: can't be read ({error.strerror})") from None
    return as_rgb(image)
