"""Images that show the same cell: groups that must not be divided between training and test.

Four rules, each on the pixels themselves:

1. identical images;
2. crops of one field that overlap: they share whole patches, and all pixels of the overlap are equal;
3. the same cell photographed twice, or cropped twice after some resampling: their thumbnails are alike, and after
   registration to a fraction of a pixel so are their backgrounds, the head left out;
4. copies that are mirrored or turned by any angle, see `copies`. Neither HuSHeM nor SMIDS has any.

On HuSHeM rule 2 finds ten pairs and rule 3 three, which makes 203 groups of 216 images. Perceptual hashes fail
here: heads that lie at the same angle look alike to them, and only what lies around the head tells.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..morphology import HeadMorphology, measure
from ..opencv import cv2
from ..progress import progress
from .copies import copied_pairs, without_corners

__all__ = ["find_groups", "numbered", "overlapping_pairs", "twin_pairs"]

_ALIKE = 0.955  # correlation of thumbnails from which on a pair is registered
_SURELY = 0.98  # and from which on it is one cell whatever lies around it
_SAME_BACKGROUND = 0.5  # HuSHeM's twins have 0.94 to 0.98 and the next pair 0.44; on SMIDS other cells begin below 0.6
_ROWS = 1024  # images that are compared with all others at once
_FRAME = 160  # side in pixels at which pairs are registered
_HEAD_RADIUS = 45
_BORDER = 6

_PATCH = 8
_KEEP_EVERY = 4  # patches kept for comparison: those whose hash is a multiple of this
_MIN_VARIANCE = 1.0  # of gray levels; flat patches are alike everywhere

Images = Sequence[NDArray[np.uint8]]
Pairs = set[tuple[int, int]]


def _gray(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)


def _background_correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Correlation of what lies around the heads of two images, after a shift to fractions of a pixel (ECC)."""
    first, second = (cv2.GaussianBlur(_gray(image, _FRAME), (0, 0), 1).astype(np.float32) for image in (a, b))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)
    try:
        _, shift = cv2.findTransformECC(
            first, second, np.eye(2, 3, dtype=np.float32), cv2.MOTION_TRANSLATION, criteria, None, 5
        )
    except cv2.error:  # it does not converge: nothing in common
        return 0.0
    moved = cv2.warpAffine(second, shift, (_FRAME, _FRAME), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    offset = np.arange(_FRAME) - (_FRAME - 1) / 2
    around = np.hypot(*np.meshgrid(offset, offset)) > _HEAD_RADIUS
    around[:_BORDER] = around[-_BORDER:] = around[:, :_BORDER] = around[:, -_BORDER:] = False
    x, y = (values[around] - values[around].mean() for values in (first, moved))
    return float(x @ y / max(np.sqrt((x @ x) * (y @ y)), 1e-6))


def twin_pairs(images: Images) -> Pairs:
    """Pairs of images ``(h, w, 3)`` that show the same cell by rule 3."""
    x = np.stack([_gray(image, 32) for image in images]).reshape(len(images), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    pairs: dict[tuple[int, int], float] = {}
    for start in range(0, len(x), _ROWS):  # all at once would take the square of their number
        alike = np.triu(x[start : start + _ROWS] @ x[start:].T, 1)
        pairs |= {(start + i, start + j): alike[i, j] for i, j in np.argwhere(alike > _ALIKE).tolist()}
    return {
        (i, j)
        for (i, j), value in progress(pairs.items(), len(pairs), "registering", "pair", shown_from=300)
        if value > _SURELY or _background_correlation(images[i], images[j]) > _SAME_BACKGROUND
    }


def _patch_hashes(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Hashes of an image's patches (a sample that depends on their content alone) and their rows and columns."""
    height, width = image.shape[0] - _PATCH + 1, image.shape[1] - _PATCH + 1
    if height < 1 or width < 1:
        empty = np.zeros(0, dtype=np.int64)
        return empty.astype(np.uint64), empty, empty
    values = image.astype(np.uint64) @ np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    for axis, multiplier in ((1, 0x5851F42D4C957F2D), (0, 0xD1342543DE82EF95)):  # polynomial hash, modulo 2^64
        length = width if axis else height
        total = np.zeros_like(values.take(range(length), axis=axis))
        for shift in range(_PATCH):
            total = total * np.uint64(multiplier) + values.take(range(shift, shift + length), axis=axis)
        values = total
    gray = image.mean(axis=2, dtype=np.float32)
    mean, mean_of_squares = (cv2.blur(v, (_PATCH, _PATCH), anchor=(0, 0)) for v in (gray, gray**2))
    variance = mean_of_squares - mean**2
    keep = (variance[:height, :width] > _MIN_VARIANCE) & ((values >> np.uint64(32)) % np.uint64(_KEEP_EVERY) == 0)
    rows, cols = np.nonzero(keep)
    return values[keep], rows, cols


def _overlap_is_equal(a: NDArray[np.uint8], b: NDArray[np.uint8], dy: int, dx: int) -> bool:
    """Whether ``a`` and ``b``, with ``b[y, x]`` over ``a[y + dy, x + dx]``, agree wherever they overlap."""
    height = min(a.shape[0] - max(dy, 0), b.shape[0] + min(dy, 0))
    width = min(a.shape[1] - max(dx, 0), b.shape[1] + min(dx, 0))
    part_a = a[max(dy, 0) :, max(dx, 0) :][:height, :width]
    part_b = b[max(-dy, 0) :, max(-dx, 0) :][:height, :width]
    return bool(np.array_equal(part_a, part_b))


def overlapping_pairs(images: Images) -> Pairs:
    """Pairs of images ``(h, w, 3)`` that are crops of one field: a patch in common, and equal wherever they overlap.

    Of more than two images that share a patch, those next to each other in the sequence are compared.
    """
    found = [_patch_hashes(image) for image in images]
    values = np.concatenate([value for value, _, _ in found])
    owner = np.repeat(np.arange(len(images)), [len(value) for value, _, _ in found])
    place = np.concatenate([np.stack([rows, cols], axis=1) for _, rows, cols in found])
    order = np.argsort(values, kind="stable")
    first, second = order[:-1], order[1:]
    shared = (values[first] == values[second]) & (owner[first] != owner[second])
    first, second = first[shared], second[shared]
    shifts = np.column_stack([owner[first], owner[second], place[first] - place[second]])
    return {
        (i, j) for i, j, dy, dx in np.unique(shifts, axis=0).tolist() if _overlap_is_equal(images[i], images[j], dy, dx)
    }


def numbered(n: int, pairs: Collection[tuple[int, int]]) -> list[int]:
    """Connected components of ``n`` images, numbered by their first member."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1].tolist()


def find_groups(
    images: Images, pixel_hashes: Sequence[str], heads: Sequence[HeadMorphology] | None = None
) -> list[int]:
    """Group of each image by the four rules above.

    Args:
        images: RGB, ``(h, w, 3)`` uint8.
        pixel_hashes: A hash of the pixels of each.
        heads: What `measure` found on each; measured here if None.

    Returns:
        Group numbers from 0, in the order of their first images.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(pixel_hashes):
        same[value].append(index)
    identical = {pair for indices in same.values() for pair in pairwise(indices)}
    firsts = [indices[0] for indices in same.values()]
    distinct = [images[i] for i in firsts]
    filled = [without_corners(image) for image in distinct]
    known = [
        heads[i] if heads is not None and now is before else measure(now)
        for i, before, now in zip(firsts, distinct, filled, strict=True)
    ]
    related = twin_pairs(filled) | overlapping_pairs(distinct) | copied_pairs(filled, known)
    return numbered(len(images), identical | {(firsts[i], firsts[j]) for i, j in related})
