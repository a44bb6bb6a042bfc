"""Images that are mirrored or turned copies of one another, perhaps scaled, cropped or compressed since.

An image is seen through a disc, in two ways: around the measured head, upright and as large as the head, so that
neither angle nor scale nor crop matters; and the largest disc in its middle, as it lies, so that copies turned by
quarters are found where the measurement fails. What the discs show is compared over the symmetries that remain, fine
detail only, and each image with those most like it after registration. Copies that lie the same way are left to the
other rules of `groups`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..morphology import HeadMorphology
from ..opencv import cv2
from ..progress import progress

__all__ = ["copied_pairs", "without_corners"]

_REACH = 1.4  # the disc's radius, in square roots of the head's length times width: some background all around
_COARSE = 32  # cells across a disc when all are compared
_FINE = 64  # and when two are registered
_WIDE = 84  # cells of that size at which their surroundings are compared
_HEAD = 0.6  # of the disc's radius: the head lies within
_DETAIL = 2  # cells: what is larger, all heads have in common
_NEAREST = 3  # images that each is registered with at most
_ALIKE = 0.85  # correlation of two discs from which on they are registered
_SAME = 0.955  # and of the registered ones: copies have 0.97 to 1; other cells on HuSHeM and SMIDS at most 0.94
_SAME_TEXTURE = (
    0.5  # around the heads: copies have 0.6 to 1, 0.5 after hard JPEG; drawn heads of one shape at most 0.47
)
_FLAT = 0.1  # gray levels of noise around a head below which its surroundings tell nothing (drawn, or cut out)
_SAME_ALONE = (
    0.9985  # correlation of discs of such heads: copies have 0.999 to 1; drawn heads of one shape at most 0.998
)
_EVENLY = 1.05  # how much more a registration may stretch one way than the other
_AS_IT_LIES = 2.0  # degrees: turned by less is not turned
_ROWS = 256  # images that are compared with all others at once
_PLAIN = (16, 250)  # corners darker than the first or brighter than the second hold no image

_UPRIGHT = [np.diag(signs) for signs in ((1, 1), (-1, -1), (-1, 1), (1, -1))]  # either end up, mirrored or not
_SWAP = np.array([[0, 1], [1, 0]])
_QUARTERS = [*_UPRIGHT[1:], *(_SWAP @ g for g in _UPRIGHT)]  # all but the image as it lies

Image = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class _Disc:
    """Where an image is looked at: centre ``(x, y)`` and radius in pixels, degrees of what is up."""

    center: tuple[float, float]
    radius: float
    angle: float = 90.0

    def matrix(self, cells: int) -> NDArray[np.float64]:
        """From cells, counted from the disc's middle, to pixels, ``(2, 3)``."""
        turn = np.radians(self.angle)
        up = np.array([np.cos(turn), -np.sin(turn)])
        return np.column_stack([[-up[1], up[0]], -up, [0, 0]]) * (2 * self.radius / cells) + np.array(
            [[0, 0, self.center[0]], [0, 0, self.center[1]]]
        )


