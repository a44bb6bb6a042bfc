"""Write docs/results.md from the stored predictions, beside the paper's figures.

    python -m tools.results

Predictions are stored in docs/results/ by tools/store.py, what controls say by examples/studies/controls.py --output
docs/results/controls-<dataset>.csv, for other protocols controls-<dataset>-<protocol>.csv. Which run stands where is
said by paper.yaml (tables and the paper's figures), levers.yaml (what was tried) and transfers.yaml (one set's model on
another set). No figure of the page's tables is written by hand: a test recomputes it. Pictures that its commands do not
store beside the predictions (t-SNE, Grad-CAM++) are copied there.
"""

import argparse
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from examples.studies.depth import depth_figure
from examples.studies.generality import figures
from madrnet_timm.command import run_command

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
HEAD = """# Results

Made by `python -m tools.results` from the predictions in `docs/results/`; the paper's figures are those that it
prints. **Research use only; not a medical device.**

- **MADRNet (Lite0)** is `madrnet_tf_efficientnet_lite0` with ImageNet weights in the backbone, 112 px; each row's
  command stands at the end.
- **Folds.** Ours are stratified and divide no cell; whose cells they are, man by man, the data sets do not say. The
  paper divides picture by picture, at 512 px, and does not align. The number of epochs was fixed beforehand.
- **Turning.** OpenCV turns training pictures now, in a third of torchvision's time; a turned picture of 112 px differs
  by half a grey level on average. So trained were the runs of the paper's recipe, those with the augmentation `varied`
  or EfficientNet-Lite2, and the plain one without R; torchvision turned for the others.
- **What was chosen on the pictures that it is measured on**, which flatters a little: pipeline, batch size and learning
  rates of the recipe `quick` among five settings after short runs on HuSHeM's folds of seed 0 (not kept), R's norms and
  dropout among six ([choices.md](choices.md)), SMIDS's recipe after few tries on its first fold; the augmentation
  `varied` was made after a look at the learning curves of HuSHeM's seed 0, the linear model taken into the mean, and
  the pipeline `head-and-neck` made (its reach set once, by eye), after a look at who misses what; whose mean is taken
  was settled when their own figures were known.
- **Intervals.** ± is the standard deviation over folds, (±) half of the 95 % t interval of their mean, [ ] the Wilson
  interval of the pictures. Folds of another seed hold the same pictures, so that n and df = n − 1 are those of one seed
  whatever the seeds, and a picture counts once. One picture of a HuSHeM fold is 2.3 points: differences below about 4
  points mean nothing.
- **Differences** are means over the folds of the seeds that both have, paired, with half of their 95 % t interval, a
  little too narrow since the trainings of different folds share pictures; p is that of the exact McNemar test on the
  pictures. *Noise* where the interval contains 0 or p is 0.05 or more. Of twenty differences that are none, one is
  found to be some; and neither knows the chance of a training: of the same recipe trained again on another processor
  (*nothing*, under What was tried) both found that it differs. Of one seed, believe no gain.
"""
NOT_MEASURED = """
- The paper's own recipe on all folds, and around a ResNet-50 with ImageNet weights; it needs a GPU:
  `madrnet cross-validate --recipe paper --model madrnet_resnet50`, see [reproduce.md](reproduce.md).
- MADRNet around EfficientNet-B0 and its distillation from the paper's model (`madrnet distill`).
- Further seeds than each row names. A pure transformer; a hybrid one stands in Table VI.
- Levers that were not tried: other weights of the embedding loss; the augmentation `varied` with R and 80 epochs.
"""
MISSED = """
Held-out pictures that each of these trainings gets right in all its seeds, or none in any (what follows other models,
an ensemble or a student, does not count). The latter are candidates for a second look at the label, no more: behind
each stands how many settings of Tables IV and V and Fig. 10, at their smaller budget, get it right.
"""
COMMANDS = """
`HuSHeM` and `SMIDS` are the folders of the data. `madrnet distill` writes `alone` and `distilled` below its output;
the latter is what is shown. Each command takes what those before it have written.
"""
TRANSFERS = """
`python -m examples.studies.generality`: normal heads against all other heads, things that are no sperm left out. *Norms
adapted*: the batch norms' statistics are those of the other set's pictures, without their labels. On its own set the
class that is said counts; on the other, normal is said above a probability of 0.5. ± is half of a 95 % interval, by the
binomial deviation of both recalls; [ ] the Wilson interval.
"""


