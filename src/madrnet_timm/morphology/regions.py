"""Dark regions of a field at one threshold: their place, their axes, how much like an ellipse they are."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["Region", "describe", "regions_at"]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A connected dark region, in pixels of the image that it was found on.

    Attributes:
        mask: ``(h, w)`` uint8, 0 or 1, within its box.
        box: ``(x0, y0, x1, y1)``, x1 and y1 exclusive.
        area: Pixels.
        center: Centroid ``(x, y)``.
        length: Long axis of the ellipse with the same second moments.
        width: Its short axis.
        fill: Area over that of the ellipse; 1 for an ellipse.
        solidity: Area over that of the convex hull, by the outline.
        squareness: Area over that of the smallest rectangle around the outline; 0.79 for an ellipse.
    """

    mask: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    area: float
    center: tuple[float, float]
    length: float
    width: float
    fill: float
    solidity: float
    squareness: float

    @property
    def aspect_ratio(self) -> float:
        return self.length / self.width


def describe(mask: NDArray[np.uint8], corner: tuple[int, int]) -> Region | None:
    """The region of a mask of one connected part, whose window's corner lies at ``(x, y)``; None of an empty mask."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return _described(mask, max(contours, key=cv2.contourArea), corner) if contours else None


def regions_at(binary: NDArray[np.uint8], least_area: float, most_area: float = np.inf) -> list[Region]:
    """The connected regions of a binary image with an area in the range, holes filled."""
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    out = []
    for contour in contours:
        x, y, width, height = cv2.boundingRect(contour)
        if width * height < least_area or not least_area <= cv2.contourArea(contour) + width + height <= most_area:
            continue
        mask = np.zeros((height, width), np.uint8)
        cv2.drawContours(mask, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
        out.append(_described(mask, contour, (x, y)))
    return out


def _described(mask: NDArray[np.uint8], outline: NDArray[np.int32], corner: tuple[int, int]) -> Region:
    moments = cv2.moments(mask, binaryImage=True)
    area = moments["m00"]
    xx, yy, xy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12, moments["mu11"] / area
    mean, spread = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    length, width = 4 * math.sqrt(mean + spread), 4 * math.sqrt(max(mean - spread, 1 / 12))
    hull = cv2.convexHull(outline)
    hull_area, sides = cv2.contourArea(hull), cv2.minAreaRect(hull)[1]
    x, y = corner
    height, columns = mask.shape
    return Region(
        mask,
        (x, y, x + columns, y + height),
        area,
        (x + moments["m10"] / area, y + moments["m01"] / area),
        length,
        width,
        area / (math.pi / 4 * length * width),
        cv2.contourArea(outline) / hull_area if hull_area > 0 else 1.0,
        area / ((sides[0] + 1) * (sides[1] + 1)),
    )
