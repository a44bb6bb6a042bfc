"""Head-centred views of an image: upright, background normalised or masked."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..opencv import cv2
from .background import background_planes
from .head import HeadMorphology
from .pixels import as_rgb

__all__ = ["REFERENCE_BACKGROUND", "Keep", "align", "mask_background", "normalize_background"]

REFERENCE_BACKGROUND = (214, 190, 214)
"""RGB colour that `normalize_background` maps the background to, near that of stained smears."""

UInt8Array = NDArray[np.uint8]
Keep = Literal["all", "head", "head-and-neck"]


def _to_uint8(image: NDArray[np.float32]) -> UInt8Array:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def normalize_background(image: UInt8Array | Image.Image) -> UInt8Array:
    """The image with its background's plane moved to `REFERENCE_BACKGROUND`; what stands out keeps its contrast.

    On HuSHeM the background tells the session and with it the class, so it should not reach a classifier.
    """
    rgb = as_rgb(image)
    return _to_uint8(rgb - background_planes(rgb) + np.array(REFERENCE_BACKGROUND, dtype=np.float32))


def mask_background(
    image: UInt8Array | Image.Image, morphology: HeadMorphology, *, keep_neck: bool = False
) -> UInt8Array:
    """The image with everything but the head, or head and neck, replaced by the plane of its background.

    Without a head the image is returned as it is.
    """
    rgb = as_rgb(image)
    if "no_head" in morphology.flags:
        return rgb
    planes = background_planes(rgb)
    return _to_uint8(_kept(morphology, keep_neck) * (rgb - planes) + planes)


def _kept(morphology: HeadMorphology, keep_neck: bool) -> NDArray[np.float32]:
    """Part of each pixel that stays: the outline's own pixels are mixed with the background, a soft edge keeps them."""
    kept = morphology.mask | morphology.neck if keep_neck else morphology.mask
    return cv2.min(2 * cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 1), 1.0)[..., None]


def align(
    image: UInt8Array | Image.Image,
    morphology: HeadMorphology,
    size: int,
    field: float = 0.55,
    *,
    keep: Keep = "all",
    reference: bool = False,
) -> UInt8Array:
    """The head centred, its axis upright and the acrosome up, in a square image.

    Args:
        image: The measured image.
        morphology: What `measure` found on it; without a head the image's middle is taken as it lies.
        size: Side of the result in pixels.
        field: Side of the square that is cut out, as a fraction of the image's longer side. The scale is the same for
            every head, so that size stays visible.
        keep: What is shown on the background: ``all``, or only the ``head``, or ``head-and-neck`` (as
            `mask_background` does, but the background is fitted once).
        reference: Whether the background becomes `REFERENCE_BACKGROUND`, as `normalize_background` does.

    Returns:
        ``(size, size, 3)`` RGB uint8; what lies outside of the image is filled with its background's planes.
    """
    rgb = as_rgb(image)
    height, width = rgb.shape[:2]
    scale = size / (field * max(height, width))
    center, angle = ((width - 1) / 2, (height - 1) / 2), 90.0
    if morphology.center is not None and morphology.angle is not None:
        center, angle = morphology.center, morphology.angle
    matrix = cv2.getRotationMatrix2D(center, 90 - angle, scale)
    matrix[:, 2] += (size - 1) / 2 - np.array(center)
    smaller = scale < 1
    planes = background_planes(rgb)
    difference = rgb - planes
    if keep != "all" and "no_head" not in morphology.flags:
        difference *= _kept(morphology, keep == "head-and-neck")
    if smaller:  # a low pass before the sampling
        difference = cv2.GaussianBlur(difference, (0, 0), 0.4 / scale)
    warp = {"flags": cv2.INTER_LINEAR if smaller else cv2.INTER_CUBIC, "borderMode": cv2.BORDER_CONSTANT}
    warped = cv2.warpAffine(difference, matrix, (size, size), borderValue=(0, 0, 0), **warp)
    if reference:
        return _to_uint8(warped + np.array(REFERENCE_BACKGROUND, dtype=np.float32))
    # a plane goes on beyond the border: evaluated, not sampled
    inverse = cv2.invertAffineTransform(matrix)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    source_x = np.clip(inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2], 0, width - 1)
    source_y = np.clip(inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2], 0, height - 1)
    ground = cv2.remap(planes, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_LINEAR)
    return _to_uint8(warped + ground)
