"""A stored table of predictions: one row per held-out image and seed."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_csv

__all__ = ["listed", "read_predictions"]


def read_predictions(path: Path, seeds: Collection[int] | None = None) -> list[dict[str, Any]]:
    """Rows of a table of predictions, with seed and fold as numbers.

    Args:
        path: CSV with the columns ``seed``, ``fold``, ``file``, ``label``, ``prediction`` and mostly ``p_<class>``, as
            ``madrnet ensemble`` writes it.
        seeds: Only these; else all.

    Raises:
        InputError: Another table; none of these seeds in it.
    """
    rows = read_csv(path) if path.suffix.lower() == ".csv" else []
    if not rows or not {"seed", "fold", "file", "label", "prediction"} <= rows[0].keys():
        raise InputError(f"{path}: expected a CSV with the columns seed, fold, file, label and prediction")
    out: list[dict[str, Any]] = []
    for line, row in enumerate(rows, 2):
        try:
            numbers = {key: int(row[key]) for key in ("seed", "fold")}
            fine = all(math.isfinite(float(row[key])) for key in row if key is not None and key.startswith("p_"))
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise InputError(f"{path}, line {line}: expected a seed, a fold and probabilities that are numbers")
        out.append(row | numbers)
    found = {row["seed"] for row in out}
    if seeds is not None and not found & set(seeds):
        raise InputError(f"{path}: has the seeds {listed(found)}, none of --seeds {listed(seeds)}")
    return [row for row in out if seeds is None or row["seed"] in seeds]


def listed(values: Collection[int]) -> str:
    """Seeds as ``--seeds`` takes them."""
    return " ".join(map(str, sorted(values)))
