"""Every figure of docs/results.md comes from the stored predictions."""

import csv
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

ROOT = Path(__file__).parents[1]
RESULTS = runpy.run_path(str(ROOT / "examples" / "results.py"))


def test_the_page_is_what_the_predictions_say():
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == RESULTS["page"]()


@pytest.mark.parametrize("name", RESULTS["read_runs"]())
def test_figures_by_counting(name):
    """Mean, deviation and intervals of each stored run, by hand from its rows, stand on the page."""
    run = RESULTS["read_runs"]()[name]
    with (ROOT / "docs" / "results" / f"{name}.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    folds = sorted({(row["seed"], row["fold"]) for row in rows})
    values = [
        100 * np.mean([row["label"] == row["prediction"] for row in rows if (row["seed"], row["fold"]) == fold])
        for fold in folds
    ]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert ", ".join(f"{value:.1f}" for value in values) in page
    if run["protocol"] == "grouped":
        n = len(values)
        half = t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
        assert f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} (± {half:.1f})" in page
        files = [row["file"] for row in rows]
        assert len(set(files)) * len({row["seed"] for row in rows}) == len(files)
    assert run["command"] in page


def test_the_readmes_figures_are_those_of_the_page():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    own = re.search(r"\*\*MADRNet around EfficientNet-Lite0\*\*, ours \| ([\d.]+ ± [\d.]+) ", page)
    assert own[1] in readme
