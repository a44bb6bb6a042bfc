"""Every figure of docs/results.md comes from the stored predictions."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu, t

from examples.studies.benchmark import markdown
from examples.studies.depth import depth_figure
from tools import results

ROOT = Path(__file__).parents[2]
PAPER = results._yaml("paper.yaml")
PAGE = ROOT / "docs" / "results.md"
CONTROLS = ("largest class", "background", "shape and stain")


def test_the_page_is_what_the_predictions_say():
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page()


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


def lines_of(title):
    """The cells of the rows of the page's tables that start with a title."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0].strip("*") == title]


def wilson(right, total):
    """The score interval by its equation, in per cent."""
    z, p = 1.959964, right / total
    middle, half = p + z**2 / (2 * total), z * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    return [100 * (middle + sign * half) / (1 + z**2 / total) for sign in (-1, 1)]


def by_class(rows):
    """Precision, recall and F1 of each class, in per cent, by counting."""
    found = {}
    for name in {row["label"] for row in rows}:
        hits = sum(row["label"] == row["prediction"] == name for row in rows)
        said, are = (sum(row[key] == name for row in rows) for key in ("prediction", "label"))
        found[name] = 100 * hits / said if said else 0.0, 100 * hits / are, 200 * hits / (said + are)
    return found


def mean_sd(values):
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


@pytest.mark.parametrize("name", results.read_runs())
def test_figures_by_counting(name):
    """All figures of a stored run, by hand from its rows, stand in its row of the page."""
    run, rows = results.read_runs()[name], stored(name)
    values = list(fold_accuracies(rows).values())
    page = PAGE.read_text(encoding="utf-8")
    assert run["command"] in page
    seeds = sorted({row["seed"] for row in rows})
    pictures, n = len(rows) // len(seeds), len(values) // len(seeds)  # another seed has the same pictures
    assert len({row["file"] for row in rows}) == pictures
    low, high = wilson(sum(row["label"] == row["prediction"] for row in rows) / len(seeds), pictures)
    folds = ", ".join(f"{value:.1f}" for value in values)
    if run["protocol"] != "grouped":
        (cells,) = (cells for cells in lines_of(run["title"]) if cells[1] == run["protocol"])
        assert cells[2:5] == [", ".join(seeds), f"{np.mean(values):.1f} [{low:.1f}, {high:.1f}]", folds]
        return
    (table,) = [t for t in PAPER.values() if name in t.get("runs", ()) and t["kind"] == "accuracy"] or [None]
    if table is None:
        return  # a setting of an ablation, or a lever: see below
    (cells,) = (
        cells
        for cells in lines_of(run["title"])
        if cells[1] == ", ".join(seeds) and cells[2].startswith(mean_sd(values))
    )
    half = t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    assert cells[2] == f"{mean_sd(values)} (± {half:.1f}) [{low:.1f}, {high:.1f}]"
    places = sorted({(row["seed"], row["fold"]) for row in rows})
    classes = [by_class([row for row in rows if (row["seed"], row["fold"]) == place]) for place in places]
    for kind in range(3):  # as numbers: a mean that ends in 5 may be rounded either way
        found = [np.mean([figures[kind] for figures in fold.values()]) for fold in classes]
        shown = [float(value) for value in cells[3 + kind].split(" ± ")]
        assert shown == pytest.approx([np.mean(found), np.std(found, ddof=1)], abs=0.0501)
    assert cells[6] == f"{np.mean(values) - table['paper']:+.1f}".replace("-0.0", "+0.0")
    assert f"- {run['title']}: {folds}\n" in page
    if name != table["runs"][0]:
        difference, half, p = differences(table["runs"][0], name)
        assert cells[7:9] == [as_text(difference, half, p), f"{p:.2g}"]


