"""Checks of a measured head against the ranges of a normal head."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .head import HeadMorphology

__all__ = ["HeadRanges", "who_checks"]

Range = tuple[float, float]


@dataclass(frozen=True)
class HeadRanges:
    """Ranges ``(low, high)`` of a normal head.

    Defaults as the WHO laboratory manual is commonly quoted for stained heads: length 4.1 µm (3.7 to 4.7), width 2.8 µm
    (2.5 to 3.2), ratio 1.5 (1.3 to 1.8), an acrosome of 40 to 70 % of the head's area. The paper's constraint takes
    1.5 ± 0.3 for the ratio. Check them against the manual that your laboratory follows.
    """

    length_um: Range = (3.7, 4.7)
    width_um: Range = (2.5, 3.2)
    aspect_ratio: Range = (1.3, 1.8)
    acrosome_fraction: Range = (0.4, 0.7)


def who_checks(head: "HeadMorphology", ranges: HeadRanges | None = None) -> dict[str, bool | None]:
    """Whether each measurement of a head lies in its range; None where it is missing (no scale, no acrosome, no head).

    Args:
        head: What `measure` found.
        ranges: Other ranges than the default.
    """
    ranges = ranges or HeadRanges()
    out: dict[str, bool | None] = {}
    for name in ("length_um", "width_um", "aspect_ratio", "acrosome_fraction"):
        value, (low, high) = getattr(head, name), getattr(ranges, name)
        out[name] = None if value is None else low <= value <= high
    return out