def without_corners(image: Image) -> Image:
    """The image with the four black or white corners that turning leaves behind in the colour of its median.

    They would hide the head from the measurement, and make all images that were turned alike.
    """
    dark, bright = _PLAIN
    plain = (image.max(axis=2) < dark) | (image.min(axis=2) > bright)
    if not (plain[0, 0] and plain[0, -1] and plain[-1, 0] and plain[-1, -1]):  # one or two: the edge of the field
        return image
    _, labels = cv2.connectedComponents(plain.astype(np.uint8), connectivity=4)
    corners = np.isin(labels, labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    region = cv2.dilate(corners.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if region.mean() > 0.7:
        return image
    filled = image.copy()
    filled[region] = np.median(image[~region], axis=0)
    return filled


def _head_disc(head: HeadMorphology) -> _Disc | None:
    if head.center is None or head.length is None or head.width is None or head.angle is None:
        return None
    return _Disc(head.center, _REACH * float(np.sqrt(head.length * head.width)), head.angle)


def _middle_disc(image: Image) -> _Disc:
    height, width = image.shape[:2]
    return _Disc(((width - 1) / 2, (height - 1) / 2), min(height, width) / 2)


def _offsets(cells: int) -> FloatArray:
    """Cells from the middle, ``(cells, cells, 2)``, x first."""
    line = np.arange(cells, dtype=np.float32) - (cells - 1) / 2
    return np.stack(np.meshgrid(line, line), axis=2)


def _blurred(image: Image, pixels: float) -> FloatArray:
    """Gray levels without what is finer than cells of so many pixels."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(gray, (0, 0), max(0.6 * pixels, 0.3))


def _sampled(gray: FloatArray, matrix: NDArray[np.float64], cells: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Gray levels at the cells, ``(cells, cells)``, and which of them lie in disc and image."""
    offsets = _offsets(cells)
    place = (offsets @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    values = cv2.remap(gray, place[..., 0], place[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    size = np.array(gray.shape[::-1])
    inside = ((place >= 0) & (place <= size - 1)).all(axis=2)
    return values, inside & (np.hypot(offsets[..., 0], offsets[..., 1]) <= cells / 2)


def _detail(values: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """Values less their surroundings, 0 elsewhere."""
    weight = where.astype(np.float32)
    around = cv2.GaussianBlur(values * weight, (0, 0), _DETAIL)
    return (values - around / np.maximum(cv2.GaussianBlur(weight, (0, 0), _DETAIL), 1e-3)) * weight


def _vectors(images: Sequence[Image], discs: Sequence[_Disc]) -> FloatArray:
    """Detail of each disc as a vector of length 1, or 0 where there is none, ``(images, cells²)``."""
    out = np.zeros((len(images), _COARSE**2), np.float32)
    for row, (image, disc) in enumerate(zip(images, discs, strict=True)):
        values, where = _sampled(_blurred(image, 2 * disc.radius / _COARSE), disc.matrix(_COARSE), _COARSE)
        out[row] = _detail(values, where).ravel()
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-3)


def _permutation(symmetry: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which cell comes to lie at each by a symmetry of the square, flat."""
    x, y = np.moveaxis(_offsets(_COARSE) @ symmetry.T + (_COARSE - 1) / 2, 2, 0).round().astype(np.int64)
    return (y * _COARSE + x).ravel()


def _candidates(
    vectors: FloatArray, angles: NDArray[np.float64], symmetries: Sequence[NDArray[np.int64]]
) -> dict[tuple[int, int], int]:
    """Each image with the few most like it, as pairs, and the symmetry by which the second lies like the first."""
    found: dict[tuple[int, int], int] = {}
    for start in range(0, len(vectors), _ROWS):
        rows = vectors[start : start + _ROWS]
        best, which = np.full((len(rows), len(vectors)), -1, np.float32), np.zeros((len(rows), len(vectors)), np.int8)
        for number, symmetry in enumerate(symmetries):
            alike = rows @ vectors[:, _permutation(symmetry)].T
            if symmetry[0, 0] * symmetry[1, 1] == 1:  # not mirrored, not by a quarter: is it turned at all?
                turned = angles[start : start + _ROWS, None] - angles + (180 if symmetry[0, 0] < 0 else 0)
                alike[np.abs((turned + 180) % 360 - 180) < _AS_IT_LIES] = -1
            better = alike > best
            best[better], which[better] = alike[better], number
        best[np.arange(len(rows)), start + np.arange(len(rows))] = -1
        nearest = np.argpartition(-best, min(_NEAREST, len(vectors) - 1), axis=1)[:, :_NEAREST]
        for i, others in enumerate(nearest.tolist()):
            for j in others:
                if best[i, j] > _ALIKE and (j, start + i) not in found:
                    found[start + i, j] = int(which[i, j])
    return found


def _registered(
    gray_a: FloatArray, gray_b: FloatArray, to_a: NDArray[np.float64], to_b: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """``to_b``, moved so that both discs show the same (affine, ECC), or None where they have nothing in common."""
    seen_a, where_a = _sampled(gray_a, to_a, _FINE)
    seen_b, where_b = _sampled(gray_b, to_b, _FINE)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    mask = (where_a & where_b).astype(np.uint8)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, moved = cv2.findTransformECC(seen_a, seen_b, start, cv2.MOTION_AFFINE, criteria, mask, 3)
    except cv2.error:  # it does not converge
        return None
    smaller, larger = sorted(np.linalg.svd(moved[:, :2], compute_uv=False).tolist())
    if larger > _EVENLY * smaller:
        return None
    middle = np.full(2, (_FINE - 1) / 2)  # ECC counts from the corner
    shift = moved[:, :2] @ middle + moved[:, 2] - middle
    return np.column_stack([to_b[:, :2] @ moved[:, :2], to_b[:, :2] @ shift + to_b[:, 2]])


def _lies_the_same_way(to_a: NDArray[np.float64], to_b: NDArray[np.float64]) -> bool:
    between = to_b[:, :2] @ np.linalg.inv(to_a[:, :2])
    turned = np.degrees(np.arctan2(between[1, 0] - between[0, 1], between[0, 0] + between[1, 1]))
    return bool(np.linalg.det(between) > 0 and abs(turned) < _AS_IT_LIES)


def _correlation(x: FloatArray, y: FloatArray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / max(float(np.sqrt((x @ x) * (y @ y))), 1e-6))


def _noise(values: FloatArray) -> float:
    """Their standard deviation, robust."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _texture(values: FloatArray) -> FloatArray:
    """Values cut at two standard deviations (robust), so that a tail counts little and the noise of the image much."""
    values, limit = values - np.median(values), 2 * _noise(values)
    return np.clip(values, -limit, limit)


def _is_copy(first: Image, second: Image, a: _Disc, b: _Disc, symmetry: NDArray[np.int64]) -> bool:
    """Whether the second image is the first, mirrored or turned, by registration of their discs."""
    to_a, to_b = a.matrix(_FINE), b.matrix(_FINE)
    to_b[:, :2] = to_b[:, :2] @ symmetry
    gray_a, gray_b = (_blurred(image, 2 * disc.radius / _FINE) for image, disc in ((first, a), (second, b)))
    registered = _registered(gray_a, gray_b, to_a, to_b)
    if registered is None or _lies_the_same_way(to_a, registered):
        return False
    seen_a, where_a = _sampled(gray_a, to_a, _WIDE)
    seen_b, where_b = _sampled(gray_b, registered, _WIDE)
    both = where_a & where_b
    distance = np.hypot(*np.moveaxis(_offsets(_WIDE), 2, 0)) / (_FINE / 2)
    disc, around = both & (distance <= 1), both & (distance > _HEAD)
    if min(disc.sum(), around.sum()) < _FINE**2 / 4:
        return False
    x, y = (_detail(seen, both) for seen in (seen_a, seen_b))
    alike = _correlation(x[disc], y[disc])
    if min(_noise(x[around]), _noise(y[around])) < _FLAT:
        return alike > _SAME_ALONE
    return alike > _SAME and _correlation(_texture(x[around]), _texture(y[around])) > _SAME_TEXTURE


def copied_pairs(images: Sequence[Image], heads: Sequence[HeadMorphology]) -> set[tuple[int, int]]:
    """Pairs of images of which one is a copy of the other, mirrored, or turned by more than two degrees.

    Each image is registered with the few that are most like it, so that the work grows as their number (but for one
    product of matrices), and so does the memory.

    Args:
        images: RGB, ``(h, w, 3)`` uint8.
        heads: What `measure` found on each.
    """
    upright = [_head_disc(head) for head in heads]
    lying = [_middle_disc(image) for image in images]
    tasks = []
    for discs, symmetries in ((upright, _UPRIGHT), (lying, _QUARTERS)):
        known = [(index, disc) for index, disc in enumerate(discs) if disc is not None]
        if len(known) < 2:
            continue
        vectors = _vectors([images[index] for index, _ in known], [disc for _, disc in known])
        angles = np.array([disc.angle for _, disc in known])
        tasks += [
            (known[i], known[j], symmetries[number])
            for (i, j), number in _candidates(vectors, angles, symmetries).items()
        ]
    found: set[tuple[int, int]] = set()
    for (i, a), (j, b), symmetry in progress(tasks, len(tasks), "comparing", "pair", shown_from=1000):
        pair = (min(i, j), max(i, j))
        if pair not in found and _is_copy(images[i], images[j], a, b, symmetry):
            found.add(pair)
    return found
