"""Parting a dark region of several heads by its outline."""

import numpy as np

from ..opencv import cv2
from .regions import Region, describe

__all__ = ["part"]

_LEAST_RADIUS = 0.2  # of a head's length: the disc that lies in a head
_STEPS = 8  # of the distance from the outline


def part(region: Region, length: float) -> list[Region]:
    """Parts of a region at its narrow places; the region itself where there is none.

    The deeper inside of the outline, the more parts there are: the depth with the most of them is taken, and each
    pixel given to the nearest part.
    """
    mask = np.pad(region.mask, 1)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    least = _LEAST_RADIUS * length
    best, seeds = 1, None
    for level in np.linspace(0.1 * length, 0.9 * float(depth.max()), _STEPS):
        count, labels = cv2.connectedComponents((depth > level).astype(np.uint8), connectivity=4)
        peaks = [label for label in range(1, count) if depth[labels == label].max() >= max(least, 1.12 * level)]
        if len(peaks) > best:
            best, seeds = len(peaks), np.where(np.isin(labels, peaks), labels, 0)
    if seeds is None:
        return [region]
    free = (seeds == 0).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    lookup = np.zeros(int(nearest.max()) + 1, np.int32)
    lookup[nearest[seeds > 0]] = seeds[seeds > 0]
    owner = lookup[nearest] * mask
    parts = []
    for label in np.unique(owner[owner > 0]):
        own = (owner == label).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(own)
        found = describe(own[y : y + height, x : x + width], (region.box[0] + x - 1, region.box[1] + y - 1))
        if found is not None:
            parts.append(found)
    return parts
