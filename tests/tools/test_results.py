"""Every figure in the tables of docs/ comes from the stored predictions."""

import csv
import re

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, t

from examples.studies.depth import depth_figure
from tools.results import PLACE, filled
from tools.stored import RESULTS, in_order, is_training, read_paper, read_runs, read_yaml

from ..conftest import SHARED
from .counting import (
    CONTROLS,
    PAGES,
    ROOT,
    as_text,
    balanced,
    by_class,
    control_rows,
    differences,
    fold_accuracies,
    interval,
    mcnemar,
    mean_sd,
    place,
    prose,
    right_of,
    row,
    seeds_in,
    stored,
    wilson,
)  # fmt: skip

PAPER, RUNS = read_paper(), read_runs()
TRANSFERS = read_yaml(RESULTS / "transfers.yaml")
ABLATIONS = {key: table for key, table in PAPER.items() if "full" in table}


@pytest.mark.parametrize(
    "page", [path for path, text in PAGES.items() if PLACE.search(text)], ids=lambda path: path.name
)
def test_the_page_is_what_the_predictions_say(page):
    assert filled(PAGES[page]) == PAGES[page]
    assert len(PLACE.findall(PAGES[page])) == PAGES[page].count("<!-- table:") == PAGES[page].count("<!-- end -->")


@pytest.mark.parametrize("name", RUNS)
def test_figures_by_counting(name):
    """All figures of a stored run, by hand from its rows, stand in its rows of the pages."""
    run, rows = RUNS[name], stored(name)
    images = right_of(rows)[1]  # another seed has the same images
    assert len({found["file"] for found in rows}) == images
    link = f"[`{name}`](results/{name}.csv)"
    assert row(f"names {name.split('-')[0]}-", link) == [link, run["title"], seeds_in(rows)]
    assert f"# {name}\n{run['command']}\n" in PAGES[ROOT / "docs" / "results-runs.md"]
    values = list(fold_accuracies(rows).values())
    if run["protocol"] != "grouped":
        cells = row("protocols", name, run["protocol"])
        folds = ", ".join(f"{value:.1f}" for value in values)
        assert cells[2:6] == [seeds_in(rows), f"{np.mean(values):.1f}", interval(rows), folds]
    for key in (key for key in ("table_2", "table_6") if name in PAPER[key]["runs"]):
        check_accuracy(key, name, rows, values)


def check_accuracy(key, name, rows, values):
    """A row of Table II or VI, and of its folds."""
    cells, n = row(f"accuracy {key}", name), len(values) // len({found["seed"] for found in rows})
    half = t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    assert cells[1:3] == [seeds_in(rows), f"{mean_sd(values)} (± {half:.1f}) {interval(rows)}"]
    places = sorted({(found["seed"], found["fold"]) for found in rows})
    classes = [by_class([found for found in rows if (found["seed"], found["fold"]) == place]) for place in places]
    for kind in range(3):  # as numbers: a mean that ends in 5 may be rounded either way
        found = [np.mean([figures[kind] for figures in fold.values()]) for fold in classes]
        shown = [float(value) for value in cells[3 + kind].split(" ± ")]
        assert shown == pytest.approx([np.mean(found), np.std(found, ddof=1)], abs=0.0501)
    assert cells[6] == f"{np.mean(values) - PAPER[key]['paper']:+.1f}".replace("-0.0", "+0.0")
    first = PAPER[key]["runs"][0]
    if name != first:
        difference, half, p = differences(first, name)
        assert cells[7:9] == [as_text(difference, half, p), f"{p:.2g}"]
    shown = [value for cell in row(f"folds {key}", name)[1:] if cell for value in cell.split(", ")]
    assert shown == [f"{value:.1f}" for value in values]


@pytest.mark.parametrize("name", PAPER["overview"]["runs"])
def test_overview_by_counting(name):
    rows = stored(name)
    right, images = right_of(rows)
    figures = [seeds_in(rows), mean_sd(fold_accuracies(rows)), f"{right:.4g} of {images}", interval(rows)]
    assert row("overview", name)[1:] == [RUNS[name]["title"], *figures]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(("key", "run"), [("table_2", "hushem-madrnet"), ("table_6", "smids-madrnet")])
