"""Model folders: what timm reads and writes, with a card."""

from .model_folder import save_model_folder
from .weights import load_backbone_weights, load_model_weights

__all__ = ["load_backbone_weights", "load_model_weights", "save_model_folder"]
