"""The acrosome: at which end of the head it lies, and how much of the head it takes."""

from dataclasses import dataclass

import numpy as np

from ..opencv import cv2
from .axis import Profile
from .edge import component
from .segment import BoolArray, FloatArray, Segmentation

__all__ = ["Inside", "acrosome_part", "acrosome_vote", "inside_of"]

_RIM = 7  # px of the outline's resolution: blur mixes head and background so far inside
_LEAST_INSIDE = 50  # square px of the outline's resolution
_TAIL_NOISE = 4  # times the noise, from which on something is darker than the background
_TAIL_DARKNESS = 0.1  # of the head's, the same
_TAIL_FROM, _TAIL_TO, _TAIL_STEP = 6, 34, 4  # px of the outline's resolution beyond the outline


@dataclass(frozen=True)
class Inside:
    """The cells of a profile that lie deeper in the head than the blur of its outline.

    Attributes:
        cells: Which they are, ``(rows, columns)`` bool.
        density: Optical density of every cell above the background; it is in proportion to the dye, where gray levels
            make a nucleus that is dark anyway look as if it began late.
        step: Pixels from row to row.
    """

    cells: BoolArray
    density: FloatArray
    step: float

    def enough(self) -> bool:
        """Whether the head is large enough to tell parts of it from each other."""
        return bool(np.count_nonzero(self.cells) * self.step >= _LEAST_INSIDE)


def inside_of(line: Profile, ground: float) -> Inside:
    """The inside of a head on a background of this gray level."""
    rows, columns = line.cover.shape
    step = line.length / rows
    rim = _RIM / step
    across = np.abs(np.arange(columns) - columns // 2)
    cells = across < line.width[:, None] / 2 - _RIM
    place = np.arange(rows)
    cells[(place < rim) | (place >= rows - rim)] = False
    return Inside(cells, -np.log(np.clip(1 - line.stain / ground, 0.02, 1)), step)


def _paleness(inside: Inside) -> float:
    """By how much the last third of the rows is paler than the first, over the mean."""
    if not inside.enough():
        return 0.0
    cells = inside.cells.sum(axis=1)
    stain = (inside.density * inside.cells).sum(axis=1)
    rows = np.flatnonzero(cells)
    third = max(len(rows) // 3, 1)
    first, last = (float(stain[part].sum() / cells[part].sum()) for part in (rows[:third], rows[-third:]))
    return (first - last) / max(float(stain.sum() / cells.sum()), 1e-6)


def _breadth(line: Profile) -> float:
    """By how much the last third of the head is wider than the first, over the mean."""
    third = len(line.width) // 3
    difference = line.width[-third:].mean() - line.width[:third].mean()
    return float(difference / max(float(line.width.mean()), 1e-6))


def _tail(found: Segmentation, line: Profile, distance: FloatArray) -> float:
    """Part of the way beyond the outline that something goes along with at the first end, less that at the last."""
    threshold = max(_TAIL_NOISE * found.noise, _TAIL_DARKNESS * float(found.darkness[found.mask].mean()))
    dark = (found.darkness > threshold) & ~found.closed | found.mask
    hanging = component(dark, found.mask)
    if hanging is None:
        return 0.0
    around = (distance > _TAIL_FROM) & (distance < _TAIL_TO)
    points = cv2.findNonZero((hanging & around).view(np.uint8))
    if points is None:
        return 0.0
    points = points.reshape(-1, 2)
    along = (points - np.array(line.center)) @ np.array(line.axis)
    steps = (distance[points[:, 1], points[:, 0]] - _TAIL_FROM) // _TAIL_STEP
    first, last = (len(set(steps[side].tolist())) for side in (along < -line.length / 4, along > line.length / 4))
    return (first - last) / ((_TAIL_TO - _TAIL_FROM) / _TAIL_STEP)


def acrosome_vote(
    found: Segmentation, line: Profile, inside: Inside, distance: FloatArray
) -> tuple[float, tuple[float, float]]:
    """How clearly the acrosome lies at one end, and the unit vector ``(x, y)`` towards it.

    Three signs tell it: the acrosome takes less dye than the nucleus, it is the wider end of most heads, and the tail
    goes on from the other end. Each is about 1 where it is clear, and 0 where it tells nothing. The tail counts half,
    since debris and other heads hang on to heads, too.

    Args:
        found: The head.
        line: Its profile.
        inside: The inside of the profile.
        distance: Pixels from the head, ``(h, w)``, 0 in it.
    """
    vote = _paleness(inside) + _breadth(line) + 0.5 * _tail(found, line, distance)
    sign = 1.0 if vote >= 0 else -1.0
    return abs(vote), (sign * line.axis[0], sign * line.axis[1])


def _behind_step(line: Profile, inside: Inside, forward: bool) -> float:
    """Share of the area beyond the line across the head that parts its rows best in a paler and a darker part.

    As Otsu's threshold does for levels: the parts' means differ most, weighted by the areas.
    """
    known = np.flatnonzero(inside.cells.any(axis=1))
    known = known if forward else known[::-1]  # the acrosome's end comes last
    cells = inside.cells[known]
    density = (inside.density[known] * cells).sum(axis=1) / cells.sum(axis=1)
    area = np.cumsum(line.width[known])
    stain = np.cumsum(line.width[known] * density)
    before, after = area[:-1], area[-1] - area[:-1]
    step = np.clip(stain[:-1] / before - (stain[-1] - stain[:-1]) / after, 0, None)
    place = int(known[(before * after * step**2).argmax()])
    beyond = line.width[place + 1 :] if forward else line.width[:place]
    return float(beyond.sum() / line.width.sum())


def acrosome_part(line: Profile, inside: Inside, forward: bool) -> tuple[float | None, float | None]:
    """Share of the area and contrast of the pale part at the acrosome's end; None where no paler part lies there.

    The share is the mean of two that err to opposite sides: of the cells that are paler than Otsu's threshold, which
    takes pale spots of the nucleus with it, and of what lies beyond the line across the head that parts it best, which
    leaves out the acrosome's hem. What lies within the blur of the outline counts as its row does.

    Args:
        line: The head's profile.
        inside: The inside of the profile.
        forward: Whether the acrosome's end is that of the last row.
    """
    if not inside.enough():
        return None, None
    density = inside.density[inside.cells]
    levels = np.clip(density * (255 / max(float(density.max()), 1e-6)), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[:, None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    pale = np.zeros(inside.cells.shape, dtype=bool)
    pale[inside.cells] = levels <= threshold
    place = np.arange(len(pale))
    cells, found = inside.cells.sum(axis=1), pale.sum(axis=1)
    known = np.flatnonzero(cells)
    share = np.interp(place, known, found[known] / cells[known])
    at = share * line.width
    by_cell = float(at.sum() / line.width.sum())
    behind = line.width - at
    toward = 1 if forward else -1
    if not 0.05 < by_cell < 0.95 or toward * ((at @ place) / at.sum() - (behind @ place) / behind.sum()) <= 0:
        return None, None
    fraction = (by_cell + _behind_step(line, inside, forward)) / 2
    return fraction, float(1 - line.stain[pale].mean() / line.stain[inside.cells & ~pale].mean())