def test_controls_by_counting(key, run, control):
    seeds = {found["seed"] for found in stored(run)}
    rows = [found for found in control_rows(control, RUNS[run]["dataset"]) if found["seed"] in seeds]
    right, images = right_of(rows)
    value = mean_sd(fold_accuracies(rows))
    assert row(f"accuracy {key}", f"control: {control}")[1:] == ["", value, *[""] * 6]
    cells = row("overview", control, f"control on the folds of `{run}")
    assert cells[2:] == [seeds_in(rows), value, f"{right:.4g} of {images}", interval(rows)]


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run["protocol"] != "grouped"])
def test_controls_of_other_protocols_by_counting(name):
    protocol, seeds = RUNS[name]["protocol"], seeds_in(stored(name))
    rows = [found for found in stored(f"controls-{RUNS[name]['dataset']}-{protocol}") if found["seed"] in seeds]
    said = [[found | {"prediction": found[control]} for found in rows] for control in CONTROLS]
    assert row("protocols", name)[6:] == [mean_sd(fold_accuracies(control)) for control in said]


@pytest.mark.parametrize("name", PAPER["paper_recipe"]["runs"])
def test_some_folds_by_counting(name):
    run, rows, beside = RUNS[name], stored(name), PAPER["paper_recipe"]["beside"]
    folds = fold_accuracies(rows)
    assert [int(fold) for _, fold in folds] == run["folds"]
    right = {found["file"]: found["label"] == found["prediction"] for found in rows}
    its = {
        found["file"]: found["label"] == found["prediction"]
        for found in stored(beside)
        if (found["seed"], found["fold"]) in folds
    }
    assert its.keys() == right.keys()
    p = mcnemar(*(sum(a[file] > b[file] for file in right) for a, b in ((its, right), (right, its))))
    total = len(right)
    said = [found for found in stored("controls-hushem") if (found["seed"], found["fold"]) in folds]
    assert row("some-folds paper_recipe", name)[1:] == [
        "0", ", ".join(fold for _, fold in folds), ", ".join(f"{value:.1f}" for value in folds.values()),
        f"{sum(right.values())} of {total}", interval(rows), f"{sum(its.values())} of {total}", f"{p:.2g}",
        *(f"{sum(found['label'] == found[key] for found in said)} of {total}" for key in CONTROLS),
    ]  # fmt: skip


@pytest.mark.parametrize("name", PAPER["best_epoch"]["runs"])
def test_best_epochs_by_counting(name):
    """The last epoch's accuracy is that of the stored predictions; the best one's is found here by walking."""
    last, best, which = {}, {}, {}
    for found in stored(f"{name}-epochs"):
        place, value = (found["seed"], found["fold"]), 100 * float(found["accuracy"])
        last[place] = value
        if value > best.get(place, -1):
            best[place], which[place] = value, int(found["epoch"])
    accuracies = fold_accuracies(stored(name))
    assert {seed for seed, _ in last} <= {seed for seed, _ in accuracies}  # seeds that were stored before their epochs
    for place, value in accuracies.items():
        if any(seed == place[0] for seed, _ in last):
            assert last[place] == pytest.approx(value, abs=0.0051)
    gain = np.mean(list(best.values())) - np.mean(list(last.values()))
    epochs = max(int(found["epoch"]) for found in stored(f"{name}-epochs"))
    seeds = ", ".join(sorted({seed for seed, _ in last}))
    which = f"{min(which.values())} to {max(which.values())} of {epochs}"
    assert row("epochs best_epoch", name)[1:] == [seeds, mean_sd(best), mean_sd(last), f"{gain:+.1f}", which]


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_a_soup_and_its_trainings_by_counting(seed):
    name, epochs = PAPER["soup"]["run"], PAPER["soup"]["epochs"]
    rows = [found for found in stored(name) if found["seed"] == seed]
    right = sum(found["label"] == found["prediction"] for found in rows)
    alone = []
    for last in (epochs, 2 * epochs):
        count = 0.0
        for found in stored(f"{name}-epochs"):
            if (found["seed"], found["epoch"]) == (seed, str(last)):
                count += float(found["accuracy"]) * sum(other["fold"] == found["fold"] for other in rows)
        assert abs(count - round(count)) < 0.05  # accuracies have four digits
        alone.append(round(count))
    assert f"--epochs {epochs} --soup 3 " in RUNS[name]["command"]
    assert row("soup", seed)[1:] == [*map(str, alone), str(right), str(len(rows))]


