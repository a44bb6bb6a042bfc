"""Every figure of docs/results.md comes from the stored predictions."""

import csv
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, t

ROOT = Path(__file__).parents[1]
RESULTS = runpy.run_path(str(ROOT / "examples" / "results.py"))
PAPER = RESULTS["_yaml"]("paper.yaml")
PAGE = ROOT / "docs" / "results.md"


def test_the_page_is_what_the_predictions_say():
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == RESULTS["page"]()


def stored(name):
    with (ROOT / "docs" / "results" / f"{name}.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def fold_accuracies(rows):
    """Per cent right of each seed and fold."""
    folds = sorted({(row["seed"], row["fold"]) for row in rows})
    return {
        fold: 100 * np.mean([row["label"] == row["prediction"] for row in rows if (row["seed"], row["fold"]) == fold])
        for fold in folds
    }


@pytest.mark.parametrize("name", RESULTS["read_runs"]())
def test_figures_by_counting(name):
    """Mean, deviation and intervals of each stored run, by hand from its rows, stand on the page."""
    run, rows = RESULTS["read_runs"]()[name], stored(name)
    values = list(fold_accuracies(rows).values())
    page = PAGE.read_text(encoding="utf-8")
    assert run["command"] in page
    files, seeds = [row["file"] for row in rows], len({row["seed"] for row in rows})
    assert len(set(files)) * seeds == len(files)
    if run["protocol"] != "grouped":
        assert ", ".join(f"{value:.1f}" for value in values) in page
        return
    mean_sd = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
    assert mean_sd in page
    if any(name in table.get("runs", ()) for table in PAPER.values()):
        n = len(values) // seeds  # folds: those of several seeds are of the same pictures
        half = t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
        assert f"{mean_sd} (± {half:.1f})" in page
        assert ", ".join(f"{value:.1f}" for value in values) in page


def differences(first, second):
    """Mean paired difference of the folds and half of its 95 % t interval; another seed has the same pictures."""
    a, b = fold_accuracies(stored(first)), fold_accuracies(stored(second))
    common = sorted(set(a) & set(b))
    found, n = [b[key] - a[key] for key in common], len({fold for _, fold in common})
    return np.mean(found), t.ppf(0.975, n - 1) * np.std(found, ddof=1) / np.sqrt(n)


PAIRS = [
    (title, table["full"], row["run"])
    for table in PAPER.values()
    for title, row in table["rows"].items()
    if table["kind"] == "ablation" and row["run"] != table["full"] and row["run"] in RESULTS["read_runs"]()
] + [
    (what, lever["before"], lever["after"])
    for what, lever in RESULTS["_yaml"]("levers.yaml").items()
    if {lever["before"], lever["after"]} <= set(RESULTS["read_runs"]())
]


@pytest.mark.parametrize(("title", "first", "second"), PAIRS)
def test_differences_by_counting(title, first, second):
    difference, half = differences(first, second)
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {title} |")]
    noise = ", noise" if abs(difference) <= half else ""
    assert any(f"| {difference:+.1f} ± {half:.1f}{noise} |" in line for line in lines), lines


@pytest.mark.parametrize("table", ["table_2", "table_6"])
def test_what_all_miss_by_counting(table):
    runs = RESULTS["read_runs"]()
    own = [n for n in PAPER[table]["runs"] if n in runs and "cross_validate" in runs[n]["command"].split()[1]]
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    starts = [line for line in lines if line.startswith(f"| {'; '.join(runs[name]['title'] for name in own)} |")]
    if len(own) < 2:
        assert not starts
        return
    said = {}
    for row in (row for name in own for row in stored(name)):
        said.setdefault((row["file"], row["label"]), []).append(row["prediction"])
    always = [key for key, names in said.items() if names.count(key[1]) == len(names)]
    never = {key: max(names, key=names.count) for key, names in said.items() if key[1] not in names}
    (line,) = starts
    assert f"| {len(said)} | {len(always)} | {len(never)} |" in line
    counts = {}
    for (_, label), name in never.items():
        counts[f"{label}: {name}"] = counts.get(f"{label}: {name}", 0) + 1
    assert {pair: int(n) for pair, n in re.findall(r"([\w-]+: [\w-]+) (\d+)", line)} == counts
    settings = {r["run"] for t in PAPER.values() if t["kind"] == "ablation" for r in t["rows"].values()} & set(runs)
    settings = {name for name in settings if runs[name]["dataset"] == runs[own[0]]["dataset"]}
    for file, _ in never if settings else ():
        right = sum(any(r["file"] == file and r["label"] == r["prediction"] for r in stored(name)) for name in settings)
        assert f"`{file}` {right} of {len(settings)}" in line


@pytest.mark.parametrize("name", RESULTS["_yaml"]("transfers.yaml"))
def test_transfers_by_counting(name):
    transfer, rows = RESULTS["_yaml"]("transfers.yaml")[name], stored(name)
    page = PAGE.read_text(encoding="utf-8")
    for key, title in (("normal", "as it is"), ("normal_adapted", "norms adapted")):
        right = {
            label: [(float(row[key]) > 0.5) == (label == "normal") for row in rows if row["label"] == label]
            for label in ("normal", "abnormal")
        }
        accuracy = 100 * np.mean(right["normal"] + right["abnormal"])
        balanced = 100 * np.mean([np.mean(values) for values in right.values()])
        a, b = ([float(row[key]) for row in rows if row["label"] == label] for label in right)
        auc = 100 * mannwhitneyu(a, b).statistic / (len(a) * len(b))
        own = [row for row in stored(transfer["own"]) if row["label"] != "Non-Sperm"]
        at_home = 100 * np.mean(
            [
                np.mean(
                    [(row["prediction"] == "Normal") == normal for row in own if (row["label"] == "Normal") == normal]
                )
                for normal in (True, False)
            ]
        )
        assert f"held out | {len({row['file'] for row in own})} | | {at_home:.1f} |" in page
        cells = f"{len(rows)} | {accuracy:.1f} | {balanced:.1f} | {auc:.1f} | {balanced - at_home:+.1f} |"
        assert f"| {transfer['title']}: on {transfer['tested']}, {title} | {cells}" in page


def test_the_readmes_figures_are_those_of_the_page():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    figures = r"([\d.]+ ± [\d.]+) \(± ([\d.]+)\) \[([\d.]+), ([\d.]+)\]"
    hushem, smids = re.findall(rf"\*\*MADRNet around EfficientNet-Lite0\*\*, ours, seeds? [^|]+\| {figures}", page)
    cells = [f"{accuracy} % (± {half})" for accuracy, half, _, _ in (hushem, smids)]
    assert f"| `madrnet_tf_efficientnet_lite0` | {cells[0]} | {cells[1]} |" in readme
    pooled = []
    for name, seeds, (_, _, low, high) in (("hushem-madrnet", 3, hushem), ("smids-madrnet", 1, smids)):
        right, total = sum(row["label"] == row["prediction"] for row in stored(name)), len(stored(name))
        pooled.append(f"{right / seeds:.4g} of {total // seeds}, {low} to {high} %")
    assert f"| pooled, Wilson interval | {pooled[0]} | {pooled[1]} |" in readme
    plain = list(fold_accuracies(stored("hushem-plain")).values())
    assert f"same recipe, one seed | {np.mean(plain):.1f} ± {np.std(plain, ddof=1):.1f} % |" in readme
    for run, title in (("smids-ensemble", "mean of both"), ("smids-transformer", "from random weights, 30 epochs")):
        found = list(fold_accuracies(stored(run)).values())
        assert f"{title} | | {np.mean(found):.1f} ± {np.std(found, ddof=1):.1f} %" in readme
    view, masked = (
        list(fold_accuracies([row for row in stored(run) if row["seed"] == "0"]).values())
        for run in ("hushem-background", "hushem-madrnet")
    )
    cells = [f"{np.mean(found):.1f} ± {np.std(found, ddof=1):.1f} %" for found in (masked, view)]
    assert f"(masked, that seed: {cells[0]}) | {cells[1]} (±" in readme
    session = list(fold_accuracies(stored("hushem-session")).values())
    assert f"| {np.mean(session):.1f} % | |" in readme
    for run, column in (("hushem-madrnet", 0), ("smids-madrnet", 1)):
        for name, value in RESULTS["read_runs"]()[run]["controls"].items():
            (row,) = [text for text in readme.splitlines() if text.startswith(f"| control: {name}")]
            assert row.split("|")[2 + column].strip().startswith(f"{100 * value:.1f} ± ")
