"""The files of a model folder."""

import hashlib
from pathlib import Path

from ..files import sha256_of

__all__ = ["FILES", "NEEDED", "SEEN", "folder_digest", "model_folder_of"]

SEEN = "seen.csv"
"""The images that a model was trained on, by the hashes of their pixels: no names, no order."""

NEEDED = ("model.safetensors", "config.json")
"""Files without which there is no model."""

FILES = ("README.md", "config.json", "model.safetensors", "confusion_matrix.png", SEEN)
"""What of a model folder lies on the Hub."""


def model_folder_of(weights: Path) -> Path | None:
    """The model folder that a file of weights lies in; none for a file that stands alone, such as timm's."""
    return weights.parent if (weights.parent / "config.json").is_file() else None


def folder_digest(path: Path) -> str:
    """Hash of weights and config, of which only bytes are read; empty where one of the files is missing."""
    try:
        content = hashlib.sha256((path / "config.json").read_bytes())
        content.update(bytes.fromhex(sha256_of(path / "model.safetensors")))
    except OSError:
        return ""
    return content.hexdigest()