PEERS = [(key, name) for key, names in PAPER["peers"].items() for name in names]


@pytest.mark.parametrize(("key", "name"), PEERS)
def test_the_rules_of_others_by_counting(key, name):
    """Of each fold the mean of its five best epochs after the first tenth, as SHMC-Net's code has it, and its best."""
    rows = stored(name)
    right, images = right_of(rows)
    last = [mean_sd(fold_accuracies(rows)), f"{right:.4g} of {images}"]
    chosen = ["", ""]
    if (RESULTS / f"{name}-epochs.csv").exists():
        folds = {}
        for found in stored(f"{name}-epochs"):
            folds.setdefault((found["seed"], found["fold"]), {})[int(found["epoch"])] = 100 * float(found["accuracy"])
        later = [[value for epoch, value in fold.items() if epoch - 1 > 0.1 * len(fold)] for fold in folds.values()]
        chosen = [
            mean_sd([np.mean(np.sort(fold)[-5:]) for fold in later]),
            mean_sd([max(f.values()) for f in folds.values()]),
        ]
    found = [RUNS[name]["title"], RUNS[name]["protocol"], seeds_in(rows), *last, *chosen]
    assert row(f"rules {key}", name)[1:] == found


KINDS = [(key, name) for key, given in PAPER["kinds"].items() for name in given["runs"]]


@pytest.mark.parametrize(("key", "name"), KINDS)
def test_kinds_by_counting(key, name):
    rows, beside = stored(name), PAPER["kinds"][key]["beside"]
    right, images = right_of(rows)
    cells = [RUNS[name]["title"], seeds_in(rows), mean_sd(fold_accuracies(rows)), f"{right:.4g} of {images}"]
    difference, half, p = differences(beside, name)
    against = ["", ""] if name == beside else [as_text(difference, half, p), f"{p:.2g}"]
    assert row(f"kinds {key}", name)[1:] == [*cells, interval(rows), *against]


@pytest.mark.parametrize("key", PAPER["kinds"])
def test_the_control_beside_the_kinds_by_counting(key):
    seeds = {found["seed"] for found in stored(PAPER["kinds"][key]["beside"])}
    rows = [found for found in control_rows("shape and stain", key) if found["seed"] in seeds]
    right, images = right_of(rows)
    cells = [mean_sd(fold_accuracies(rows)), f"{right:.4g} of {images}", interval(rows), "", ""]
    assert row(f"kinds {key}", "shape and stain")[3:] == cells


def test_nothing_lies_there_that_no_page_shows():
    """The list of runs shows no figure of theirs: each stands on another page, too, or another run was made from it."""
    text = "".join(page for path, page in PAGES.items() if path.name != "results-runs.md")
    makers = "".join(path.read_text() for path in (ROOT / "tools").glob("*.py"))
    used = {cells["run"] for table in ABLATIONS.values() for cells in table["rows"].values()}
    for path in RESULTS.iterdir():
        stem, named = path.stem, re.compile(rf"(?<![\w-]){re.escape(path.stem)}(?![\w-])")
        if path.suffix in (".png", ".webp"):
            assert f"results/{path.name}" in text, path.name
        elif stem.endswith("-epochs"):
            shown = [*PAPER["best_epoch"]["runs"], PAPER["soup"]["run"], *(name for _, name in PEERS)]
            assert stem.removesuffix("-epochs") in shown, path.name
        elif stem in RUNS:
            others = " ".join(run["command"] for name, run in RUNS.items() if name != stem)
            assert stem in used or named.search(text) or named.search(others), path.name
        elif path.suffix == ".csv":
            of_runs = stem in TRANSFERS or stem.startswith("controls-")
            assert of_runs or named.search(text) or f'"{stem}"' in makers, path.name


