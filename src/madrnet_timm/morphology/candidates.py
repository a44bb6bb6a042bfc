"""Which dark regions of a field are heads: a tree of regions over thresholds, of which the most head-like are taken."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .parting import part
from .regions import Region, regions_at

__all__ = ["head_regions"]

_LEVELS = (0.13, 0.2, 0.28, 0.38, 0.5, 0.65, 0.8)
_OPENING = 0.22  # of the head's length: what is thinner is no head
_LEAST_SCORE = 0.3
_SURE = 0.8  # score of those that tell how dark heads are
_PALE = 0.6  # of the heads' darkness: paler ones are debris


@dataclass
class _Node:
    region: Region
    score: float
    children: list["_Node"] = field(default_factory=list)


def _ramp(value: float, zero: float, one: float) -> float:
    return min(max((value - zero) / (one - zero), 0.0), 1.0)


def headness(region: Region, length: float) -> float:
    """0 to 1: how much a region is like one head of a field whose heads have this length."""
    size = region.length / length
    return (
        _ramp(region.fill, 0.86, 0.96)
        * _ramp(region.solidity, 0.8, 0.94)
        * _ramp(size, 0.4, 0.7)
        * _ramp(size, 1.9, 1.4)
        * _ramp(region.width / length, 0.25, 0.4)
        * _ramp(region.width / length, 1.05, 0.85)
        * _ramp(region.aspect_ratio, 3.2, 2.4)
    )


def _tree(dark: NDArray[np.uint8], length: float, noise: float) -> list[_Node]:
    """Regions at each level, each below the one that holds it; the roots."""
    diameter = max(round(_OPENING * length) | 1, 3)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    area = 0.5 * length**2
    roots: list[_Node] = []
    below: NDArray[np.int32] | None = None
    nodes: list[_Node] = []
    for level in _LEVELS:
        if level < 5 * noise:
            continue
        binary = cv2.morphologyEx((dark > 255 * level).astype(np.uint8), cv2.MORPH_OPEN, kernel)
        at_level = [_Node(region, headness(region, length)) for region in regions_at(binary, 0.15 * area, 8 * area)]
        labels = np.zeros(dark.shape, np.int32)
        for number, node in enumerate(at_level, 1):
            x0, y0, x1, y1 = node.region.box
            labels[y0:y1, x0:x1][node.region.mask > 0] = number
            row, column = (int(i[0]) for i in np.nonzero(node.region.mask))
            parent = 0 if below is None else int(below[y0 + row, x0 + column])
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
    if node.score >= score and node.score > 0:
        score, chosen = node.score, [node.region]
    if len(chosen) < 2 and node.region.area > 0.6 * length**2 and node.score < 0.9:
        parts = part(node.region, length)
        scores = [headness(region, length) for region in parts]
        if len(parts) > 1 and min(scores) > 0.5 and sum(scores) > score:
            score, chosen = sum(scores), parts
    return score, chosen


def head_regions(dark: NDArray[np.uint8], length: float, noise: float) -> tuple[list[Region], NDArray[np.int32]]:
    """Heads of a field, and for each pixel the number (from 1) of the nearest one, 0 where that is no head."""
    chosen: list[Region] = []
    for root in _tree(dark, length, noise):
        chosen += _best(root, length)[1]
    owner = _owner(dark.shape, chosen)
    scores = np.array([headness(region, length) for region in chosen])
    depth = np.array([_darkness(dark, region) for region in chosen])
    sure = scores > _SURE
    if not sure.any():
        return [], np.zeros(dark.shape, np.int32)
    heads = (scores >= _LEAST_SCORE) & (depth > _PALE * np.median(depth[sure & (depth > 0.5 * depth[sure].max())]))
    numbers = np.concatenate([[0], np.where(heads, np.cumsum(heads), 0)]).astype(np.int32)
    return [region for region, head in zip(chosen, heads, strict=True) if head], numbers[owner]


def _darkness(dark: NDArray[np.uint8], region: Region) -> float:
    """How dark the darkest fifth of a region is at least."""
    x0, y0, x1, y1 = region.box
    return float(np.percentile(dark[y0:y1, x0:x1][region.mask > 0], 80))


def _owner(shape: tuple[int, ...], chosen: list[Region]) -> NDArray[np.int32]:
    free = np.ones(shape, np.uint8)
    for region in chosen:
        x0, y0, x1, y1 = region.box
        free[y0:y1, x0:x1][region.mask > 0] = 0
    if not chosen:
        return np.zeros(shape, np.int32)
    seeds = np.zeros(shape, np.int32)
    for number, region in enumerate(chosen, 1):
        x0, y0, x1, y1 = region.box
        seeds[y0:y1, x0:x1][region.mask > 0] = number
    _, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    lookup = np.zeros(int(nearest.max()) + 1, np.int32)
    lookup[nearest[free == 0]] = seeds[free == 0]
    return lookup[nearest]
