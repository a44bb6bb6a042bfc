"""How large heads are within the images that a model was trained on: by that the crops of a field are cut."""

from .model_info import ModelInfo

__all__ = ["crop_side", "relative_length"]

_KNOWN = {"hushem": 0.362, "smids": 0.313}
"""Median length of a head over the longer side of its image, by `measure`; SMIDS without Non-Sperm. Of models that were
trained before it was written into their config.json."""

_POSSIBLE = (0.1, 0.8)


def relative_length(info: ModelInfo) -> float:
    """Typical length of a head over the longer side of its image in a model's training images.

    What its config.json says; else that of the data set, where it is known; else the middle of the range of its
    domain; else that of HuSHeM.
    """
    if info.relative_length is not None:
        return info.relative_length
    if info.dataset in _KNOWN:
        return _KNOWN[info.dataset]
    low, high = info.domain.get("relative_length", (0.0, 0.0))
    return (low + high) / 2 if _POSSIBLE[0] <= (low + high) / 2 <= _POSSIBLE[1] else _KNOWN["hushem"]


def crop_side(head_length: float, info: ModelInfo) -> int:
    """Side in pixels of the crops of a field whose heads are ``head_length`` pixels long, for a model."""
    return max(round(head_length / relative_length(info)), 16)
