"""From an image, or a window of a field, to the outline of one head.

Works on the green channel, where both the pale acrosome and the dark nucleus stand out from the background.
Everything here is OpenCV and numpy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .background import fit_plane
from .edge import HEAD, outlined
from .locate import locate

__all__ = ["Segmentation", "segment", "segment_object"]

_CORE = 0.74  # diameter of the disc of a core's area, as a fraction of the head's length
_MOST_ZOOM = 8.0
_MARGIN = 55  # px of the outline's resolution around the core
_SMOOTH = 0.6  # px of the outline's resolution

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Segmentation:
    """A head in a window of an image, at `zoom` times its resolution.

    Attributes:
        mask: Head, ``(h, w)`` bool.
        darkness: Background minus image, ``(h, w)`` float32 gray levels, at least 0.
        tail: What of the dark object was cut off: tail, neck, the blurred rim.
        closed: Pixels that belong to other objects, as far as those are known.
        origin: Position ``(x, y)`` of the window's corner in pixels of the image.
        zoom: Pixels of the window per pixel of the image.
        ground: Gray level of the background.
        noise: Median absolute deviation of the background in gray levels.
        cut: Something that hangs on to the head was cut off.
        touching: Another head was, or there is a waist between two parts of a size that is in the middle.
        doubtful: The outline has a waist, at which a trifle may decide what belongs to the head.
        others: Centres ``(x, y)`` of other dark objects of at least 0.4 of the core's size, ``(n, 2)``, in the window.
    """

    mask: BoolArray
    darkness: FloatArray
    tail: BoolArray
    closed: BoolArray
    origin: tuple[int, int]
    zoom: float
    ground: float
    noise: float
    cut: bool
    touching: bool
    doubtful: bool
    others: NDArray[np.float64]


def segment(green: NDArray[np.uint8]) -> Segmentation | None:
    """Find the head nearest to the middle of an image's green channel ``(height, width)``.

    Returns:
        The head, or None where nothing dark enough stands out.
    """
    found = locate(green)
    if found is None:
        return None
    height, width = green.shape
    x, y, w, h = cv2.boundingRect(found.core.view(np.uint8))
    box = (x / found.scale, y / found.scale, (x + w) / found.scale, (y + h) / found.scale)
    window = _Window.around(box, float(np.count_nonzero(found.core)) / found.scale**2, green.shape)
    ground = found.ground.at(window.y1 - window.y0, window.x1 - window.x0, window.x0, window.y0)
    core = window.of_mask(found.core, found.scale)
    others = [window.of_point(*(np.array(point) + 0.5) / found.scale - 0.5) for point in found.others]
    middle = window.of_point((width - 1) / 2, (height - 1) / 2)
    return _segmented(green, window, ground, found.ground.noise, core, None, middle, np.array(others).reshape(-1, 2))


def segment_object(
    green: NDArray[np.uint8],
    core: BoolArray,
    others: BoolArray | None = None,
    ground: tuple[FloatArray | float, float] | None = None,
) -> Segmentation | None:
    """The head that a core belongs to.

    Args:
        green: Green channel ``(height, width)``.
        core: Pixels that belong to the head, bool ``(height, width)``.
        others: Pixels that belong to other objects.
        ground: The background, an array of the image's size or one number, and its noise, in gray levels; else a
            plane is fitted.

    Returns:
        The head, or None where the core is empty or nothing dark lies under it.
    """
    x, y, w, h = cv2.boundingRect(core.view(np.uint8))
    if w == 0:
        return None
    window = _Window.around((x, y, x + w, y + h), float(np.count_nonzero(core)), green.shape)
    part = np.s_[window.y0 : window.y1, window.x0 : window.x1]
    if ground is None:
        plane = fit_plane(cv2.GaussianBlur(green, (0, 0), 1))
        ground = plane.at(*green.shape), plane.noise
    level, noise = ground
    below = np.full(green[part].shape, level, np.float32) if np.ndim(level) == 0 else np.asarray(level)[part]
    closed = None if others is None else window.of_mask(others, 1.0)
    return _segmented(green, window, below, noise, window.of_mask(core, 1.0), closed, None, np.zeros((0, 2)))


@dataclass(frozen=True)
class _Window:
    """Part ``[y0:y1, x0:x1]`` of an image, resampled by `zoom`."""

    x0: int
    y0: int
    x1: int
    y1: int
    zoom: float

    @classmethod
    def around(cls, box: tuple[float, float, float, float], area: float, shape: tuple[int, ...]) -> "_Window":
        """Around a core with this box ``(x0, y0, x1, y1)`` and area in pixels of an image of this shape."""
        zoom = min(_CORE * HEAD / np.sqrt(4 * area / np.pi), _MOST_ZOOM)
        margin = _MARGIN / zoom
        return cls(
            max(int(box[0] - margin), 0),
            max(int(box[1] - margin), 0),
            min(int(box[2] + margin) + 1, shape[1]),
            min(int(box[3] + margin) + 1, shape[0]),
            float(zoom),
        )

    def of_point(self, x: float, y: float) -> tuple[float, float]:
        """A point of the image in pixels of the window."""
        return (x - self.x0 + 0.5) * self.zoom - 0.5, (y - self.y0 + 0.5) * self.zoom - 0.5

    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the window."""
        return round((self.x1 - self.x0) * self.zoom), round((self.y1 - self.y0) * self.zoom)

    def of_mask(self, mask: BoolArray, scale: float) -> BoolArray:
        """A mask of the image, or of the image at ``scale`` times its size, in the window."""
        step = self.zoom / scale
        first = self.of_point(0.5 / scale - 0.5, 0.5 / scale - 0.5)
        matrix = np.array([[step, 0, first[0]], [0, step, first[1]]])
        return cv2.warpAffine(mask.astype(np.float32), matrix, self.size()) >= 0.5


def _segmented(
    green: NDArray[np.uint8],
    window: _Window,
    ground: FloatArray,
    noise: float,
    core: BoolArray,
    closed: BoolArray | None,
    middle: tuple[float, float] | None,
    others: NDArray[np.float64],
) -> Segmentation | None:
    if not core.any():
        return None
    darkness = ground - green[window.y0 : window.y1, window.x0 : window.x1]
    zoom, size = window.zoom, window.size()
    if zoom < 1:
        darkness = cv2.GaussianBlur(darkness, (0, 0), 0.4 / zoom)
    matrix = np.array([[zoom, 0, 0.5 * zoom - 0.5], [0, zoom, 0.5 * zoom - 0.5]])
    way = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_LINEAR
    darkness = cv2.warpAffine(darkness, matrix, size, flags=way, borderMode=cv2.BORDER_REPLICATE)
    darkness = cv2.GaussianBlur(darkness, (0, 0), _SMOOTH)
    level = max(float(ground.mean()), 1.0)
    stain = -cv2.log(np.clip(1 - darkness / level, 0.02, 1))
    found = outlined(darkness, stain, core, noise, closed, middle)
    if found is None:
        return None
    darkness = np.maximum(darkness, 0)
    tail = found.dark & ~found.mask
    return Segmentation(
        found.mask,
        darkness,
        tail,
        np.zeros_like(tail) if closed is None else closed,
        (window.x0, window.y0),
        zoom,
        level,
        noise,
        found.cut,
        found.touching,
        found.doubtful,
        others,
    )
