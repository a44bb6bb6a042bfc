"""Measurement of a sperm head: axes, aspect ratio γ, direction of the acrosome."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..opencv import cv2
from .pixels import as_rgb
from .segment import BoolArray, Profile, Segmentation, principal_axis, profile, segment
from .shape import head_shape

__all__ = ["MEASUREMENTS", "HeadMorphology", "HeadRanges", "measure"]

MEASUREMENTS = (
    "aspect_ratio",
    "head_length",
    "head_width",
    "angle",
    "area",
    "perimeter",
    "solidity",
    "ellipticity",
    "regularity",
    "taper",
    "asymmetry",
    "acrosome_fraction",
    "acrosome_contrast",
)
"""Columns of a table of measurements."""

_NOT_OK = frozenset({"no_head", "touches_border", "touching", "low_contrast", "unstable"})  # γ can't be trusted
_LEAST_AREA = 9  # px of the outline's resolution
_NECK_REACH = 0.5  # of the head's width
_THIN = 5  # px of the outline's resolution: no neck, but the head's blurred rim, or a tail
_DOUBTFUL_VOTE = 0.08  # below it the acrosome's end is a guess
_FIRM_ELLIPSE = 0.88  # ellipticity from which on an uncut outline is the same however the image lies
_SAME_RATIO = 0.05  # by which γ may differ between views of one image
_IRREGULAR = 0.88  # solidity: none of HuSHeM's heads lies below, 0.7 % of SMIDS's normal ones and 34 % of its Non-Sperm


Range = tuple[float, float]


@dataclass(frozen=True)
class HeadRanges:
    """Ranges ``(low, high)`` of a normal head.

    Defaults as the WHO laboratory manual is commonly quoted for stained heads: length 4.1 µm (3.7 to 4.7), width 2.8 µm
    (2.5 to 3.2), ratio 1.5 (1.3 to 1.8), an acrosome of 40 to 70 % of the head's area. The paper's constraint takes
    1.5 ± 0.3 for the ratio. Check them against the manual that your laboratory follows.
    """

    length_um: Range = (3.7, 4.7)
    width_um: Range = (2.5, 3.2)
    aspect_ratio: Range = (1.3, 1.8)
    acrosome_fraction: Range = (0.4, 0.7)


@dataclass(frozen=True)
class HeadMorphology:
    """What was measured on one head; lengths in pixels of the image.

    Attributes:
        mask: Head, ``(height, width)`` bool, of the image's size, as `as_rgb` gives it.
        neck: What of the dark object goes on from the rear half of the head, up to half of the head's width: stem,
            neck, cytoplasm, the beginning of the midpiece, also a part of what touches it there. Bool, of the image's
            size, without the head itself. Things thinner than 2.5 pixels of 131 are left out; a tail lies about there.
        contour: Outline ``(points, 2)``, ``(x, y)`` to fractions of a pixel; empty without a head.
        center: Centroid ``(x, y)``.
        box: Bounding box of the mask ``(x0, y0, x1, y1)``, x1 and y1 exclusive, as Pillow's ``crop`` takes it.
        angle: Direction of the acrosome along the long axis, degrees counter-clockwise from the image's right, in
            (-180, 180]; a best guess where `flags` has ``polarity``.
        length: Long axis of the ellipse with the head's second moments.
        width: Its short axis.
        aspect_ratio: γ, length / width.
        area: Square pixels.
        perimeter: Length of the outline.
        solidity: Area over that of the convex hull.
        ellipticity: See `HeadShape`, which also explains the following.
        regularity: 1 for an ellipse.
        taper: Below 1 where the head narrows towards the tail.
        asymmetry: 0 for mirror symmetry about the long axis.
        acrosome_fraction: Part of the head's area that the acrosome takes; None where none can be told.
        acrosome_contrast: How much paler than the nucleus it is.
        stain_profile: Relative darkness in ten parts from the acrosome's end to the tail's; empty without a head.
        width_profile: Relative width in the same parts; empty without a head.
        flags: Reasons for care. γ can't be trusted with ``no_head``, ``touches_border``, ``touching`` (heads of a field
            that could not be parted), ``low_contrast`` or ``unstable`` (two outlines are about as good: the same image
            turned by 90° or 180° gives a γ that is more than 5 % different, or no head; looked for where the outline is
            no ellipse or was cut); ``two_heads`` (another dark object of this size), ``cut_neck``, ``irregular`` (dents
            that a single head does not have: debris, a clump) and ``polarity`` (the acrosome's end is a guess) are
            information.
        um_per_px: Micrometres per pixel, None if unknown.

    Without a head the measurements are None.
    """

    mask: NDArray[np.bool_]
    neck: NDArray[np.bool_]
    contour: NDArray[np.float32]
    center: tuple[float, float] | None = None
    box: tuple[int, int, int, int] | None = None
    angle: float | None = None
    length: float | None = None
    width: float | None = None
    aspect_ratio: float | None = None
    area: float | None = None
    perimeter: float | None = None
    solidity: float | None = None
    ellipticity: float | None = None
    regularity: float | None = None
    taper: float | None = None
    asymmetry: float | None = None
    acrosome_fraction: float | None = None
    acrosome_contrast: float | None = None
    stain_profile: tuple[float, ...] = ()
    width_profile: tuple[float, ...] = ()
    flags: frozenset[str] = frozenset()
    um_per_px: float | None = None

    @property
    def ok(self) -> bool:
        """γ can be trusted."""
        return not self.flags & _NOT_OK

    @property
    def length_um(self) -> float | None:
        """Length in µm, None without a scale."""
        return None if self.length is None or self.um_per_px is None else self.length * self.um_per_px

    @property
    def width_um(self) -> float | None:
        """Width in µm, None without a scale."""
        return None if self.width is None or self.um_per_px is None else self.width * self.um_per_px

    def who_checks(self, ranges: HeadRanges | None = None) -> dict[str, bool | None]:
        """Whether each measurement lies in its range; None where it is missing (no scale, no acrosome, no head).

        Args:
            ranges: Other ranges than the default.
        """
        ranges = ranges or HeadRanges()
        out: dict[str, bool | None] = {}
        for name in ("length_um", "width_um", "aspect_ratio", "acrosome_fraction"):
            value, (low, high) = getattr(self, name), getattr(ranges, name)
            out[name] = None if value is None else low <= value <= high
        return out

    def to_dict(self) -> dict[str, Any]:
        """The numbers of `MEASUREMENTS`, ``ok`` and ``flags``, for a table; lengths in pixels."""
        names = {"head_length": "length", "head_width": "width"}
        numbers = {name: getattr(self, names.get(name, name)) for name in MEASUREMENTS}
        return numbers | {"ok": self.ok, "flags": " ".join(sorted(self.flags))}


def _acrosome_vote(found: Segmentation, shape: Profile) -> tuple[float, tuple[float, float]]:
    """How clearly the acrosome lies at one end, and the unit vector ``(x, y)`` towards it.

    The acrosome is paler than the nucleus and, in most heads, the wider end; the remains of the tail lie at the other.
    """
    third = len(shape.width) // 3
    low, high = slice(0, third), slice(-third, None)
    paleness = (shape.darkness[low].mean() - shape.darkness[high].mean()) / max(float(shape.darkness.mean()), 1e-6)
    breadth = (shape.width[high].mean() - shape.width[low].mean()) / max(float(shape.width.mean()), 1e-6)
    ys, xs = np.nonzero(found.tail)
    tail = 0.0
    if len(ys) > 20:
        middle = shape.centers[len(shape.centers) // 2]
        along = (xs - middle[0]) * shape.axis[0] + (ys - middle[1]) * shape.axis[1]
        behind = np.abs(along) > shape.length / 4
        if behind.any():
            tail = -float(np.sign(along[behind]).sum() / len(ys))
    vote = 2 * float(paleness) + 0.5 * tail + float(breadth)
    sign = 1.0 if vote >= 0 else -1.0
    return abs(vote), (sign * shape.axis[0], sign * shape.axis[1])


def _neck_mask(
    found: Segmentation, center: tuple[float, float], toward: tuple[float, float], reach: float
) -> BoolArray:
    """What was cut off of the dark object within ``reach`` pixels of the head's rear half, where it hangs on to it."""
    height, width = found.mask.shape
    x, y = np.arange(width) - center[0], np.arange(height)[:, None] - center[1]
    behind = x * toward[0] + y * toward[1] < 0
    distance = cv2.distanceTransform((~found.mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = (found.tail & behind & (distance <= reach)).astype(np.uint8)
    near = cv2.morphologyEx(near, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_THIN, _THIN)))
    # the opening may leave a gap of a rim's width between the head and its neck
    _, labels = cv2.connectedComponents(near | (distance < _THIN).astype(np.uint8), connectivity=8)
    return (near > 0) & (labels == labels[found.mask][0])


def _is_unstable(green: NDArray[np.uint8], aspect_ratio: float) -> bool:
    """Whether γ is another, or there is no head, in the green channel turned by a quarter or by half a turn.

    The grid of the background's plane begins at a corner, the kernel of the core's opening is another when transposed,
    and of the long axis one end is searched for a neck first. Where a threshold is nearly met, that decides what
    belongs to the head.
    """
    for quarters in (1, 2):
        found = segment(np.ascontiguousarray(np.rot90(green, quarters)))
        if found is None or found.mask.sum() < _LEAST_AREA:
            return True
        *_, major, minor = principal_axis(found.mask)
        if abs(np.sqrt(major / minor) / aspect_ratio - 1) > _SAME_RATIO:
            return True
    return False


def _box(mask: BoolArray) -> tuple[int, int, int, int] | None:
    """Bounding box ``(x0, y0, x1, y1)``, x1 and y1 exclusive; None of an empty mask."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def _flags(found: Segmentation, at_border: bool, solidity: float | None, vote: float) -> set[str]:
    """Reasons for care that one look tells, see `HeadMorphology`."""
    reasons = {
        "touches_border": at_border,
        "low_contrast": found.darkness[found.mask].mean() < 6 * found.noise,
        "cut_neck": found.cut_neck,
        "two_heads": found.neighbours,
        "irregular": solidity is not None and solidity < _IRREGULAR,
        "polarity": vote < _DOUBTFUL_VOTE,
    }
    return {name for name, holds in reasons.items() if holds}


def _measured(found: Segmentation, green: NDArray[np.uint8], um_per_px: float | None) -> HeadMorphology:
    """All measurements of what was found in the green channel."""
    height, width = green.shape
    zoom = found.zoom
    offset = np.array(found.origin) + (0.5 / zoom - 0.5)  # pixel centres of the window to those of the image
    contours, _ = cv2.findContours(found.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=cv2.contourArea)
    contour = (outline[:, 0] / zoom + offset).astype(np.float32)
    hull_area = cv2.contourArea(cv2.convexHull(outline))
    solidity = float(cv2.contourArea(outline) / hull_area) if hull_area > 0 else None
    (cx, cy), _, major, minor = principal_axis(found.mask)
    line = profile(found.mask, found.darkness)
    vote, (dx, dy) = _acrosome_vote(found, line)

    to_image = np.array([[1 / zoom, 0, offset[0]], [0, 1 / zoom, offset[1]]])

    def in_image(part: BoolArray) -> BoolArray:
        return cv2.warpAffine(part.astype(np.float32), to_image, (width, height), flags=cv2.INTER_LINEAR) >= 0.5

    mask = in_image(found.mask)
    neck = _neck_mask(found, (cx, cy), (dx, dy), _NECK_REACH * 4 * float(np.sqrt(minor)))

    aspect_ratio = float(np.sqrt(major / minor))
    shape = head_shape(found, line, (dx, dy))
    edge = max(1.0, 1.5 / zoom)  # the outermost outline lies up to a pixel of the working frame inside
    inside = edge <= contour.min() and (contour.max(axis=0) <= (width - 1 - edge, height - 1 - edge)).all()
    flags = _flags(found, not inside, solidity, vote)
    doubtful = found.cut_neck or shape.ellipticity < _FIRM_ELLIPSE  # a second look costs as much as the first
    if doubtful and not flags & _NOT_OK and _is_unstable(green, aspect_ratio):
        flags.add("unstable")
    return HeadMorphology(
        mask=mask,
        neck=in_image(found.mask | neck) & ~mask,
        contour=contour,
        center=(cx / zoom + float(offset[0]), cy / zoom + float(offset[1])),
        box=_box(mask),
        angle=float(np.degrees(np.arctan2(-dy, dx))),
        length=4 * float(np.sqrt(major)) / zoom,
        width=4 * float(np.sqrt(minor)) / zoom,
        aspect_ratio=aspect_ratio,
        area=float(found.mask.sum()) / zoom**2,
        perimeter=float(cv2.arcLength(outline, True)) / zoom,
        solidity=solidity,
        **asdict(shape),
        flags=frozenset(flags),
        um_per_px=um_per_px,
    )


def measure(image: NDArray[np.uint8] | Image.Image, um_per_px: float | None = None) -> HeadMorphology:
    """Measure the sperm head nearest to the middle of an image.

    γ is the ratio of the axes of the ellipse with the head's second moments. (The paper takes the ratio of the
    bounding box, which of its own recipe is the frame of the image for all 216 images of HuSHeM; the rectangle of
    least area is wrong for egg shapes.)

    Args:
        image: A Pillow image, or an array ``(height, width, 3)`` RGB or ``(height, width)`` gray; what is not RGB uint8
            is converted by `as_rgb`.
        um_per_px: Micrometres per pixel, if known.

    Raises:
        InputError: Not such an image.
        ValueError: ``um_per_px`` not positive.
    """
    if um_per_px is not None and not um_per_px > 0:
        raise ValueError(f"um_per_px={um_per_px}: expected micrometres per pixel, more than 0")
    rgb = as_rgb(image)
    green = np.ascontiguousarray(rgb[..., 1])
    found = segment(green)
    if found is None or found.mask.sum() < _LEAST_AREA:
        mask, neck = np.zeros((2, *green.shape), dtype=bool)
        contour = np.zeros((0, 2), dtype=np.float32)
        return HeadMorphology(mask, neck, contour, flags=frozenset({"no_head"}), um_per_px=um_per_px)
    return _measured(found, green, um_per_px)
