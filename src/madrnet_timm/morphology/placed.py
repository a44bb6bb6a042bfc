"""Where the head and its neck lie in an image, of which they are a small part in a field."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["Placed"]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """Masks of a head and its neck in a window of an image.

    Attributes:
        head: ``(h, w)`` bool.
        neck: ``(h, w)`` bool.
        corner: Of the window in the image, ``(x, y)``.
        size: Height and width of the image.
    """

    head: BoolArray
    neck: BoolArray
    corner: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def nowhere(cls, size: tuple[int, int]) -> "Placed":
        """No head in an image of this height and width."""
        nothing = np.zeros((0, 0), dtype=bool)
        return cls(nothing, nothing, (0, 0), size)

    def in_image(self, part: BoolArray) -> BoolArray:
        """A mask of the window, in the image."""
        if part.shape == self.size:
            return part
        out = np.zeros(self.size, dtype=bool)
        x, y = self.corner
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
        return out

    def box(self) -> tuple[int, int, int, int] | None:
        """Bounding box of the head ``(x0, y0, x1, y1)`` in the image, x1 and y1 exclusive; None of an empty mask."""
        x, y, width, height = cv2.boundingRect(self.head.view(np.uint8)) if self.head.size else (0, 0, 0, 0)
        left, top = self.corner
        return (left + x, top + y, left + x + width, top + y + height) if width else None

    def moved(self, x: int, y: int, size: tuple[int, int]) -> "Placed":
        """The same in an image of height and width ``size``, ``x`` and ``y`` pixels farther right and down.

        What lies outside of that image is left out.
        """
        left, top = self.corner[0] + x, self.corner[1] + y
        height, width = self.head.shape
        rows = slice(max(-top, 0), max(min(height, size[0] - top), 0))
        columns = slice(max(-left, 0), max(min(width, size[1] - left), 0))
        return Placed(self.head[rows, columns], self.neck[rows, columns], (max(left, 0), max(top, 0)), size)