def test_what_the_choice_of_an_epoch_moves():
    rows = [row(f"rules {key}", name) for key, name in PEERS]
    gains = [float(cells[7].split(" ± ")[0]) - float(cells[4].split(" ± ")[0]) for cells in rows if cells[7]]
    assert f"moves ours by up to {max(gains):.0f} points" in prose("docs/peers.md")


def test_shmcnets_folds_divide_our_groups():
    folds = SHARED / "folds" / "hushem_shmcnet.csv"
    if not folds.exists():
        pytest.skip("needs folds/hushem_shmcnet.csv of the shared data")
    with folds.open(newline="") as opened:
        fold_of = {found["image"]: found["fold"] for found in csv.DictReader(opened)}
    groups = {}
    with (ROOT / "hub/madrnet_tf_efficientnet_lite0.smids_ft_hushem/predictions.csv").open(newline="") as opened:
        for found in csv.DictReader(opened):
            groups.setdefault(found["group"], set()).add(found["file"])
    assert sorted(file for files in groups.values() for file in files) == sorted(fold_of)
    several = [files for files in groups.values() if len(files) > 1]
    divided = [files for files in several if len({fold_of[file] for file in files}) > 1]
    offsets = {(file.split("/")[0], (int(fold) - int(file[-7:-4])) % 5) for file, fold in fold_of.items()}
    assert len(offsets) == len({name for name, _ in offsets}) == 4  # dealt by number, each class from a fold of its own
    text = prose("docs/peers.md")
    assert f"Of our {len(several)} groups of HuSHeM that hold several images" in text
    assert len(divided) == len(several)
    assert f"these folds divide **all {len(divided)}** ({sum(map(len, divided))} images)" in text


