"""Models that have weights: the package data ``models.yaml``."""

import os
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "hub_repository",
    "published_models",
    "set_weights_finder",
    "set_weights_listener",
    "weights_file",
    "weights_loaded",
]

_NAMESPACE = "madrnet-timm"
_finder: list[Callable[[str], Path]] = []
_listener: list[Callable[[Any, str | Path | None], None]] = []


@cache
def published_models() -> dict[str, dict[str, Any]]:
    """Entries of ``models.yaml`` by name, see the comment at its head."""
    with resources.files(__package__).joinpath("models.yaml").open(encoding="utf-8") as opened:
        return yaml.safe_load(opened) or {}


def hub_repository(name: str) -> str:
    """Repository on the Hub of a published name; `MADRNET_HUB_NAMESPACE` overrides the namespace."""
    return f"{os.environ.get('MADRNET_HUB_NAMESPACE') or _NAMESPACE}/{name}"


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
