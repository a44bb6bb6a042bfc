"""What the stored predictions say, counted here once more, and what stands in the tables of docs/."""

import csv
import math
import re
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import binom, t

ROOT = Path(__file__).parents[2]
PAGES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
CONTROLS = ("largest class", "background", "shape and stain")


@cache
def place(marker):
    """Rows of the tables in a marked place, without their headers and the marks of code."""
    (text,) = (
        found
        for page in PAGES.values()
        for found in re.findall(rf"<!-- table: {marker} -->(.*?)<!-- end -->", page, re.S)
    )
    rows = []
    for line in text.splitlines():
        if re.fullmatch(r"\|[-|]+\|", line):
            rows.pop()
        elif line.startswith("| "):
            rows.append([cell.strip().strip("`") for cell in line[1:-1].split("|")])
    return rows


def row(marker, *first):
    """Cells of the one row of a place that starts with these cells."""
    (cells,) = (cells for cells in place(marker) if cells[: len(first)] == list(first))
    return cells


def prose(page):
    """A page of docs/, or the README, in one line."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


@cache
def stored(name):
    with (ROOT / "docs" / "results" / f"{name}.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


@cache
def control_rows(name, dataset):
    """What a control says on a data set, as if it were a run."""
    return [row | {"prediction": row[name]} for row in stored(f"controls-{dataset}")]


def seeds_in(rows):
    return ", ".join(sorted({row["seed"] for row in rows}))


def fold_accuracies(rows):
    """Per cent right of each seed and fold."""
    folds = sorted({(row["seed"], row["fold"]) for row in rows})
    return {
        fold: 100 * np.mean([row["label"] == row["prediction"] for row in rows if (row["seed"], row["fold"]) == fold])
        for fold in folds
    }


def mean_sd(values):
    values = list(values.values()) if isinstance(values, dict) else values
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def wilson(right, total):
    """The score interval by its equation, in per cent."""
    z, p = 1.959964, right / total
    middle, half = p + z**2 / (2 * total), z * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    return [100 * (middle + sign * half) / (1 + z**2 / total) for sign in (-1, 1)]


def right_of(rows):
    """How many images are right, the mean over seeds, and how many there are."""
    seeds = len({row["seed"] for row in rows})
    return sum(row["label"] == row["prediction"] for row in rows) / seeds, len(rows) // seeds


def interval(rows):
    """The Wilson interval of all images, as it is printed."""
    low, high = wilson(*right_of(rows))
    return f"[{low:.1f}, {high:.1f}]"


def by_class(rows):
    """Precision, recall and F1 of each class, in per cent, by counting."""
    found = {}
    for name in {row["label"] for row in rows}:
        hits = sum(row["label"] == row["prediction"] == name for row in rows)
        said, are = (sum(row[key] == name for row in rows) for key in ("prediction", "label"))
        found[name] = 100 * hits / said if said else 0.0, 100 * hits / are, 200 * hits / (said + are)
    return found


@cache
def differences(first, second):
    """Mean paired difference of the folds, half of its 95 % t interval, and p of McNemar's test on the images."""
    a, b = fold_accuracies(stored(first)), fold_accuracies(stored(second))
    common = sorted(set(a) & set(b))
    found, n = [b[key] - a[key] for key in common], len({fold for _, fold in common})
    right = [{}, {}]
    for votes, name in zip(right, (first, second), strict=True):
        for row in stored(name):
            if (row["seed"], row["fold"]) in common:
                votes.setdefault(row["file"], []).append(row["label"] == row["prediction"])
    pairs = [tuple(2 * sum(votes[file]) > len(votes[file]) for votes in right) for file in right[0]]
    p = mcnemar(pairs.count((True, False)), pairs.count((False, True)))
    error = np.std(found, ddof=1) * np.sqrt(1 / n + 1 / (n - 1))  # Nadeau and Bengio: a fold to its training images
    return np.mean(found), t.ppf(0.975, n - 1) * error, p


def mcnemar(one, other):
    return min(1, 2 * binom.cdf(min(one, other), one + other, 0.5))


def as_text(difference, half, p):
    noise = ", noise" if abs(difference) <= half or p >= 0.05 else ""
    return f"{difference:+.1f} ± {half:.1f}{noise}"


def balanced(rows, images):
    """Mean of the recalls of both classes, and 1.96 standard errors; rows of (is normal, said to be normal)."""
    recalls = [[said == label for normal, said in rows if normal == label] for label in (True, False)]
    each = [len(right) * images / len(rows) for right in recalls]
    errors = [np.mean(right) * (1 - np.mean(right)) / count for right, count in zip(recalls, each, strict=True)]
    return 100 * np.mean([np.mean(right) for right in recalls]), 100 * 1.96 * np.sqrt(sum(errors)) / 2
