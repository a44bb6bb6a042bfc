"""Shape and stain of a head along its long axis: what a mask and its darkness tell beyond the two axes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .segment import Profile, Segmentation, principal_axis

__all__ = ["PROFILE_PARTS", "HeadShape", "head_shape"]

PROFILE_PARTS = 10
"""Parts of the length that the profiles are given in."""

_TAPER_PARTS = (slice(15, 25), slice(75, 85))  # per cent of the length behind the acrosome's end
_RIM = 3  # px of the outline's resolution: blur mixes head and background so far inside


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
    ys, xs = np.ogrid[: mask.shape[0], : mask.shape[1]]
    u = (xs - center[0]) * axis[0] + (ys - center[1]) * axis[1]
    v = (ys - center[1]) * axis[0] - (xs - center[0]) * axis[1]
    ellipse = u**2 / (4 * along) + v**2 / (4 * across) <= 1
    # parts of the ellipse beyond the window count, too
    inside, total = float((ellipse & mask).sum()), float(4 * np.pi * np.sqrt(along * across))
    return inside / (total + float(mask.sum()) - inside)


def _acrosome(
    mask: NDArray[np.bool_], dark: NDArray[np.float32], along: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Share of the area and contrast of the pale part at the acrosome's end, by Otsu's threshold inside the head.

    ``dark`` and ``along`` are values at the mask's pixels, in their order.
    """
    inner = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1] > _RIM
    chosen = inner[mask]
    if chosen.sum() < 50:
        return None, None
    darkness, place = dark[chosen], along[chosen]
    levels = np.clip(darkness * (255 / max(float(darkness.max()), 1e-6)), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[:, None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    pale = levels <= threshold
    if not 0.05 < pale.mean() < 0.95 or place[pale].mean() <= place[~pale].mean():
        return None, None
    return float(pale.mean()), float(1 - darkness[pale].mean() / darkness[~pale].mean())


def head_shape(found: Segmentation, line: Profile, direction: tuple[float, float]) -> HeadShape:
    """Shape and stain of a segmented head.

    Args:
        found: The head.
        line: Its profile.
        direction: Unit vector ``(x, y)`` along the long axis, towards the acrosome.
    """
    x, y, w, h = cv2.boundingRect(found.mask.astype(np.uint8))
    mask = found.mask[y : y + h, x : x + w]
    dark = found.darkness[y : y + h, x : x + w][mask]
    forward = line.axis[0] * direction[0] + line.axis[1] * direction[1] > 0  # row 0 is the tail's end
    width = line.width[::-1] if forward else line.width
    profile = line.darkness[::-1] if forward else line.darkness
    percent = (np.arange(len(width)) + 0.5) * 100 / len(width)

    def mean_width(part: slice) -> float:
        return float(width[(percent >= part.start) & (percent < part.stop)].mean())

    near, far = (mean_width(part) for part in _TAPER_PARTS)
    rows, cols = np.nonzero(mask)
    center, axis, *_ = principal_axis(mask)
    across = (rows - center[1]) * axis[0] - (cols - center[0]) * axis[1]
    sides = [np.bincount(line.row_of[side], minlength=len(width)) for side in (across > 0, across < 0)]
    extent = float(across.max() - across.min()) + 1
    along = (cols - center[0]) * direction[0] + (rows - center[1]) * direction[1]
    fraction, contrast = _acrosome(mask, dark, along)
    top = max(float(np.percentile(dark, 95)), 1e-6)
    widths = [float(part.mean()) for part in np.array_split(width, PROFILE_PARTS)]
    return HeadShape(
        ellipticity=_ellipse_overlap(mask),
        regularity=float(np.pi * line.length * extent / (4 * len(rows))),
        taper=far / max(near, 1e-6),
        asymmetry=float(np.abs(sides[0] - sides[1]).sum() / len(rows)),
        acrosome_fraction=fraction,
        acrosome_contrast=contrast,
        stain_profile=tuple(float(part.mean()) / top for part in np.array_split(profile, PROFILE_PARTS)),
        width_profile=tuple(part / max(widths) for part in widths),
    )
