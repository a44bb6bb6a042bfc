"""The model that a training begins with, and its initial weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from ..errors import InputError
from ..hub.lookup import find_model
from ..hub.timm_weights import timm_repository
from ..hub.weights import load_backbone_weights, load_model_weights
from ..models.pretrained import full_name, published_models
from .run_config import RunConfig

__all__ = ["base_model_of", "create_model"]


def _load_initial_weights(model: Any, config: RunConfig) -> None:
    if config.backbone_weights is not None:
        load_backbone_weights(model, config.backbone_weights)
    if config.weights is not None:
        load_model_weights(model, find_model(config.weights) / "model.safetensors")


def base_model_of(config: RunConfig) -> str | None:
    """Repository on the Hub of a training's initial weights; None for weights that are not known to lie on it.

    A file is known by its name: that of timm's weights, with their tag, or of the folder of a published model.
    """
    if config.pretrained_backbone:
        return timm_repository(config.model)
    if config.weights is not None and config.weights.startswith("hf-hub:"):
        return config.weights.removeprefix("hf-hub:").partition("@")[0]
    if config.weights is not None:
        name = full_name(Path(config.weights.removeprefix("local-dir:")).name)
    elif config.backbone_weights is not None:
        file = config.backbone_weights
        name = file.parent.name if file.name == "model.safetensors" else file.stem
    else:
        return None
    if name in published_models():
        return published_models()[name].repository
    return timm_repository(name) if "." in name and timm.models.is_model_pretrained(name) else None


def _refusals(config: RunConfig) -> tuple[type[Exception], ...]:
    """How timm and its models refuse what the options say: sizes, names, arguments; other errors are bugs."""
    kinds: tuple[type[Exception], ...] = (ValueError, RuntimeError, AssertionError)
    if config.model_kwargs:
        kinds += (TypeError, KeyError, AttributeError)
    return (*kinds, OSError) if config.pretrained_backbone else kinds


def create_model(config: RunConfig, names: Sequence[str]) -> nn.Module:
    """The model that a training begins with, its weights loaded.

    Args:
        config: Of the training.
        names: Name of each class id.

    Raises:
        InputError: It can't be made with these options, or does not take such images; see `load_backbone_weights` and
            `load_model_weights`.
    """
    recipe = config.recipe
    rates = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path_rate}
    kwargs: dict[str, Any] = {k: v for k, v in rates.items() if v}
    is_madrnet = config.model.startswith("madrnet_")
    if config.pretrained_backbone:
        kwargs["pretrained_backbone" if is_madrnet else "pretrained"] = True
    try:
        if timm.get_pretrained_cfg(config.model).fixed_input_size:
            kwargs["img_size"] = recipe.img_size
        model = timm.create_model(config.model, num_classes=len(names), **(kwargs | config.model_kwargs))
        with torch.no_grad():  # does it take such images?
            logits = model.eval()(torch.zeros(1, 3, recipe.img_size, recipe.img_size))
            if logits.shape != (1, len(names)):
                raise ValueError(f"gives an output of shape {tuple(logits.shape)}, expected one logit per class")
    except _refusals(config) as error:
        raise InputError(
            f"--model {config.model} with --img-size {recipe.img_size} and --model-kwargs {config.model_kwargs} "
            f"can't be made: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        ) from error
    _load_initial_weights(model, config)
    if is_madrnet and config.hybrid:
        model.set_embedding_training(True)
    return model.to(memory_format=torch.channels_last)
