"""How well two readers of the same heads agree, for example a person and a model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """Agreement of two readers.

    Attributes:
        same: Number of heads that both gave the same class.
        total: Number of heads that both gave a class.
        share: Their quotient.
        kappa: Cohen's kappa: 1 for full agreement, 0 for what chance alone would give. None where chance alone gives
            full agreement, since both readers named one and the same class throughout.
    """

    same: int
    total: int
    share: float
    kappa: float | None


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Share of equal classes and Cohen's kappa.

    Args:
        first: The class that one reader gave each head.
        second: What the other gave the same heads.

    Raises:
        ValueError: No heads, or not the same number of both.
    """
    total = len(first)
    if not total or total != len(second):
        raise ValueError(f"{total} and {len(second)} classes: expected the same number of both, at least one")
    same = sum(one == other for one, other in zip(first, second, strict=True))
    one, other = Counter(first), Counter(second)
    by_chance = sum(one[name] * other[name] for name in one)  # times total²
    room = total * total - by_chance
    return Agreement(same, total, same / total, None if not room else (same * total - by_chance) / room)
