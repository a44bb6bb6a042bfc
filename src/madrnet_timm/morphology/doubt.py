"""Whether what was taken for heads makes a field of a stained smear: a landscape, a text or a tissue does not."""

import math

import numpy as np
from numpy.typing import NDArray

from .ground import Ground
from .judge import PALE, Candidate, is_cut

__all__ = ["doubt"]

_SHARP = 4.0  # median sharpness of a field in focus
_MOST_DOUBT = 1.2  # root of the sum of the squared deviations from a field of a smear
_MOST_OF_OTHERS = 1.0  # of it by what else lies in the field: round cells and a caption may be most of what is dark
_USUAL = {"length": 0.15, "width": 0.12, "sharpness": 0.16, "darkness": 0.06, "hue": 0.15}
"""Standard deviations of the logarithms among the heads of a field."""

_REASONS = {
    "ground": "no even background",
    "likeness": "its dark objects differ too much in size, stain and sharpness",
    "evenness": "its dark objects are evenly filled, as no stained head is",
    "slenderness": "its dark objects are more slender than heads",
    "shape": "its dark objects have no shape in common",
    "focus": "its objects have no clear edge",
    "rest": "most of what is dark in it is none of the objects that look like heads",
    "paleness": "most of it is neither background nor clearly stained",
}


def doubt(
    heads: list[Candidate], found: list[Candidate], dark: NDArray[np.uint8], ground: Ground, first: bool = True
) -> str:
    """Why what was taken for the heads of a field can't be heads or can't be measured, in a line; empty where it can.

    What a field of a smear is like: most of it is an even background, from which the heads stand out; they are
    oval, paler at the rim and the acrosome, and like one another. Each deviation beyond what fields show counts in
    units of what is clearly too much, and their squares are added up, so that one alone must be large.

    Args:
        heads: What `judge` has chosen.
        found: All candidates of the field.
        dark: Part of the light that is absorbed, ``(h, w)``, 0 to 255, of the image that they were chosen on.
        ground: Of the field.
        first: It is the likeliest scale; at another one heads must be told more clearly.
    """
    whole = [head for head in heads if not is_cut(head.region, (dark.shape[1], dark.shape[0]))]
    if not whole:
        return "" if heads else "no object has the shape of a head"
    if np.median([head.sharpness for head in whole]) < _SHARP:
        return "the heads are out of focus"
    deviations = _of_heads(whole) | _of_field(heads, whole, dark, ground)
    if _is_mixed(heads, whole, found):
        deviations["shape"] = _MOST_DOUBT
    if np.hypot.reduce(list(deviations.values())) < (_MOST_DOUBT if first else _MOST_DOUBT / 2):
        return ""
    most = max(deviations, key=lambda name: deviations[name])
    return f"{_REASONS[most]}: this is no field of a stained smear"


def _beyond(value: float, usual: float, unit: float) -> float:
    """How far a value lies above what is usual, in units; below it 0."""
    return max(float(value - usual) / unit, 0.0)


def _spread(values: list[float]) -> float:
    """Standard deviation of the logarithms; of five on, without the oddest twentieth, at least one: an error."""
    logarithms = np.log(np.maximum(values, 1e-3))
    distance = np.abs(logarithms - np.median(logarithms))
    kept = len(values) - (math.ceil(len(values) / 20) if len(values) >= 5 else 0)
    return float(np.std(logarithms[np.argsort(distance)[:kept]], ddof=1))


def _of_heads(heads: list[Candidate]) -> dict[str, float]:
    """How far the heads deviate from those of a smear."""
    values = {
        "length": [head.region.length for head in heads],
        "width": [head.region.width for head in heads],
        "sharpness": [head.sharpness for head in heads],
        "darkness": [head.darkness for head in heads],
        "hue": [head.hue for head in heads],
    }
    fill, solidity, ratio, evenness, sharpness = np.median(
        [(h.region.fill, h.region.solidity, h.region.aspect_ratio, h.evenness, h.sharpness) for h in heads], axis=0
    )
    unlike = 0.0
    if len(heads) > 1:
        spread = [_spread(values[name]) / unit for name, unit in _USUAL.items()]
        unlike = float(np.sqrt(np.mean(np.square(spread)))) * min((len(heads) - 1) / 3, 1)  # of few it says little
    return {
        "likeness": _beyond(unlike, 1.0, 0.35),
        "evenness": _beyond(evenness, 0.8, 0.12),
        "slenderness": _beyond(ratio, 1.8, 0.4),
        "shape": max(_beyond(-fill, -0.97, 0.02), _beyond(-solidity, -0.95, 0.02)),
        "focus": _beyond(-sharpness, -5.0, 1.0),
    }


def _of_field(
    heads: list[Candidate], whole: list[Candidate], dark: NDArray[np.uint8], ground: Ground
) -> dict[str, float]:
    """How far the rest of the field deviates from that of a smear."""
    darkness = 255 * float(np.median([head.darkness for head in whole]))
    stained = max(int(np.count_nonzero(dark > 0.5 * darkness)), 1)
    pale = int(np.count_nonzero(dark > 0.25 * darkness))
    share = max(sum(head.region.area for head in heads) / stained, 1e-3)
    return {
        "ground": _beyond(-ground.share, -0.78, 0.13),
        "rest": min(_beyond(-np.log(share), -np.log(0.6), 1.5), _MOST_OF_OTHERS),
        "paleness": min(_beyond(np.log(pale / stained), np.log(2.6), 0.6), _MOST_OF_OTHERS),
    }


def _is_mixed(heads: list[Candidate], whole: list[Candidate], found: list[Candidate]) -> bool:
    """Whether heads are the lesser part of the dark objects of their width, and no neat ones."""
    darkness, width = (
        np.median([get(head) for head in whole]) for get in (lambda h: h.darkness, lambda h: h.region.width)
    )
    others = [c for c in found if c.darkness > PALE * darkness and c.region.width > 0.5 * width]
    fill, solidity = (
        np.median([get(head.region) for head in whole]) for get in (lambda r: r.fill, lambda r: r.solidity)
    )
    return bool(len(heads) < len(others) / 2 and (fill < 0.96 or solidity < 0.94))
