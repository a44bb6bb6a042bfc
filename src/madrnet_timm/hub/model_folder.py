"""The model folder of timm: weights as safetensors, config.json and a model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import save_for_hf
from torch import nn

from ..files import replacing_folder, write_text
from ..models import MADRNet

__all__ = ["save_model_folder"]


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
    # the weights are in the folder: rebuilding the model must not fetch the backbone's
    overrides = {"pretrained_backbone": False} if isinstance(model, MADRNet) else {}
    model = model.to(memory_format=torch.contiguous_format)  # safetensors takes no channels_last
    with replacing_folder(Path(path)) as folder:
        save_for_hf(
            model,
            str(folder),
            model_config={"label_names": list(label_names), "madrnet": dict(madrnet)},
            model_args=overrides,
            safe_serialization=True,
            data_config=dict(data_config),
        )
        write_text(folder / "README.md", card)
