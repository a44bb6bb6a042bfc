"""Shape and stain of a head along its long axis: what a mask and its darkness tell beyond the two axes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .acrosome import Inside, acrosome_part
from .axis import Profile, principal_axis
from .segment import Segmentation

__all__ = ["PROFILE_PARTS", "HeadShape", "head_shape"]

PROFILE_PARTS = 10
"""Parts of the length that the profiles are given in."""

_TAPER_PARTS = (slice(15, 25), slice(75, 85))  # per cent of the length behind the acrosome's end


@dataclass(frozen=True)
class HeadShape:
    """Shape and stain, none of it with a unit.

    Attributes:
        ellipticity: Intersection over union of the head and the ellipse of its second moments; 1 for an ellipse. (What
            CASA systems print under this name, length / width, is the aspect ratio here.)
        regularity: π · length · width / (4 · area) with the extents along the axes; 1 for an ellipse.
        taper: Mean width at 75 to 85 % of the length behind the acrosome's end over that at 15 to 25 %; below 1 where
            the head narrows towards the tail.
        asymmetry: Mean difference of the two sides of the axis over the mean width; 0 for mirror symmetry.
        acrosome_fraction: Part of the head's area that the acrosome takes (WHO: 0.4 to 0.7 in a normal head); None
            where no paler part lies at the acrosome's end.
        acrosome_contrast: How much paler than the nucleus it is, 1 − acrosome / nucleus in darkness; None as above.
        stain_profile: Darkness in ten equal parts of the length from the acrosome's end, over its 95th percentile in
            the head.
        width_profile: Width in the same parts, over the largest of them.
    """

    ellipticity: float
    regularity: float
    taper: float
    asymmetry: float
    acrosome_fraction: float | None
    acrosome_contrast: float | None
    stain_profile: tuple[float, ...]
    width_profile: tuple[float, ...]


def _ellipse_overlap(mask: NDArray[np.bool_]) -> float:
    center, axis, along, across = principal_axis(mask)
    half_axes = np.array([2 * np.sqrt(along), 2 * np.sqrt(across)])
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    drawn_axes = half_axes - 0.5  # what is filled takes the pixels under its border with it
    u, v = drawn_axes[0] * np.cos(turn), drawn_axes[1] * np.sin(turn)
    points = np.stack([center[0] + u * axis[0] - v * axis[1], center[1] + u * axis[1] + v * axis[0]], axis=1)
    drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [np.rint(points * 16).astype(np.int32)], 1, shift=4)
    # parts of the ellipse beyond the window count, too
    inside, total = float(np.count_nonzero(drawn.view(bool) & mask)), float(np.pi * half_axes[0] * half_axes[1])
    return inside / (total + float(np.count_nonzero(mask)) - inside)


def _in_parts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of `PROFILE_PARTS` equal parts, as `numpy.array_split` makes them."""
    size, longer = divmod(len(values), PROFILE_PARTS)
    sizes = np.full(PROFILE_PARTS, size)
    sizes[:longer] += 1
    return np.add.reduceat(values, np.cumsum(sizes) - sizes) / sizes


def head_shape(found: Segmentation, line: Profile, inside: Inside, direction: tuple[float, float]) -> HeadShape:
    """Shape and stain of a segmented head.

    Args:
        found: The head.
        line: Its profile.
        inside: The inside of the profile.
        direction: Unit vector ``(x, y)`` along the long axis, towards the acrosome.
    """
    x, y, w, h = cv2.boundingRect(found.mask.view(np.uint8))
    mask = np.ascontiguousarray(found.mask[y : y + h, x : x + w])
    dark = found.darkness[y : y + h, x : x + w][mask]
    forward = line.axis[0] * direction[0] + line.axis[1] * direction[1] > 0  # row 0 is the tail's end
    width = line.width[::-1] if forward else line.width
    profile = line.darkness[::-1] if forward else line.darkness
    percent = (np.arange(len(width)) + 0.5) * 100 / len(width)

    def mean_width(part: slice) -> float:
        return float(width[(percent >= part.start) & (percent < part.stop)].mean())

    near, far = (mean_width(part) for part in _TAPER_PARTS)
    half = line.cover.shape[1] // 2
    left, right = (side.sum(axis=1) for side in (line.cover[:, :half], line.cover[:, half + 1 :]))
    extent = float(np.count_nonzero(line.cover.max(axis=0) > 0.5))
    fraction, contrast = acrosome_part(line, inside, forward)
    top = max(float(np.percentile(dark, 95)), 1e-6)
    widths, stains = _in_parts(width), _in_parts(profile) / top
    return HeadShape(
        ellipticity=_ellipse_overlap(mask),
        regularity=float(np.pi * line.length * extent / (4 * len(dark))),
        taper=far / max(near, 1e-6),
        asymmetry=float(np.abs(left - right).sum() / line.width.sum()),
        acrosome_fraction=fraction,
        acrosome_contrast=contrast,
        stain_profile=tuple(stains.tolist()),
        width_profile=tuple((widths / widths.max()).tolist()),
    )
