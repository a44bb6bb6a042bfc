"""Measurement of a sperm head: axes, aspect ratio γ, direction of the acrosome."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..opencv import cv2
from .acrosome import acrosome_vote, inside_of
from .axis import Profile, principal_axis, profile
from .edge import window_of
from .pixels import as_rgb
from .placed import Placed
from .segment import BoolArray, FloatArray, Segmentation, segment, segment_object
from .shape import head_shape
from .waist import outline_of

__all__ = ["MEASUREMENTS", "HeadMorphology", "HeadRanges", "measure", "measure_object"]

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
_NEIGHBOUR = 1.6  # head lengths between the centres of two heads of which a crop can't show one alone
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
        placed: Head and neck in a window of the image.
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
            turned by 90° or 180° gives a γ that is more than 5 % different, or no head; looked for where the outline
            has a waist at which it was nearly cut, or nearly not); ``two_heads`` (another dark object of this size, or
            a waist between two parts of a size: the one in the middle of the image is measured, or both if that is
            where the waist lies), ``cut_neck``, ``irregular`` (dents that a single head does not have: debris, a
            clump) and ``polarity`` (the acrosome's end is a guess) are information.
        um_per_px: Micrometres per pixel, None if unknown.

    Without a head the measurements are None.
    """

    placed: Placed
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

    @classmethod
    def none(cls, size: tuple[int, int], um_per_px: float | None = None) -> "HeadMorphology":
        """No head in an image of this height and width."""
        contour = np.zeros((0, 2), dtype=np.float32)
        return cls(Placed.nowhere(size), contour, flags=frozenset({"no_head"}), um_per_px=um_per_px)

    @property
    def mask(self) -> BoolArray:
        return self.placed.in_image(self.placed.head)

    @property
    def neck(self) -> BoolArray:
        return self.placed.in_image(self.placed.neck)

    @property
    def ok(self) -> bool:
        """γ can be trusted."""
        return not self.flags & _NOT_OK

    @property
    def touches_border(self) -> bool:
        """The border of the image cuts it, or comes so near that it may; of a field it is not counted."""
        return "touches_border" in self.flags

    def moved(self, x: int, y: int, size: tuple[int, int]) -> "HeadMorphology":
        """The same in an image of height and width ``size``, ``x`` and ``y`` pixels farther right and down.

        The masks lose what lies outside of that image; the other values stay.
        """
        if self.center is None or self.box is None:
            return replace(self, placed=self.placed.moved(x, y, size))
        return replace(
            self,
            placed=self.placed.moved(x, y, size),
            contour=self.contour + np.array([x, y], dtype=np.float32),
            center=(self.center[0] + x, self.center[1] + y),
            box=(self.box[0] + x, self.box[1] + y, self.box[2] + x, self.box[3] + y),
        )

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


def _neck_mask(
    found: Segmentation, distance: FloatArray, center: tuple[float, float], toward: tuple[float, float], reach: float
) -> BoolArray:
    """What was cut off of the dark object within ``reach`` pixels of the head's rear half, where it hangs on to it."""
    window = window_of(found.mask, int(reach) + 2 * _THIN)
    rows, columns = (np.arange(part.start, part.stop) for part in window)
    behind = (columns - center[0]) * toward[0] + (rows[:, None] - center[1]) * toward[1] < 0
    head, distance = found.mask[window], distance[window]
    near = (found.tail[window] & behind & (distance <= reach)).astype(np.uint8)
    near = cv2.morphologyEx(near, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_THIN, _THIN)))
    # the opening may leave a gap of a rim's width between the head and its neck
    _, labels = cv2.connectedComponents(near | (distance < _THIN).astype(np.uint8), connectivity=8)
    neck = np.zeros_like(found.mask)
    neck[window] = (near > 0) & (labels == labels[head][0])
    return neck


def _turned(image: NDArray[Any], quarters: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.rot90(image, quarters))


def _is_unstable(look: Callable[[int], Segmentation | None], head: HeadMorphology) -> bool:
    """Whether γ is another, or there is no head, in the image turned by a quarter or by half a turn.

    Where a threshold is nearly met, what the turning does to the background's plane and to the pixels' grid decides
    what belongs to the head.
    """
    for quarters in (1, 2):
        found = look(quarters)
        if found is None or found.mask.sum() < _LEAST_AREA:
            return True
        *_, major, minor = principal_axis(found.mask)
        if abs(np.sqrt(major / minor) / (head.aspect_ratio or 1.0) - 1) > _SAME_RATIO:
            return True
    return False


def _has_neighbour(found: Segmentation, line: Profile) -> bool:
    """Whether another dark object of this size lies near."""
    distance = np.linalg.norm(found.others - np.array(line.center), axis=1)
    return bool((distance < _NEIGHBOUR * 4 * np.sqrt(line.along)).any())


