"""A measured head as an image: outline, axes, acrosome."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..opencv import cv2
from .head import HeadMorphology
from .pixels import as_rgb

__all__ = ["draw_overlay"]

_OUTLINE = (0, 190, 0)
_OUTLINE_DOUBTFUL = (230, 120, 0)
_AXES = (0, 90, 255)
_ACROSOME = (230, 0, 120)
_SHIFT = 4


def draw_overlay(
    image: NDArray[np.uint8] | Image.Image, head: HeadMorphology, scale: int = 3, text: str = ""
) -> NDArray[np.uint8]:
    """Draw what `measure` found.

    The outline is green where γ can be trusted and orange where not; blue lines are the axes of the ellipse with the
    head's second moments; the arrow points to the acrosome, dashed in thought where ``polarity`` is flagged (then the
    line has no head). A strip below gives γ, the lengths and the flags.

    Args:
        image: The measured image.
        head: Its measurement.
        scale: Enlargement.
        text: First line of the strip; a letter that is not ASCII is ``_`` there.

    Returns:
        RGB uint8, ``scale`` times the image's size, and a strip of text below.
    """
    rgb = as_rgb(image)
    height, width = rgb.shape[:2]
    canvas = cv2.resize(rgb, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)

    def point(x: float, y: float) -> tuple[int, int]:
        return round(((x + 0.5) * scale - 0.5) * 2**_SHIFT), round(((y + 0.5) * scale - 0.5) * 2**_SHIFT)

    lines = ["no head"]
    if head.center is not None and head.angle is not None and head.length and head.width:
        outline = np.array([point(x, y) for x, y in head.contour.tolist()], dtype=np.int32)
        color = _OUTLINE if head.ok else _OUTLINE_DOUBTFUL
        cv2.polylines(canvas, [outline], True, color, max(scale // 2, 1), cv2.LINE_AA, _SHIFT)
        direction = np.array([np.cos(np.radians(head.angle)), -np.sin(np.radians(head.angle))])
        across = np.array([-direction[1], direction[0]])
        center = np.array(head.center)
        for vector, half in ((direction, head.length / 2), (across, head.width / 2)):
            ends = [point(*(center + sign * half * vector)) for sign in (-1, 1)]
            cv2.line(canvas, *ends, _AXES, 1, cv2.LINE_AA, _SHIFT)
        if "polarity" not in head.flags:
            tip, wing = center + direction * head.length / 2, 0.12 * head.length
            for sign in (-1, 1):
                back = tip - wing * direction + sign * 0.7 * wing * across
                cv2.line(canvas, point(*tip), point(*back), _ACROSOME, 2, cv2.LINE_AA, _SHIFT)
        size = f"{head.length:.0f} x {head.width:.0f} px"
        if head.length_um is not None and head.width_um is not None:
            size = f"{head.length_um:.1f} x {head.width_um:.1f} um"
        lines = [f"ratio {head.aspect_ratio:.2f}  {size}"]
    lines = ["".join(c if c.isascii() else "_" for c in text)] * bool(text) + lines + sorted(head.flags - {"no_head"})
    strip = np.full((16 * len(lines) + 6, canvas.shape[1], 3), 255, dtype=np.uint8)
    for number, line in enumerate(lines):
        cv2.putText(strip, line, (4, 15 + 16 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([canvas, strip])
