"""Acquisition sessions, told from the background's lightness and the order of the files.

The slides of a data set are stained and photographed on several days, and each day has its background. Where classes
were collected on different days, the background tells the class: on HuSHeM 87 of 216 images have a bright
background, and none of them is Normal. A model that has learned a session's look fails on the next one, which is what
leaving a session out (`madrnet_timm.data.folds`) shows.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["around_head", "find_sessions"]

_HEAD_RADIUS = 36 / 131  # of the longer side
_WINDOW = 9  # images that follow one another: the median over them is the session's, not an image's
_GAP = 10  # levels of lightness (of 255) that lie between two sessions
_SMALLEST = 0.05  # of all images


def around_head(height: int, width: int) -> NDArray[np.bool_]:
    """What of an image lies outside of a disc in its middle that holds the head, ``(height, width)``.

    A fixed disc, so that no shape leaks through its border.
    """
    rows, cols = np.ogrid[:height, :width]
    return np.hypot(rows - (height - 1) / 2, cols - (width - 1) / 2) > _HEAD_RADIUS * max(height, width)


def _lightness(image: NDArray[np.uint8]) -> float:
    """Median lightness (CIE L*, 0 to 255) around the head."""
    return float(np.median(cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0][around_head(*image.shape[:2])]))


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts ``cell (9)`` before ``cell (10)``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def find_sessions(images: Sequence[NDArray[np.uint8]], files: Sequence[str]) -> list[int]:
    """Session of each image, numbered from 0 by lightness, the darkest first.

    Inside each folder, files in their natural order, the lightness of an image's background is that of the median of
    nine neighbours. All images are then divided wherever the sorted values leave a gap of ten levels and at least a
    twentieth of the images lie on either side. Without such a gap there is one session.

    Args:
        images: RGB ``(h, w, 3)`` uint8.
        files: Name of each, ``folder/file``.
    """
    values = np.array([_lightness(image) for image in images])
    folders: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(files):
        folders[file.rpartition("/")[0]].append(index)
    smooth = np.empty_like(values)
    for indices in folders.values():
        row = np.array(sorted(indices, key=lambda index: _natural(files[index])))
        for place in range(len(row)):
            smooth[row[place]] = np.median(values[row[max(place - _WINDOW // 2, 0) : place + _WINDOW // 2 + 1]])
    order = np.sort(smooth)
    gaps = np.flatnonzero(np.diff(order) >= _GAP).tolist()
    least = max(_SMALLEST * len(order), 2)
    limits: list[float] = []
    start = 0
    for gap in gaps:
        if gap + 1 - start >= least and len(order) - gap - 1 >= least:
            limits.append(float(order[gap] + order[gap + 1]) / 2)
            start = gap + 1
    return np.searchsorted(limits, smooth).tolist()