@pytest.mark.parametrize("name", PAPER["paper_recipe"]["runs"])
def test_some_folds_by_counting(name):
    run, rows, beside = results.read_runs()[name], stored(name), PAPER["paper_recipe"]["beside"]
    folds = fold_accuracies(rows)
    assert [int(fold) for _, fold in folds] == run["folds"]
    right = {row["file"]: row["label"] == row["prediction"] for row in rows}
    its = {
        row["file"]: row["label"] == row["prediction"] for row in stored(beside) if (row["seed"], row["fold"]) in folds
    }
    assert its.keys() == right.keys()
    one, other = (sum(a[file] > b[file] for file in right) for a, b in ((its, right), (right, its)))
    p = min(1, 2 * binom.cdf(min(one, other), one + other, 0.5))
    low, high = wilson(sum(right.values()), len(right))
    values, total = ", ".join(f"{value:.1f}" for value in folds.values()), len(right)
    said = [row for row in stored("controls-hushem") if (row["seed"], row["fold"]) in folds]
    (cells,) = lines_of(run["title"])
    assert cells[1:3] == ["0", ", ".join(fold for _, fold in folds)]
    assert cells[3] == f"{values}: {sum(right.values())} of {total} [{low:.1f}, {high:.1f}]"
    assert cells[4:6] == [f"{sum(its.values())} of {total}", f"{p:.2g}"]
    assert cells[6:] == [f"{sum(row['label'] == row[key] for row in said)} of {total}" for key in CONTROLS]


@pytest.mark.parametrize("name", PAPER["best_epoch"]["runs"])
def test_best_epochs_by_counting(name):
    """The last epoch's accuracy is that of the stored predictions; the best one's is found here by walking."""
    last, best, which = {}, {}, {}
    for row in stored(f"{name}-epochs"):
        place, value = (row["seed"], row["fold"]), 100 * float(row["accuracy"])
        last[place] = value
        if value > best.get(place, -1):
            best[place], which[place] = value, int(row["epoch"])
    accuracies = fold_accuracies(stored(name))
    assert {seed for seed, _ in last} <= {seed for seed, _ in accuracies}  # seeds that were stored before their epochs
    for place, value in accuracies.items():
        if any(seed == place[0] for seed, _ in last):
            assert last[place] == pytest.approx(value, abs=0.0051)
    found = (mean_sd(list(values.values())) for values in (best, last))
    flatters = np.mean(list(best.values())) - np.mean(list(last.values()))
    epochs = {int(row["epoch"]) for row in stored(f"{name}-epochs")}
    title, seeds = results.read_runs()[name]["title"], ", ".join(sorted({seed for seed, _ in last}))
    which = f"{min(which.values())} to {max(which.values())} of {max(epochs)}"
    assert [title, seeds, *found, f"{flatters:+.1f}", which] in lines_of(title)


def test_figures_of_the_benchmark():
    """The tables of docs/choices.md, and what is said of those of the GPU."""
    text = (ROOT / "docs" / "choices.md").read_text(encoding="utf-8")
    measured = stored("benchmark")
    for line in markdown(measured).splitlines():
        assert line in text
    gpu = {(row["backbone"], row["setting"]): row for row in measured if row["machine"].startswith("NVIDIA")}

    def value(setting, column, backbone="resnet50"):
        return float(gpu[backbone, setting][column])

    text = " ".join(text.split())
    memory, step = (value("plain", column) for column in ("peak_ratio", "step_ratio"))
    assert (
        f"R costs {100 * (memory - 1):.0f} % of the memory of a ResNet-50's step and {100 * (step - 1):.0f} %" in text
    )
    assert f"takes {(value('plain, depth 6', 'peak_mb') - value('plain', 'peak_mb')) / 3000:.2f} GB in plain" in text
    saved, cost = (
        [
            100 * sign * (value(reversible, column) / value(plain, column) - 1)
            for plain, reversible in (("plain", "reversible"), ("plain, depth 6", "reversible, depth 6"))
        ]
        for column, sign in (("peak_mb", -1), ("step_ratio", 1))
    )
    assert f"saves {saved[0]:.0f} % of the memory at n = 3 and {saved[1]:.0f} % at n = 6" in text
    assert f"costs {cost[0]:.0f} % and {cost[1]:.0f} % of the step" in text
    names = ("resnet50", "efficientnet_b0")
    least = [f"{value('reversible, backbone checkpointed', 'peak_ratio', name):.2f}" for name in names]
    assert f"takes it to {' and '.join(least)} of the bare" in text
    times = [f"{value('plain', 'latency_ms', name):.0f} ms" for name in names]
    assert f"takes {times[0]} around ResNet-50 and {times[1]} around EfficientNet-B0" in text


