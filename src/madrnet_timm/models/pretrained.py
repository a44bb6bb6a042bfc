"""Models with published weights: the package data ``models.yaml``."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "Published",
    "full_name",
    "published_models",
    "set_weights_finder",
    "set_weights_listener",
    "weights_file",
    "weights_loaded",
]

_NAMESPACE = "madrnet-timm"
_finder: list[Callable[[str], Path]] = []
_listener: list[Callable[[Any, str | Path | None], None]] = []


@dataclass(frozen=True)
class Published:
    """An entry of ``models.yaml``.

    Attributes:
        name: ``madrnet_<architecture>.<tag>``.
        revision: Tag of its repository on the Hub.
        train: The command that trains and publishes it.
        cfg: timm's ``pretrained_cfg``.
        sha256: Of ``model.safetensors``.
        config_sha256: Of ``config.json``.
        default: The architecture's name without a tag stands for this one.
        base_model: Repository on the Hub of the weights that its training began with.
        dataset: Name of the data set that it was trained and measured on.
        images: Held-out images that it was measured on.
        right: Number of them that are right, the mean over the seeds.
        size: Bytes of the weights.
        parameters: Number of the weights.
    """

    name: str
    revision: str
    train: str
    cfg: Mapping[str, Any]
    sha256: str | None = None
    config_sha256: str | None = None
    default: bool = False
    base_model: str | None = None
    dataset: str | None = None
    images: int | None = None
    right: float | None = None
    size: int | None = None
    parameters: int | None = None

    @property
    def architecture(self) -> str:
        """The name without its tag."""
        return self.name.partition(".")[0]

    @property
    def repository(self) -> str:
        """On the Hub; `MADRNET_HUB_NAMESPACE` overrides the namespace."""
        return f"{os.environ.get('MADRNET_HUB_NAMESPACE') or _NAMESPACE}/{self.name}"


@cache
def published_models() -> dict[str, Published]:
    """Models with published weights by name, see the comment at the head of ``models.yaml``."""
    with resources.files(__package__).joinpath("models.yaml").open(encoding="utf-8") as opened:
        known = yaml.safe_load(opened) or {}
    return {name: Published(name, **entry) for name, entry in known.items()}


def full_name(name: str) -> str:
    """The published name that an architecture's name stands for, as in `timm.create_model`; other names as they are."""
    tagged = [entry for entry in published_models().values() if entry.architecture == name]
    return next((entry.name for entry in tagged if entry.default), tagged[0].name if tagged else name)


def set_weights_finder(finder: Callable[[str], Path]) -> None:
    """Say how the weights file of a published name is found; done when the package is imported."""
    _finder[:] = [finder]


def weights_file(name: str) -> Path:
    """The weights file of a published name, fetched if need be.

    Raises:
        ValueError: It can't be had; the message says why and what to do.
    """
    return _finder[0](name)


def set_weights_listener(listener: Callable[[Any, str | Path | None], None]) -> None:
    """Say what is done with a model that was made with its weights; done when the package is imported."""
    _listener[:] = [listener]


def weights_loaded(model: Any, cache_dir: str | Path | None) -> None:
    """Tell that a model was made with its weights, which timm may have fetched to ``cache_dir``."""
    _listener[0](model, cache_dir)
