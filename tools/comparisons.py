"""Tables that compare stored runs: what was tried, what all of them miss, one data set's model on the other."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, stdev

from .stored import RESULTS, against, is_training, predictions, read_paper, read_runs, read_yaml, summary
from .tables import difference, mean_sd, seeds_of, table


def tried(section: str) -> str:
    """Steps on the recipe, before and after."""
    rows = []
    for step, given in read_yaml(RESULTS / "levers.yaml")[section].items():
        names = [given["before"], given["after"]]
        found = [summary(name, against(*names).seeds) for name in names]
        cells = [seeds_of(found[0]), *map(mean_sd, found), *difference(*names), given["kept"]]
        rows.append([step, *(f"`{name}`" for name in names), *cells])
    columns = ("step", "from", "to", "seeds", "before, %", "after, %", "difference, points", "p", "kept")
    return table(columns, rows)


def never_right(names: Sequence[str]) -> tuple[dict[str, tuple[str, str]], int, int]:
    """Images that stored runs never get right, in no seed, with their class and what is said most often instead.

    Returns:
        Those; how many images are always right; how many there are.
    """
    said: dict[str, list[str]] = defaultdict(list)
    labels: dict[str, str] = {}
    for row in (row for name in names for row in predictions(name)):
        said[row["file"]].append(row["prediction"])
        labels[row["file"]] = row["label"]
    never = {f: (labels[f], Counter(s).most_common(1)[0][0]) for f, s in said.items() if labels[f] not in s}
    return never, sum(set(s) == {labels[f]} for f, s in said.items()), len(said)


def ablation_settings(dataset: str) -> list[str]:
    """The runs of Tables IV and V and Fig. 10."""
    runs = read_runs()
    found = {row["run"] for given in read_paper().values() if "full" in given for row in given["rows"].values()}
    return sorted(name for name in found if runs[name]["dataset"] == dataset)


def missed(key: str) -> str:
    """What all trainings of a table get wrong."""
    own = [name for name in read_paper()[key]["runs"] if is_training(read_runs()[name])]
    never, always, total = never_right(own)
    others = ablation_settings(read_runs()[own[0]]["dataset"])
    parts = [
        "Trainings: " + ", ".join(f"`{name}`" for name in own) + ".",
        table(("images", "always right", "never right"), [[total, always, len(never)]]),
        table(
            ("class", "said to be", "images"),
            [[*pair, count] for pair, count in Counter(never.values()).most_common()],
        ),
    ]
    if others:
        right = Counter(f for n in others for f in {r["file"] for r in predictions(n) if r["prediction"] == r["label"]})
        rows = [[f"`{file}`", f"{right[file]} of {len(others)}"] for file in sorted(never)]
        parts.append(table(("image", "right in settings of Tables IV and V and Fig. 10"), rows))
    return "\n\n".join(parts)


def balanced(truth: Sequence[bool], said: Sequence[bool], images: int) -> tuple[float, float]:
    """Balanced accuracy of two classes, and half of its 95 % interval: binomial deviations of both recalls.

    Args:
        truth: Class of each row.
        said: What is said of it.
        images: How many images the rows are of; those of several seeds count once.
    """
    recalls, variance = [], 0.0
    for label in (True, False):
        right = [is_ == label for was, is_ in zip(truth, said, strict=True) if was == label]
        recall = sum(right) / len(right)
        recalls.append(recall)
        variance += recall * (1 - recall) / (len(right) * images / len(truth))
    return sum(recalls) / 2, 1.96 * math.sqrt(variance) / 2


def transfers() -> str:
    """Models on the other data set; beside them, what they reach on their own, reduced to normal or not."""
    from examples.studies.generality import figures
    from madrnet_timm.data.sources import SOURCES
    from madrnet_timm.evaluation.intervals import wilson_interval

    rows: list[list[str]] = []
    for name, transfer in read_yaml(RESULTS / "transfers.yaml").items():
        source = SOURCES[read_runs()[transfer["own"]]["dataset"]]
        home = [row for row in predictions(transfer["own"]) if row["label"] != source.no_head]
        normal = [[row[key] == source.normal for row in home] for key in ("label", "prediction")]
        images, model = len({row["file"] for row in home}), f"`{transfer['title']}`"
        at_home, spread_at_home = balanced(normal[0], normal[1], images)
        own = f"{100 * at_home:.1f} ± {100 * spread_at_home:.1f}"
        rows.append([model, f"{source.title}, held out", "", str(images), "", own, "", ""])
        found = predictions(name)
        truth = [row["label"] == "normal" for row in found]
        for key, norms in (("normal", "as trained"), ("normal_adapted", "adapted")):
            by_figure = figures(found, key)
            there, spread = balanced(truth, [float(row[key]) > 0.5 for row in found], len(found))
            low, high = wilson_interval(round(by_figure["accuracy"] * len(found)), len(found))
            cells = [
                f"{100 * by_figure['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
                f"{100 * there:.1f} ± {100 * spread:.1f}",
                f"{100 * by_figure['AUC']:.1f}",
                f"{100 * (there - at_home):+.1f} ± {100 * math.hypot(spread, spread_at_home):.1f}",
            ]
            rows.append([model, transfer["tested"], norms, str(len(found)), *cells])
    last = ("accuracy, %", "balanced accuracy, %", "AUC, %", "against its own set, points")
    return table(("model", "tested on", "norms", "images", *last), rows)


def few_labels(dataset: str, figure: str = "accuracy") -> str:
    """How many labelled heads bring how much; mean and standard deviation over the draws, or the one draw.

    Args:
        dataset: That the heads are of.
        figure: ``accuracy``, or ``normal``: balanced, normal heads against all other heads.
    """
    from examples.studies.few_labels import WAYS, accuracy, normal_or_not, per_draw
    from madrnet_timm.data.sources import SOURCES

    source = SOURCES[dataset]
    judged = accuracy if figure == "accuracy" else partial(normal_or_not, normal=source.normal, no_head=source.no_head)
    found = per_draw(predictions(f"few-labels-{dataset}"), judged)
    sizes = sorted({heads for _, heads in found})
    rows: list[list[str]] = []
    for way in WAYS:
        values = [list(found.get((way, heads), {}).values()) for heads in sizes]
        if any(values):
            rows.append([way, " or ".join(map(str, sorted({len(v) for v in values if v}))), *map(spread, values)])
    return table(("way", "draws", *(f"{heads} heads of a class, %" for heads in sizes)), rows)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation; one value alone, or nothing."""
    if len(values) > 1:
        return f"{mean(values):.1f} ± {stdev(values):.1f}"
    return f"{values[0]:.1f}" if values else ""


def suspects(dataset: str) -> str:
    """How many labels are suspect, by what they are and what they might be."""
    found = Counter((row["reason"], row["label"], row["suggested"]) for row in predictions(f"suspects-{dataset}"))
    rows = [[*key, str(count)] for key, count in sorted(found.items(), key=lambda item: (item[0][0], -item[1]))]
    return table(("reason", "label", "might be", "images"), rows)


MAKERS: dict[str, Callable[..., str]] = {
    "tried": tried, "missed": missed, "transfers": transfers, "few-labels": few_labels, "suspects": suspects
}  # fmt: skip
"""As `tables.MAKERS`."""