def _yaml(name: str) -> dict[str, Any]:
    path = RESULTS / name
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


@cache
def read_runs() -> dict[str, dict[str, Any]]:
    """Descriptions of the stored cross-validations by name."""
    return _yaml("runs.yaml")


@cache
def predictions(name: str) -> list[dict[str, str]]:
    """Rows of a stored run."""
    from madrnet_timm.files import read_csv

    return read_csv(RESULTS / f"{name}.csv")


@cache
def summary(name: str, seeds: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Figures of a stored run, of all its seeds or some."""
    from madrnet_timm.evaluation.summary import summarize_predictions

    rows = [row for row in predictions(name) if seeds is None or int(row["seed"]) in seeds]
    return summarize_predictions(rows, read_runs()[name]["classes"])


@cache
def against(first: str, second: str) -> Any:
    """The `Comparison` of two stored runs on the seeds that both have."""
    from madrnet_timm.evaluation.comparison import compare_predictions

    return compare_predictions(predictions(first), predictions(second))


def controls(name: str) -> dict[str, str]:
    """Accuracy, mean ± sd over the folds, of each control on the folds of a stored run."""
    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.controls import CONTROLS
    from madrnet_timm.evaluation.summary import summarize_predictions

    run, seeds = read_runs()[name], {row["seed"] for row in predictions(name)}
    table = f"controls-{run['dataset']}" + ("" if run["protocol"] == "grouped" else f"-{run['protocol']}")
    rows = [row for row in predictions(table) if row["seed"] in seeds] if (RESULTS / f"{table}.csv").exists() else []
    if {row["seed"] for row in rows} != seeds:
        raise InputError(
            f"{RESULTS / table}.csv: lacks the folds of {name}; make it with python -m examples.studies.controls "
            f"--dataset {run['dataset']} --protocol {run['protocol']} --seeds {' '.join(sorted(seeds))} --output"
        )
    out = {}
    for control in CONTROLS:
        found = summarize_predictions([row | {"prediction": row[control]} for row in rows], run["classes"])
        out[control] = _mean(found)
    return out


def _mean(found: Mapping[str, Any], key: str = "accuracy") -> str:
    return f"{100 * found['mean'][key]:.1f} ± {100 * found['sd'][key]:.1f}"


def _seeds(found: Mapping[str, Any]) -> str:
    return ", ".join(str(seed) for seed in sorted({row["seed"] for row in found["folds"]}))


def _difference(first: str, second: str) -> list[str]:
    """Cells: difference with its interval, p; empty for a run against itself."""
    if first == second:
        return ["", ""]
    found = against(first, second)
    return [str(found), f"{found.mcnemar_p:.2g}"]


def _wilson(name: str) -> str:
    low, high = summary(name)["wilson"]
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _folds(name: str) -> str:
    return ", ".join(f"{100 * row['accuracy']:.1f}" for row in summary(name)["folds"])


def _cells(values: Sequence[float | str | None]) -> str:
    """Figures as they are printed elsewhere."""
    return " | ".join("" if value is None else str(value) for value in values)


def _accuracy_table(table: Mapping[str, Any], runs: Mapping[str, Any]) -> list[str]:
    """Tables II and VI: others' figures, ours, the controls."""
    parts = [
        "| | seeds | accuracy, % | precision | recall | F1 | against the paper's MADRNet | against our first | p |\n"
        "|---|---|---|---|---|---|---|---|---|"
    ]
    parts += [f"| {title} | | {_cells(values)} | | | |" for title, values in table["rows"].items()]
    own = [name for name in table["runs"] if name in runs]
    for name in own:
        found = summary(name)
        cells = [_mean(found, key) for key in ("accuracy", "precision", "recall", "f1")]
        cells[0] += f" (± {100 * found['t_half_width']['accuracy']:.1f}) {_wilson(name)}"
        below = round(100 * found["mean"]["accuracy"] - table["paper"], 1) + 0.0  # no -0.0
        cells.append(f"{below:+.1f}")
        cells += _difference(own[0], name)
        parts.append(f"| **{runs[name]['title']}** | {_seeds(found)} | {' | '.join(cells)} |")
    if own:
        parts += [f"| control: {name} | | {value} | | | | | | |" for name, value in controls(own[0]).items()]
    parts.append("\nEach fold, %, seed by seed:\n")
    return parts + [f"- {runs[name]['title']}: {_folds(name)}" for name in own]


def _some_folds_table(table: Mapping[str, Any], runs: Mapping[str, Any]) -> list[str]:
    """Runs of which some folds were trained, beside another run and the controls on the same pictures."""
    from madrnet_timm.evaluation.comparison import mcnemar
    from madrnet_timm.evaluation.controls import CONTROLS
    from madrnet_timm.evaluation.intervals import wilson_interval

    beside = table["beside"]
    parts = [
        f"| | seed | folds | accuracy, % | {runs[beside]['title']} on the same | McNemar p | "
        + " | ".join(f"control: {control}" for control in CONTROLS)
        + " |\n|---|---|---|---|---|---|"
        + "---|" * len(CONTROLS)
    ]
    for name in (name for name in table["runs"] if name in runs):
        rows, found = predictions(name), summary(name)
        places = {(row["seed"], row["fold"]) for row in rows}
        others, said = (
            [row for row in predictions(other) if (row["seed"], row["fold"]) in places]
            for other in (beside, f"controls-{runs[name]['dataset']}")
        )
        own, its = ({row["file"]: row["label"] == row["prediction"] for row in part} for part in (rows, others))
        low, high = (100 * value for value in wilson_interval(sum(own.values()), len(own)))
        cells = [
            _seeds(found),
            ", ".join(str(row["fold"]) for row in found["folds"]),
            f"{_folds(name)}: {sum(own.values())} of {len(own)} [{low:.1f}, {high:.1f}]",
            f"{sum(its.values())} of {len(its)}",
            f"{mcnemar(sum(its[f] > own[f] for f in own), sum(its[f] < own[f] for f in own)):.2g}",
            *(f"{sum(row['label'] == row[control] for row in said)} of {len(said)}" for control in CONTROLS),
        ]
        parts.append(f"| {runs[name]['title']} | {' | '.join(cells)} |")
    return parts


def _epochs_table(table: Mapping[str, Any], runs: Mapping[str, Any]) -> list[str]:
    """The best epoch of each fold beside the last."""
    parts = [
        "| | seeds | best epoch of each fold, % | last epoch | flatters by | which epochs |\n|---|---|---|---|---|---|"
    ]
    for name in (name for name in table["runs"] if name in runs):
        folds: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in predictions(f"{name}-epochs"):
            folds[row["seed"], row["fold"]].append(100 * float(row["accuracy"]))
        best, last = [max(values) for values in folds.values()], [values[-1] for values in folds.values()]
        which = [values.index(max(values)) + 1 for values in folds.values()]
        cells = [
            ", ".join(sorted({seed for seed, _ in folds})),
            *(
                f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
                for values in (best, last)
            ),
            f"{mean(best) - mean(last):+.1f}",
            f"{min(which)} to {max(which)} of {max(map(len, folds.values()))}",
        ]
        parts.append(f"| {runs[name]['title']} | {' | '.join(cells)} |")
    return parts


def _class_table(table: Mapping[str, Any], runs: Mapping[str, Any]) -> list[str]:
    """Table III."""
    name = table["runs"][0]
    parts = [
        f"{runs[name]['title']}; the paper's accuracy of a class is its recall.\n",
        "| class | precision, % | recall | F1 | the paper: precision | recall | F1 |\n|---|---|---|---|---|---|---|",
    ]
    for label, printed in table["rows"].items():
        row = summary(name)["pooled"]["per_class"][label]
        cells = [f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1")]
        parts.append(f"| {label} | {' | '.join(cells)} | {_cells(printed)} |")
    return parts


def _ablation_table(table: Mapping[str, Any], runs: Mapping[str, Any]) -> list[str]:
    """Tables IV and V, Fig. 10: each row against the full model."""
    parts = [
        "| | accuracy, % | F1 | against MADRNet, points | p | the paper: accuracy | F1 |\n|---|---|---|---|---|---|---|"
    ]
    for title, row in table["rows"].items():
        if row["run"] not in runs:
            continue
        name = row["run"]
        cells = [_mean(summary(name)), _mean(summary(name), "f1"), *_difference(table["full"], name)]
        parts.append(f"| {title} | {' | '.join(cells)} | {_cells(row['paper'])} |")
    return parts


def _parameter_table(table: Mapping[str, Any], runs: Mapping[str, Any]) -> list[str]:
    """Fig. 11, with four classes."""
    import timm
    import torch

    import madrnet_timm  # noqa: F401

    parts = ["| | parameters, million | the paper |\n|---|---|---|"]
    for name, printed in table["rows"].items():
        with torch.device("meta"):
            count = sum(p.numel() for p in timm.create_model(name, num_classes=4).parameters())
        parts.append(f"| {name} | {count / 1e6:.2f} | {_cells([printed])} |")
    return parts


def _levers(runs: Mapping[str, Any]) -> list[str]:
    """What was tried on the recipe, before and after."""
    parts = [
        "| what | why | seeds | before, % | after, % | difference, points | McNemar p | kept |\n"
        "|---|---|---|---|---|---|---|---|"
    ]
    for what, lever in _yaml("levers.yaml").items():
        before, after = lever["before"], lever["after"]
        if before in runs and after in runs:
            found = [summary(name, against(before, after).seeds) for name in (before, after)]
            cells = (_seeds(found[0]), *map(_mean, found), *_difference(before, after))
            parts.append(f"| {what} | {lever['why']} | {' | '.join(cells)} | {lever['kept']} |")
    return parts


def never_right(names: Sequence[str]) -> tuple[dict[str, tuple[str, str]], int, int]:
    """Pictures that stored runs never get right, in no seed, with their class and what is said most often instead.

    Returns:
        Those; how many pictures are always right; how many there are.
    """
    said: dict[str, list[str]] = defaultdict(list)
    labels: dict[str, str] = {}
    for row in (row for name in names for row in predictions(name)):
        said[row["file"]].append(row["prediction"])
        labels[row["file"]] = row["label"]
    never = {f: (labels[f], Counter(s).most_common(1)[0][0]) for f, s in said.items() if labels[f] not in s}
    return never, sum(set(s) == {labels[f]} for f, s in said.items()), len(said)


def _cross_validated(command: str) -> bool:
    """By ``madrnet cross-validate`` or ``accelerate launch -m madrnet_timm.commands.cross_validate``."""
    return "cross_validate" in command.replace("-", "_")


def _missed(runs: Mapping[str, Any]) -> list[str]:
    """What all trainings of a data set get wrong, where there are several."""
    parts = ["| trainings | pictures | always right | never right | class: said to be |\n|---|---|---|---|---|"]
    paper = _yaml("paper.yaml").values()
    settings = {row["run"] for table in paper if table["kind"] == "ablation" for row in table["rows"].values()}
    for table in paper:
        own = [n for n in table.get("runs", ()) if n in runs and _cross_validated(runs[n]["command"])]
        if table["kind"] != "accuracy" or len(own) < 2:
            continue
        never, always, total = never_right(own)
        pairs = Counter(f"{label}: {said}" for label, said in never.values()).most_common()
        cells = ", ".join(f"{pair} {count}" for pair, count in pairs)
        others = [n for n in settings if n in runs and runs[n]["dataset"] == runs[own[0]]["dataset"]]
        if others:
            right = Counter(
                f for n in others for f in {r["file"] for r in predictions(n) if r["prediction"] == r["label"]}
            )
            cells += "; " + ", ".join(f"`{file}` {right[file]} of {len(others)}" for file in sorted(never))
        titles = "; ".join(runs[n]["title"] for n in own)
        parts.append(f"| {titles} | {total} | {always} | {len(never)} | {cells} |")
    return parts


def balanced(truth: Sequence[bool], said: Sequence[bool], pictures: int) -> tuple[float, float]:
    """Balanced accuracy of two classes, and half of its 95 % interval: binomial deviations of both recalls.

    Args:
        truth: Class of each row.
        said: What is said of it.
        pictures: How many pictures the rows are of; those of several seeds count once.
    """
    recalls, variance = [], 0.0
    for label in (True, False):
        right = [is_ == label for was, is_ in zip(truth, said, strict=True) if was == label]
        recall = sum(right) / len(right)
        recalls.append(recall)
        variance += recall * (1 - recall) / (len(right) * pictures / len(truth))
    return sum(recalls) / 2, 1.96 * math.sqrt(variance) / 2


def _transfers(runs: Mapping[str, Any]) -> list[str]:
    """Models on the other data set; beside them, what they reach on their own, reduced to normal or not."""
    from madrnet_timm.data.sources import SOURCES
    from madrnet_timm.evaluation.intervals import wilson_interval

    parts: list[str] = ["| | pictures | accuracy, % | balanced accuracy | AUC | against its own set, points |"]
    parts.append("|---|---|---|---|---|---|")
    for name, transfer in _yaml("transfers.yaml").items():
        source = SOURCES[runs[transfer["own"]]["dataset"]]
        home = [row for row in predictions(transfer["own"]) if row["label"] != source.no_head]
        normal = [[row[key] == source.normal for row in home] for key in ("label", "prediction")]
        pictures = len({row["file"] for row in home})
        at_home, spread_at_home = balanced(normal[0], normal[1], pictures)
        cells = f"{pictures} | | {100 * at_home:.1f} ± {100 * spread_at_home:.1f} | | |"
        parts.append(f"| {transfer['title']}: the same recipe on its own set, held out | {cells}")
        rows = predictions(name)
        truth = [row["label"] == "normal" for row in rows]
        for key, title in (("normal", "as it is"), ("normal_adapted", "norms adapted")):
            found = figures(rows, key)
            there, spread = balanced(truth, [float(row[key]) > 0.5 for row in rows], len(rows))
            right = round(found["accuracy"] * len(rows))
            low, high = wilson_interval(right, len(rows))
            cells = f"{100 * found['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}] | "
            cells += f"{100 * there:.1f} ± {100 * spread:.1f} | {100 * found['AUC']:.1f} | "
            cells += f"{100 * (there - at_home):+.1f} ± {100 * math.hypot(spread, spread_at_home):.1f}"
            parts.append(f"| {transfer['title']}: on {transfer['tested']}, {title} | {len(rows)} | {cells} |")
    return parts


def in_order(runs: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Descriptions of stored runs, each behind those whose outputs its command takes."""
    needs: dict[str, list[str]] = {}
    for name, run in runs.items():
        words = shlex.split(run["command"])
        given = [Path(word) for before, word in pairwise(words) if word.startswith("runs/") and before != "--output"]
        needs[name] = [path.parts[1] for path in given if path.parts[1] in runs]
    out: list[str] = []

    def put(name: str) -> None:
        for other in needs[name]:
            put(other)
        if name not in out:
            out.append(name)

    for name in runs:
        put(name)
    return [runs[name] for name in out]


def page() -> str:
    """The page's text."""
    from madrnet_timm.data.sources import SOURCES

    paper, runs = _yaml("paper.yaml"), read_runs()
    makers = {
        "accuracy": _accuracy_table,
        "classes": _class_table,
        "some folds": _some_folds_table,
        "epochs": _epochs_table,
        "ablation": _ablation_table,
        "parameters": _parameter_table,
    }
    parts = [HEAD]
    for table in paper.values():
        if table["kind"] == "ablation" and not any(
            row["run"] in runs and row["run"] != table["full"] for row in table["rows"].values()
        ):
            continue
        parts += [f"\n## {table['title']}\n", *([table["note"]] if "note" in table else [])]
        parts += makers[table["kind"]](table, runs)
        figures = {name: title for name, title in table.get("figures", {}).items() if (RESULTS / name).exists()}
        parts += [f"\n![{title}](results/{name})" for name, title in figures.items()]
    others = {name: run for name, run in runs.items() if run["protocol"] != "grouped"}
    if others:
        parts.append("\n## Other protocols\n")
        parts.append("| | protocol | seeds | accuracy, % | folds | controls, % |\n|---|---|---|---|---|---|")
        for name, run in others.items():
            found = summary(name)
            beside = ", ".join(f"{key} {value}" for key, value in controls(name).items())
            cells = f"{100 * found['mean']['accuracy']:.1f} {_wilson(name)} | {_folds(name)} | {beside}"
            parts.append(f"| {run['title']} | {run['protocol']} | {_seeds(found)} | {cells} |")
    parts += ["\n## What was tried\n", *_levers(runs)]
    parts += ["\n## Not measured", NOT_MEASURED]
    parts += ["## What all of them miss", MISSED, *_missed(runs)]
    parts += ["\n## From one data set to the other", TRANSFERS, *_transfers(runs)]
    parts += ["\n## Commands", COMMANDS]
    for run in in_order(runs):
        some = f", of which we trained fold {' and '.join(map(str, run['folds']))}" if "folds" in run else ""
        parts.append(f"{SOURCES[run['dataset']].title}, {run['title']}{some}:\n\n```bash\n{run['command']}\n```\n")
    return "\n".join(parts)


def write_page() -> None:
    """docs/results.md and Fig. 10."""
    from madrnet_timm.files import replacing, write_text

    with replacing(RESULTS / "depth.png") as path:
        depth_figure(RESULTS, path)
    write_text(RESULTS.parent / "results.md", page())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_page()


if __name__ == "__main__":
    run_command(main)
