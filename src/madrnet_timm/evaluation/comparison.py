"""Two models on the same images and folds: is one better?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .intervals import difference_interval

__all__ = ["Comparison", "compare", "compare_predictions", "mcnemar"]

_LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Second model against the first.

    Attributes:
        only_first: Images that the first alone gets right.
        only_second: Images that the second alone gets right.
        mcnemar_p: Two-sided p of the exact McNemar test on them.
        difference: Mean difference of the folds' accuracies, second − first.
        half_width: Half of its 95 % interval, see `difference_interval`.
        t_p: Two-sided p of the paired t test on the folds that belongs to this interval.
        seeds: Those of the predictions that were compared, where they have seeds.
    """

    only_first: int
    only_second: int
    mcnemar_p: float
    difference: float
    half_width: float
    t_p: float
    seeds: tuple[int, ...] = ()

    @property
    def within_noise(self) -> bool:
        """Whether one of the two tests, on the folds and on the images, can't tell them apart at 95 %."""
        return abs(self.difference) <= self.half_width or self.mcnemar_p >= _LEVEL

    def __str__(self) -> str:
        """Difference and half of its interval in points: ``+1.2 ± 3.4, noise``."""
        noise = ", noise" if self.within_noise else ""
        return f"{100 * self.difference:+.1f} ± {100 * self.half_width:.1f}{noise}"


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact McNemar test: of the discordant images each is equally likely on either side."""
    from scipy.stats import binomtest

    total = only_first + only_second
    return 1.0 if total == 0 else float(binomtest(only_first, total, 0.5).pvalue)


def compare(
    first: Mapping[str, float],
    second: Mapping[str, float],
    first_folds: Sequence[float],
    second_folds: Sequence[float],
    size: int | None = None,
) -> Comparison:
    """Compare two models.

    Args:
        first: Share of the runs (seeds) in which the first model gets an image right, for each image. It counts as
            right where it is more than half.
        second: The same of the second model.
        first_folds: Accuracy of the first model on each fold.
        second_folds: The same of the second, in the same order.
        size: How many of the folds are of one seed; all if None. See `t_interval`: the folds of another seed hold the
            same images.

    Raises:
        ValueError: Not the same images, or not the same number of folds.
    """
    from scipy.stats import t

    if first.keys() != second.keys() or len(first_folds) != len(second_folds):
        raise ValueError("the two were not measured on the same images and folds")
    outcome = [(first[name] > 0.5, second[name] > 0.5) for name in first]
    only_first, only_second = (sum(pair == wanted for pair in outcome) for wanted in ((True, False), (False, True)))
    differences = [b - a for a, b in zip(first_folds, second_folds, strict=True)]
    size = len(differences) if size is None else size
    mean, half = difference_interval(differences, size=size)
    error = half / float(t.ppf(0.975, size - 1))
    p = float(mean == 0) if error == 0 else float(2 * t.sf(abs(mean) / error, size - 1))
    return Comparison(only_first, only_second, mcnemar(only_first, only_second), mean, half, p)


def compare_predictions(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], key: str = "file"
) -> Comparison:
    """Compare two tables of held-out predictions, on the seeds that both have.

    Args:
        first: ``seed``, ``fold``, ``label``, ``prediction`` and the name of each held-out image.
        second: The same of the second model.
        key: Column of that name; copies of an image may share it, and each counts in the folds' accuracies.

    Raises:
        ValueError: No seed in common, or not the same images with the same labels in the same folds.
    """
    seeds = {int(row["seed"]) for row in first} & {int(row["seed"]) for row in second}
    shares, places, means, labels = [], [], [], []
    for rows in (first, second):
        images: dict[str, list[bool]] = defaultdict(list)
        folds: dict[tuple[int, int], list[tuple[str, bool]]] = defaultdict(list)
        for row in rows:
            if int(row["seed"]) in seeds:
                right = row["prediction"] == row["label"]
                images[row[key]].append(right)
                folds[int(row["seed"]), int(row["fold"])].append((row[key], right))
        labels.append({(row[key], row["label"]) for row in rows if int(row["seed"]) in seeds})
        shares.append({name: sum(values) / len(values) for name, values in images.items()})
        places.append({place: {name for name, _ in values} for place, values in folds.items()})
        means.append([sum(right for _, right in folds[place]) / len(folds[place]) for place in sorted(folds)])
    if not seeds or places[0] != places[1]:
        raise ValueError("not the same images held out in the same folds of the same seeds")
    if other := labels[0] ^ labels[1]:
        raise ValueError(f"not the same label of {min(name for name, _ in other)} in both")
    found = compare(shares[0], shares[1], means[0], means[1], size=len(means[0]) // len(seeds))
    return replace(found, seeds=tuple(sorted(seeds)))
