"""Which dark regions of a field are heads: a tree of regions over thresholds, of which the most head-like are taken."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .parting import part
from .regions import Region, regions_at

__all__ = ["candidates", "headness", "nearest", "opening", "ovalness"]

_LEVELS = (0.13, 0.2, 0.28, 0.38, 0.5, 0.65, 0.8)
_CLUMP = (0.65, 2.0)  # area over the square of the head's length
_CONVEX = 0.94  # solidity from which on a region has no dents to part it at
_OPENING = 0.22  # of the head's length: what is thinner is no head


@dataclass
class _Node:
    region: Region
    score: float
    children: list["_Node"] = field(default_factory=list)


def _ramp(value: float, zero: float, one: float) -> float:
    return min(max((value - zero) / (one - zero), 0.0), 1.0)


def opening(length: float) -> NDArray[np.uint8]:
    """The disc that takes tails away, but no head of this length."""
    diameter = max(round(_OPENING * length) | 1, 3)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))


def ovalness(region: Region) -> float:
    """0 to 1: how much a region is like an ellipse, whatever its size."""
    return _ramp(region.fill, 0.86, 0.96) * _ramp(region.solidity, 0.8, 0.94)


def headness(region: Region, length: float) -> float:
    """0 to 1: how much a region is like one head of a field whose heads have this length."""
    size = region.length / length
    return (
        ovalness(region)
        * _ramp(size, 0.4, 0.7)
        * _ramp(size, 1.9, 1.4)
        * _ramp(region.width / length, 0.25, 0.4)
        * _ramp(region.width / length, 1.05, 0.85)
        * _ramp(region.aspect_ratio, 3.2, 2.4)
    )


def _tree(dark: NDArray[np.uint8], length: float, noise: float) -> list[_Node]:
    """Regions at each level, each below the one that holds it; the roots."""
    kernel = opening(length)
    area = 0.5 * length**2
    roots: list[_Node] = []
    below: NDArray[np.int32] | None = None
    nodes: list[_Node] = []
    for level in _LEVELS:
        if level < 5 * noise:
            continue
        _, binary = cv2.threshold(dark, 255 * level, 1, cv2.THRESH_BINARY)
        binary = cv2.morphologyEx(binary, cv2.MORPH_OPEN, kernel)
        at_level = [_Node(region, headness(region, length)) for region in regions_at(binary, 0.15 * area, 8 * area)]
        labels = np.zeros(dark.shape, np.int32)
        for number, node in enumerate(at_level, 1):
            x0, y0, x1, y1 = node.region.box
            labels[y0:y1, x0:x1][node.region.mask > 0] = number
            first = int(node.region.mask[0].argmax())  # a box's first row holds a pixel of its region
            parent = 0 if below is None else int(below[y0, x0 + first])
            (nodes[parent - 1].children if parent else roots).append(node)
        below, nodes = labels, at_level
    return roots


def _best(node: _Node, length: float) -> tuple[float, list[Region]]:
    """The regions of a node's tree with the highest sum of scores, none within another."""
    score, chosen = 0.0, []
    for child in node.children:
        more, regions = _best(child, length)
        score += more
        chosen += regions
    clump = _CLUMP[0] < node.region.area / length**2 < _CLUMP[1]  # heads that may not be parted
    if node.score >= score and (node.score > 0 or clump):
        score, chosen = node.score, [node.region]
    dented = node.region.solidity < _CONVEX and node.score < 0.9
    if len(chosen) < 2 and dented and node.region.area > 0.6 * length**2:
        parts = part(node.region, length)
        scores = [headness(region, length) for region in parts]
        if len(parts) > 1 and min(scores) > 0.5 and sum(scores) > score:
            score, chosen = sum(scores), parts
    return score, chosen


def candidates(dark: NDArray[np.uint8], length: float, noise: float) -> list[Region]:
    """Dark regions that may each be a head, none overlapping another.

    Args:
        dark: Part of the light that is absorbed, ``(h, w)``, 0 to 255.
        length: Of the field's heads in pixels.
        noise: Of the background, as a fraction of the light.
    """
    chosen: list[Region] = []
    for root in _tree(dark, length, noise):
        chosen += _best(root, length)[1]
    return chosen


def nearest(shape: tuple[int, ...], regions: list[Region]) -> NDArray[np.int32]:
    """For each pixel of an image ``(h, w)`` the number, from 1, of the region that is nearest to it; 0 without any."""
    seeds = np.zeros(shape, np.int32)
    for number, region in enumerate(regions, 1):
        x0, y0, x1, y1 = region.box
        seeds[y0:y1, x0:x1][region.mask > 0] = number
    if not regions:
        return seeds
    free = (seeds == 0).astype(np.uint8)
    _, pixel = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    lookup = np.zeros(int(pixel.max()) + 1, np.int32)
    lookup[pixel[seeds > 0]] = seeds[seeds > 0]
    return lookup[pixel]