def test_figure_10_is_drawn(tmp_path):
    depth_figure(ROOT / "docs" / "results", tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")


def test_classes_by_counting():
    name = PAPER["table_3"]["runs"][0]
    for label, figures in by_class(stored(name)).items():
        (cells,) = lines_of(label)
        assert cells[1:4] == [f"{value:.1f}" for value in figures]


def differences(first, second):
    """Mean paired difference of the folds, half of its 95 % t interval, and p of McNemar's test on the pictures."""
    a, b = fold_accuracies(stored(first)), fold_accuracies(stored(second))
    common = sorted(set(a) & set(b))
    found, n = [b[key] - a[key] for key in common], len({fold for _, fold in common})
    right = [{}, {}]
    for votes, name in zip(right, (first, second), strict=True):
        for row in stored(name):
            if (row["seed"], row["fold"]) in common:
                votes.setdefault(row["file"], []).append(row["label"] == row["prediction"])
    pairs = [tuple(2 * sum(votes[file]) > len(votes[file]) for votes in right) for file in right[0]]
    one, other = pairs.count((True, False)), pairs.count((False, True))
    p = min(1, 2 * binom.cdf(min(one, other), one + other, 0.5))
    return np.mean(found), t.ppf(0.975, n - 1) * np.std(found, ddof=1) / np.sqrt(n), p


def as_text(difference, half, p):
    noise = ", noise" if abs(difference) <= half or p >= 0.05 else ""
    return f"{difference:+.1f} ± {half:.1f}{noise}"


PAIRS = [
    (title, table["full"], row["run"])
    for table in PAPER.values()
    if table["kind"] == "ablation"
    for title, row in table["rows"].items()
    if row["run"] != table["full"] and row["run"] in results.read_runs()
] + [
    (what, lever["before"], lever["after"])
    for what, lever in results._yaml("levers.yaml").items()
    if {lever["before"], lever["after"]} <= set(results.read_runs())
]


@pytest.mark.parametrize(("title", "first", "second"), PAIRS)
def test_differences_by_counting(title, first, second):
    """Rows of Tables IV and V and Fig. 10, and of what was tried: accuracies, F1, difference, p."""
    difference, half, p = differences(first, second)
    a, b = fold_accuracies(stored(first)), fold_accuracies(stored(second))
    common = sorted(set(a) & set(b))
    means = [mean_sd([found[key] for key in common]) for found in (a, b)]
    (cells,) = lines_of(title)
    if first == "ablation-full":
        folds = [by_class([row for row in stored(second) if (row["seed"], row["fold"]) == key]) for key in common]
        f1 = mean_sd([np.mean([figures[2] for figures in fold.values()]) for fold in folds])
        assert cells[1:5] == [means[1], f1, as_text(difference, half, p), f"{p:.2g}"]
    else:
        seeds = ", ".join(sorted({seed for seed, _ in common}))
        assert cells[2:7] == [seeds, *means, as_text(difference, half, p), f"{p:.2g}"]


@pytest.mark.parametrize("table", ["table_2", "table_6"])
def test_what_all_miss_by_counting(table):
    runs = results.read_runs()
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


def balanced(rows, pictures):
    """Mean of the recalls of both classes, and 1.96 standard errors; rows of (is normal, said to be normal)."""
    recalls = [[said == label for normal, said in rows if normal == label] for label in (True, False)]
    each = [len(right) * pictures / len(rows) for right in recalls]
    errors = [np.mean(right) * (1 - np.mean(right)) / count for right, count in zip(recalls, each, strict=True)]
    return 100 * np.mean([np.mean(right) for right in recalls]), 100 * 1.96 * np.sqrt(sum(errors)) / 2


@pytest.mark.parametrize("name", results._yaml("transfers.yaml"))
def test_transfers_by_counting(name):
    transfer, rows = results._yaml("transfers.yaml")[name], stored(name)
    own = [row for row in stored(transfer["own"]) if row["label"] != "Non-Sperm"]
    pictures = len({row["file"] for row in own})
    at_home, error = balanced([(row["label"] == "Normal", row["prediction"] == "Normal") for row in own], pictures)
    (cells,) = lines_of(f"{transfer['title']}: the same recipe on its own set, held out")
    assert cells[1:4] == [str(pictures), "", f"{at_home:.1f} ± {error:.1f}"]
    for key, title in (("normal", "as it is"), ("normal_adapted", "norms adapted")):
        said = [(row["label"] == "normal", float(row[key]) > 0.5) for row in rows]
        right = sum(a == b for a, b in said)
        low, high = wilson(right, len(rows))
        there, spread = balanced(said, len(rows))
        a, b = ([float(row[key]) for row in rows if row["label"] == label] for label in ("normal", "abnormal"))
        auc = 100 * mannwhitneyu(a, b).statistic / (len(a) * len(b))
        (cells,) = lines_of(f"{transfer['title']}: on {transfer['tested']}, {title}")
        assert cells[1:] == [
            str(len(rows)), f"{100 * right / len(rows):.1f} [{low:.1f}, {high:.1f}]", f"{there:.1f} ± {spread:.1f}",
            f"{auc:.1f}", f"{there - at_home:+.1f} ± {np.hypot(spread, error):.1f}",
        ]  # fmt: skip


def test_transfers_in_words():
    """docs/cross-validate.md: how many of the lost points the adapted norms give back."""
    text = " ".join((ROOT / "docs" / "cross-validate.md").read_text(encoding="utf-8").split())
    drops = {}
    for transfer in results._yaml("transfers.yaml").values():
        for key in ("as it is", "norms adapted"):
            (cells,) = lines_of(f"{transfer['title']}: on {transfer['tested']}, {key}")
            drops[transfer["tested"], key] = -float(cells[5].split(" ± ")[0])
    there, back = (
        f"{drops[tested, 'as it is'] - drops[tested, 'norms adapted']:.0f} of {drops[tested, 'as it is']:.0f}"
        for tested in ("SMIDS", "HuSHeM")
    )
    assert f"From HuSHeM to SMIDS it gives back {there} points that are lost, the other way {back} (" in text


def test_commands_take_what_those_before_them_wrote():
    written = set()
    for run in results.in_order(results.read_runs()):
        *given, output = re.findall(r"runs/([\w-]+)", run["command"])
        assert set(given) <= written
        written.add(output)
    assert written == set(results.read_runs())


def test_the_readmes_figures_are_those_of_stored_predictions():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    def control(data, name):
        return [row | {"prediction": row[name]} for row in stored(f"controls-{data}")]

    def accuracy(rows):
        return f"{mean_sd(list(fold_accuracies(rows).values()))} %"

    for start, rows in (
        ("`madrnet_tf_efficientnet_lite0.smids_ft_hushem` | HuSHeM", stored("hushem-smids-neck")),
        ("`madrnet_tf_efficientnet_lite0.hushem` | HuSHeM", stored("hushem-madrnet")),
        ("EfficientNet-Lite0, the backbone alone | HuSHeM", stored("hushem-plain")),
        ("control: linear model of measured shape and stain | HuSHeM", control("hushem", "shape and stain")),
        ("`madrnet_tf_efficientnet_lite0.smids` | SMIDS", stored("smids-madrnet")),
    ):
        seeds = len({row["seed"] for row in rows})
        assert seeds == (1 if "alone" in start else 3)
        low, high = wilson(sum(row["label"] == row["prediction"] for row in rows) / seeds, len(rows) / seeds)
        assert f"| {start} | {accuracy(rows)} | {low:.1f} to {high:.1f} % |" in readme
    assert f"the mean of five models equals it ({accuracy(stored('hushem-five'))})" in readme
    assert (
        f"On SMIDS the linear control reaches {accuracy(control('smids', 'shape and stain')).split(' ')[0]} %" in readme
    )
    for name, words in (
        ("background", "reaches {} % on HuSHeM and {} % on SMIDS"),
        ("largest class", "largest class gives {} % and {} %"),
    ):
        assert words.format(*(accuracy(control(data, name)).split(" ")[0] for data in ("hushem", "smids"))) in readme


def test_what_the_pages_say_of_the_papers_recipe_and_of_the_controls():
    page = PAGE.read_text(encoding="utf-8")
    reproduce = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    paper, resnet50 = (lines_of(results.read_runs()[run]["title"])[0] for run in PAPER["paper_recipe"]["runs"])
    right, its = (line[3].split(": ")[1].split(" [")[0] for line in (paper, resnet50))
    low, high = re.findall(r"\[([\d.]+), ([\d.]+)\]", resnet50[3])[0]
    assert f"{its} held-out pictures right (Wilson {low} to {high} %)" in " ".join(reproduce.split())
    assert right in reproduce
    for run in ("hushem-madrnet", "smids-madrnet"):
        table = stored(f"controls-{run.split('-')[0]}")
        seeds = {row["seed"] for row in stored(run)}
        for name in CONTROLS:
            rows = [row | {"prediction": row[name]} for row in table if row["seed"] in seeds]
            value = mean_sd(list(fold_accuracies(rows).values()))
            assert f"| control: {name} | | {value} | | | | | | |" in page
