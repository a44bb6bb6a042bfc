"""Head measurement by OpenCV and numpy; imported only when it is used."""

from .align import align, mask_background, normalize_background
from .field import FieldSearch, find_heads, search_field
from .head import MEASUREMENTS, HeadMorphology, HeadRanges, measure
from .overlay import draw_overlay
from .pixels import as_rgb

__all__ = [
    "MEASUREMENTS",
    "FieldSearch",
    "HeadMorphology",
    "HeadRanges",
    "align",
    "as_rgb",
    "draw_overlay",
    "find_heads",
    "mask_background",
    "measure",
    "normalize_background",
    "search_field",
]