def _flags(found: Segmentation, line: Profile, at_border: bool, solidity: float | None, vote: float) -> set[str]:
    """Reasons for care that one look tells, see `HeadMorphology`."""
    reasons = {
        "touches_border": at_border,
        "low_contrast": found.darkness[found.mask].mean() < 6 * found.noise,
        "cut_neck": found.cut,
        "two_heads": found.touching or _has_neighbour(found, line),
        "irregular": solidity is not None and solidity < _IRREGULAR,
        "polarity": vote < _DOUBTFUL_VOTE,
    }
    return {name for name, holds in reasons.items() if holds}


def _measured(found: Segmentation, size: tuple[int, int], um_per_px: float | None) -> HeadMorphology:
    """All measurements of what was found in an image of this height and width."""
    height, width = size
    zoom = found.zoom
    offset = np.array(found.origin) + (0.5 / zoom - 0.5)  # pixel centres of the window to those of the image
    outline = outline_of(found.mask)
    contour = (outline / zoom + offset).astype(np.float32)
    hull_area = cv2.contourArea(cv2.convexHull(outline))
    solidity = float(cv2.contourArea(outline) / hull_area) if hull_area > 0 else None
    line = profile(found.mask, found.darkness, outline)
    (cx, cy), major, minor = line.center, line.along, line.across
    inside = inside_of(line, found.ground)
    distance = cv2.distanceTransform((~found.mask).view(np.uint8), cv2.DIST_L2, 5)
    vote, (dx, dy) = acrosome_vote(found, line, inside, distance)

    def at_image_scale(part: BoolArray) -> BoolArray:
        left, top = found.origin
        rows, columns = (
            min(round(side / zoom), most) for side, most in zip(part.shape, (height - top, width - left), strict=True)
        )
        to_image = np.array([[zoom, 0, 0.5 * zoom - 0.5], [0, zoom, 0.5 * zoom - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(part.astype(np.float32), to_image, (columns, rows), flags=flags) >= 0.5

    mask = at_image_scale(found.mask)
    neck = _neck_mask(found, distance, (cx, cy), (dx, dy), _NECK_REACH * 4 * float(np.sqrt(minor)))

    aspect_ratio = float(np.sqrt(major / minor))
    shape = head_shape(found, line, inside, (dx, dy))
    edge = max(1.0, 1.5 / zoom)  # the outermost outline lies up to a pixel of the working frame inside
    whole = edge <= contour.min() and (contour.max(axis=0) <= (width - 1 - edge, height - 1 - edge)).all()
    flags = _flags(found, line, not whole, solidity, vote)
    placed = Placed(mask, at_image_scale(found.mask | neck) & ~mask, found.origin, size)
    return HeadMorphology(
        placed=placed,
        contour=contour,
        center=(cx / zoom + float(offset[0]), cy / zoom + float(offset[1])),
        box=placed.box(),
        angle=float(np.degrees(np.arctan2(-dy, dx))),
        length=4 * float(np.sqrt(major)) / zoom,
        width=4 * float(np.sqrt(minor)) / zoom,
        aspect_ratio=aspect_ratio,
        area=float(found.mask.sum()) / zoom**2,
        perimeter=float(cv2.arcLength(outline, True)) / zoom,
        solidity=solidity,
        **vars(shape),
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
        return HeadMorphology.none(green.shape, um_per_px)
    head = _measured(found, green.shape, um_per_px)
    # two more looks; most outlines have nothing about them that a trifle could change
    if found.doubtful and head.ok and _is_unstable(lambda quarters: segment(_turned(green, quarters)), head):
        return replace(head, flags=head.flags | {"unstable"})
    return head


def measure_object(
    image: NDArray[np.uint8],
    core: BoolArray,
    *,
    others: BoolArray | None = None,
    ground: tuple[NDArray[np.float32] | float, float] | None = None,
    um_per_px: float | None = None,
) -> HeadMorphology:
    """Measure a head whose place is known, in an image of any size.

    Args:
        image: ``(height, width, 3)`` RGB or ``(height, width)`` green channel, uint8.
        core: Pixels that surely belong to the head, ``(height, width)`` bool, about half of it or more: the resolution
            of the measurement follows from their number.
        others: Pixels of other objects, which are no part of the head, its neck or its tail.
        ground: Gray level of the green channel's background, one number or an array of the image's size, and its noise
            in gray levels; without it a plane is fitted.
        um_per_px: Micrometres per pixel, if known.

    Returns:
        As `measure` gives it, without a look for other heads (``two_heads``); ``no_head`` where the core is empty or
        nothing dark lies under it.
    """
    green = np.ascontiguousarray(image[..., 1]) if image.ndim == 3 else image
    found = segment_object(green, core, others, ground)
    if found is None or found.mask.sum() < _LEAST_AREA:
        return HeadMorphology.none(green.shape, um_per_px)

    def look(quarters: int) -> Segmentation | None:
        """As `segment_object` sees it in the image turned by quarters of a turn."""
        rest = None if others is None else _turned(others, quarters)
        level = None if ground is None else (np.rot90(np.broadcast_to(ground[0], green.shape), quarters), ground[1])
        return segment_object(_turned(green, quarters), _turned(core, quarters), rest, level)

    head = _measured(found, green.shape, um_per_px)
    if found.doubtful and head.ok and _is_unstable(look, head):
        return replace(head, flags=head.flags | {"unstable"})
    return head
