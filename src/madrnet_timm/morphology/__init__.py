"""Head measurement by OpenCV and numpy; imported only when it is used."""

from .align import align, mask_background, normalize_background
from .head import HeadMorphology, measure

__all__ = ["HeadMorphology", "align", "mask_background", "measure", "normalize_background"]
