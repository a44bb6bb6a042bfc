"""Where an outline has a waist: what hangs on to a head, and heads that touch."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2

__all__ = ["Waist", "outline_of", "waists"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

_DENT = 3.0  # px below the convex hull from which on a dent is one
_LEAST_PART = 60  # square px
_MOST_DEPTH = 1.4  # of a waist: what lies behind a wider one is a bulge
_MARGIN = 0.1  # part by which a waist may differ between views of one image
_BLUR = 4  # px beside a cut in which one part's stain runs into the other


@dataclass(frozen=True)
class Waist:
    """A cut across an outline that parts it in two.

    Attributes:
        smaller: The smaller part's pixels.
        larger: The larger part's pixels.
        chord: Length of the cut.
        depth: Chord over the square root of the smaller part's area: 1.6 for half a disc, less for what is longer.
        narrow: Chord over the largest diameter of the larger part.
        size: Largest diameter of the smaller part over that of the larger.
        paleness: Mean darkness of the smaller part over that of the larger one close to the cut.
        contrast: Mean darkness of the smaller part over that of the larger one's darkest tenth.
    """

    smaller: BoolArray
    larger: BoolArray
    chord: float
    depth: float
    narrow: float
    size: float
    paleness: float
    contrast: float

    def is_head(self) -> bool:
        """Whether the smaller part is about as large and as dark as the other: two heads that touch."""
        return (
            self.depth < 0.85 and self.narrow < 1 and self.size > 0.78 and self.paleness > 0.7 and self.contrast > 0.5
        )

    def is_paler(self) -> bool:
        """Whether the smaller part is much paler than the larger one before the cut: cytoplasm, a midpiece."""
        return self.depth < 1.2 and self.narrow < 0.8 and self.paleness < 0.68

    def is_stalk(self) -> bool:
        """Whether the smaller part is a stem, or widens again behind the cut, whatever its stain."""
        if self.narrow < 0.3 and self.size > 1.5 * self.narrow:  # a bridge
            return True
        if self.depth < 0.65 and self.narrow < 0.55:
            return True
        return self.size > 1.4 * self.narrow and self.narrow < 0.65 and self.contrast < 0.78

    def parts(self) -> bool:
        """Whether the outline is cut here."""
        return self.is_head() or self.is_paler() or self.is_stalk()

    def is_close_call(self) -> bool:
        """Whether the outline would be cut, or not, were the waist a little other than it is."""
        less, more = (
            replace(
                self,
                depth=self.depth * factor,
                narrow=self.narrow * factor,
                paleness=self.paleness * factor,
                contrast=self.contrast * factor,
            )
            for factor in (1 - _MARGIN, 1 + _MARGIN)
        )
        return less.parts() != more.parts()


def outline_of(mask: BoolArray) -> NDArray[np.int32]:
    """Border pixels ``(points, 2)``, ``(x, y)``, of the largest part of a mask."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(contours, key=len).reshape(-1, 2)


def _dents(points: NDArray[np.int32]) -> NDArray[np.int64]:
    """Indices of the points of an outline that lie deepest below its convex hull, one per dent."""
    hull = np.sort(cv2.convexHull(points, returnPoints=False).ravel())[::-1]
    if len(hull) < 4:
        return np.zeros(0, np.int64)
    found = cv2.convexityDefects(points, hull[:, None].astype(np.int32))
    if found is None:
        return np.zeros(0, np.int64)
    found = found.reshape(-1, 4)
    return found[found[:, 3] > _DENT * 256, 2].astype(np.int64)


def _chords(points: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Pairs of points between which a cut may run: two dents, or a dent and what lies nearest across."""
    dents = _dents(points)
    pairs = {(int(a), int(b)) for n, a in enumerate(dents) for b in dents[n + 1 :]}
    count = len(points)
    places = np.arange(count)
    for dent in dents:
        arc = np.abs(places - dent)
        arc = np.minimum(arc, count - arc)
        length = np.hypot(*(points - points[dent]).T.astype(np.float64))
        ratio = np.where(arc > 0.1 * count, length / np.maximum(arc, 1), np.inf)
        pairs.add((int(dent), int(ratio.argmin())))
    return sorted((min(a, b), max(a, b)) for a, b in pairs)


def _largest_diameter(mask: BoolArray) -> float:
    """Diameter of the largest disc inside."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return 2 * float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max())


def waists(mask: BoolArray, darkness: FloatArray) -> list[Waist]:
    """Cuts across the largest part of ``mask`` that end at a dent of its outline."""
    points = outline_of(mask)
    found = []
    for first, last in _chords(points):
        chord = float(np.hypot(*(points[first] - points[last]).astype(np.float64)))
        one, both = cv2.contourArea(points[first : last + 1]), cv2.contourArea(points)
        if chord > _MOST_DEPTH * max(min(one, both - one), 1) ** 0.5:
            continue
        side = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [points[first : last + 1]], 1).view(bool)
        smaller, larger = mask & side, mask & ~side
        if smaller.sum() > larger.sum():
            smaller, larger = larger, smaller
        area = int(smaller.sum())
        if area < _LEAST_PART:
            continue
        line = cv2.line(np.ones(mask.shape, np.uint8), points[first].tolist(), points[last].tolist(), 0)
        distance = cv2.distanceTransform(line, cv2.DIST_L2, 3)
        close = larger & (distance > _BLUR) & (distance < _BLUR + 10)
        diameter = _largest_diameter(larger)
        dark = float(darkness[smaller].mean())
        found.append(
            Waist(
                smaller,
                larger,
                chord,
                depth=chord / area**0.5,
                narrow=chord / diameter,
                size=_largest_diameter(smaller) / diameter,
                paleness=dark / max(float(darkness[close].mean()) if close.any() else 0.0, 1.0),
                contrast=dark / max(float(np.percentile(darkness[larger], 90)), 1.0),
            )
        )
    return found