def test_figure_10_is_drawn(tmp_path):
    depth_figure(ROOT / "docs" / "results", tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")


def test_classes_by_counting():
    (name,) = PAPER["table_3"]["runs"]
    for label, figures in by_class(stored(name)).items():
        assert row("classes table_3", label)[1:4] == [f"{value:.1f}" for value in figures]


SETTINGS = [
    (f"ablation {key}", title, table["full"], cells["run"])
    for key, table in ABLATIONS.items()
    for title, cells in table["rows"].items()
]
STEPS = [
    (f"tried {section}", step, found["before"], found["after"])
    for section, steps in read_yaml(RESULTS / "levers.yaml").items()
    for step, found in steps.items()
]


@pytest.mark.parametrize(("marker", "title", "first", "second"), [*SETTINGS, *STEPS])
def test_differences_by_counting(marker, title, first, second):
    """Rows of Tables IV and V and Fig. 10, and of what was tried: accuracies, F1, difference, p."""
    difference, half, p = differences(first, second)
    against = [as_text(difference, half, p), f"{p:.2g}"] if first != second else ["", ""]
    a, b = fold_accuracies(stored(first)), fold_accuracies(stored(second))
    common = sorted(set(a) & set(b))
    means = [mean_sd([found[key] for key in common]) for found in (a, b)]
    cells = row(marker, title)
    if marker.startswith("ablation"):
        folds = [
            by_class([found for found in stored(second) if (found["seed"], found["fold"]) == key]) for key in common
        ]
        f1 = mean_sd([np.mean([figures[2] for figures in fold.values()]) for fold in folds])
        assert cells[1:5] == [means[1], f1, *against]
    else:
        seeds = ", ".join(sorted({seed for seed, _ in common}))
        assert cells[1:8] == [first, second, seeds, *means, *against]


@pytest.mark.parametrize("key", ["table_2", "table_6"])
def test_what_all_miss_by_counting(key):
    own = [name for name in PAPER[key]["runs"] if is_training(RUNS[name])]
    assert not [name for name in own if re.search(r"ensemble|distill|timm_transform|test_time", RUNS[name]["command"])]
    assert len(own) > 1
    assert any(f"Trainings: {', '.join(f'`{name}`' for name in own)}.\n" in page for page in PAGES.values())
    said = {}
    for found in (found for name in own for found in stored(name)):
        said.setdefault((found["file"], found["label"]), []).append(found["prediction"])
    always = [image for image, names in said.items() if names.count(image[1]) == len(names)]
    never = {image: max(names, key=names.count) for image, names in said.items() if image[1] not in names}
    rows = place(f"missed {key}")
    assert rows[0] == [str(len(said)), str(len(always)), str(len(never))]
    counts = {}
    for (_, label), name in never.items():
        counts[label, name] = counts.get((label, name), 0) + 1
    assert {(label, name): int(n) for label, name, n in rows[1 : 1 + len(counts)]} == counts
    settings = {cells["run"] for table in ABLATIONS.values() for cells in table["rows"].values()}
    settings = {name for name in settings if RUNS[name]["dataset"] == RUNS[own[0]]["dataset"]}
    right = {
        file: sum(any(r["file"] == file and r["label"] == r["prediction"] for r in stored(name)) for name in settings)
        for file, _ in (never if settings else ())
    }
    assert dict(rows[1 + len(counts) :]) == {file: f"{count} of {len(settings)}" for file, count in right.items()}


@pytest.mark.parametrize("name", TRANSFERS)
def test_transfers_by_counting(name):
    transfer, rows = TRANSFERS[name], stored(name)
    own = [found for found in stored(transfer["own"]) if found["label"] != "Non-Sperm"]
    images = len({found["file"] for found in own})
    at_home, error = balanced([(found["label"] == "Normal", found["prediction"] == "Normal") for found in own], images)
    home = {"SMIDS": "HuSHeM", "HuSHeM": "SMIDS"}[transfer["tested"]]
    cells = row("transfers", transfer["title"], f"{home}, held out")
    assert cells[2:] == ["", str(images), "", f"{at_home:.1f} ± {error:.1f}", "", ""]
    for key, norms in (("normal", "as trained"), ("normal_adapted", "adapted")):
        said = [(found["label"] == "normal", float(found[key]) > 0.5) for found in rows]
        right = sum(a == b for a, b in said)
        low, high = wilson(right, len(rows))
        there, spread = balanced(said, len(rows))
        a, b = ([float(found[key]) for found in rows if found["label"] == label] for label in ("normal", "abnormal"))
        auc = 100 * mannwhitneyu(a, b).statistic / (len(a) * len(b))
        assert row("transfers", transfer["title"], transfer["tested"], norms)[3:] == [
            str(len(rows)), f"{100 * right / len(rows):.1f} [{low:.1f}, {high:.1f}]", f"{there:.1f} ± {spread:.1f}",
            f"{auc:.1f}", f"{there - at_home:+.1f} ± {np.hypot(spread, error):.1f}",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "figure"),
    [("hushem", ""), ("hushem", " normal"), ("smids", ""), ("smids", " normal")],
)
def test_few_labels_by_counting(dataset, figure):
    """Per cent right of each draw, or the mean of two recalls (normal, others); mean and sd over draws."""
    draws = {}
    for found in stored(f"few-labels-{dataset}"):
        key = found["way"], int(found["heads"]), found["draw"]
        draws.setdefault(key, []).extend([(found["label"], found["prediction"])] * int(found["images"]))
    figures = {}
    for (way, heads, _), said in draws.items():
        if figure == " normal":
            normal = [(a == "Normal", b == "Normal") for a, b in said if a != "Non-Sperm"]
            value = balanced(normal, len(normal))[0]
        else:
            value = 100 * np.mean([a == b for a, b in said])
        figures.setdefault(way, {}).setdefault(heads, []).append(value)
    sizes = sorted({heads for found in figures.values() for heads in found})
    rows = {cells[0]: cells[2:] for cells in place(f"few-labels {dataset}{figure}")}
    assert rows.keys() == figures.keys()
    for way, found in figures.items():
        for cell, values in zip(rows[way], map(found.get, sizes), strict=True):
            assert cell == ("" if values is None else mean_sd(values) if len(values) > 1 else f"{values[0]:.1f}")


def test_commands_take_what_those_before_them_wrote():
    written, named = set(), set()
    for name in in_order():
        *given, output = re.findall(r"runs/([\w-]+)", RUNS[name]["command"])
        assert output == name
        written |= set(re.findall(r"--output runs/([\w-]+)", RUNS[name]["command"]))  # of several commands in a row
        assert set(given) <= written
        written.add(output)
        named.add(output)
    assert named == set(RUNS)
