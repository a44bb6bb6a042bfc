"""The stored runs of docs/results: descriptions, held-out predictions, and what follows from them."""

import shlex
from collections.abc import Collection, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from madrnet_timm.data.folds import PROTOCOLS
from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.comparison import compare_predictions
from madrnet_timm.evaluation.controls import CONTROLS
from madrnet_timm.evaluation.results import Summary
from madrnet_timm.evaluation.summary import summarize_predictions
from madrnet_timm.files import read_csv

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results"


def read_yaml(path: Path) -> dict[str, Any]:
    """An empty dict where no file is."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


@cache
def read_runs() -> dict[str, dict[str, Any]]:
    """Description of each stored run, by name."""
    return read_yaml(RESULTS / "runs.yaml")


@cache
def read_paper() -> dict[str, dict[str, Any]]:
    """The figures that the paper prints, and the runs that stand beside them, by table."""
    return read_yaml(RESULTS / "paper.yaml")


@cache
def predictions(name: str) -> list[dict[str, str]]:
    """Rows of a stored run."""
    return read_csv(RESULTS / f"{name}.csv")


def summary(name: str, seeds: Collection[int] = ()) -> Summary:
    """Figures of a stored run, over some of its seeds; over all where none is given."""
    own = {int(row["seed"]) for row in predictions(name)}
    return _summary(name, frozenset(own & set(seeds) if seeds else own))


@cache
def _summary(name: str, seeds: frozenset[int]) -> Summary:
    rows = [row for row in predictions(name) if int(row["seed"]) in seeds]
    return summarize_predictions(rows, read_runs()[name]["classes"])


@cache
def against(first: str, second: str) -> Any:
    """The `Comparison` of two stored runs on the seeds that both have."""
    return compare_predictions(predictions(first), predictions(second))


def controls(name: str) -> dict[str, Summary]:
    """Summary of each control on the folds of a stored run.

    Raises:
        InputError: The stored controls lack these folds.
    """
    run, seeds = read_runs()[name], {row["seed"] for row in predictions(name)}
    table = f"controls-{run['dataset']}" + ("" if run["protocol"] == "grouped" else f"-{run['protocol']}")
    rows = [row for row in predictions(table) if row["seed"] in seeds] if (RESULTS / f"{table}.csv").exists() else []
    if {row["seed"] for row in rows} != seeds:
        division = f"--protocol {run['protocol']}" if run["protocol"] in PROTOCOLS else f"--folds {run['protocol']}.csv"
        raise InputError(
            f"{RESULTS / table}.csv: lacks the folds of {name}; make it with python -m examples.studies.controls "
            f"--dataset {run['dataset']} {division} --seeds {' '.join(sorted(seeds))} --output"
        )
    return {
        control: summarize_predictions([row | {"prediction": row[control]} for row in rows], run["classes"])
        for control in CONTROLS
    }


def is_training(run: Mapping[str, Any]) -> bool:
    """Whether a run is a cross-validation of its own, not an ensemble, a student or another use of other runs."""
    return "cross-validate" in run["command"].replace("_", "-")


def in_order() -> list[str]:
    """Names of the stored runs, each after the runs whose outputs its command takes."""
    needs: dict[str, list[str]] = {}
    for name, run in read_runs().items():
        words = shlex.split(run["command"])
        given = [Path(word) for before, word in pairwise(words) if word.startswith("runs/") and before != "--output"]
        needs[name] = [path.parts[1] for path in given if path.parts[1] in read_runs()]
    out: list[str] = []

    def put(name: str) -> None:
        for other in needs[name]:
            put(other)
        if name not in out:
            out.append(name)

    for name in needs:
        put(name)
    return out
