"""Tables of stored runs: accuracies beside the paper's, classes, folds, epochs, parameters, the runs themselves."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import mean, stdev

from madrnet_timm.evaluation.results import Summary

from .stored import RESULTS, against, controls, in_order, predictions, read_paper, read_runs, summary

Cell = float | str | None


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """In Markdown; None is an empty cell."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join("" if c is None else str(c) for c in row) + " |" for row in rows])


def mean_sd(found: Summary, key: str = "accuracy") -> str:
    """Per cent, mean ± standard deviation over folds."""
    return f"{100 * found.mean[key]:.1f} ± {100 * found.sd[key]:.1f}"


def seeds_of(found: Summary) -> str:
    return ", ".join(map(str, found.seeds))


def wilson(found: Summary) -> str:
    low, high = found.wilson
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def counted(found: Summary) -> list[Cell]:
    """Cells: seeds, accuracy, right images and their interval."""
    return [seeds_of(found), mean_sd(found), f"{found.right:.4g} of {found.images}", wilson(found)]


def difference(first: str, second: str) -> list[str]:
    """Cells: the difference with its interval, and p; empty for a run against itself."""
    if first == second:
        return ["", ""]
    found = against(first, second)
    return [str(found), f"{found.mcnemar_p:.2g}"]


def folds_of(name: str) -> list[str]:
    """Accuracy of each fold in per cent, seed by seed."""
    return [f"{100 * fold.figures['accuracy']:.1f}" for fold in summary(name).folds]


def overview() -> str:
    """The runs that matter most, and the controls on their folds."""
    given, rows = read_paper()["overview"], []
    for name in given["runs"]:
        rows.append([f"`{name}`", read_runs()[name]["title"], *counted(summary(name))])
    for name in given["controls"]:
        for control, found in controls(name).items():
            rows.append([control, f"control on the folds of `{name}`", *counted(found)])
    return table(("run", "what it is", "seeds", "accuracy, %", "right", "Wilson interval, %"), rows)


def accuracy(key: str) -> str:
    """Tables II and VI: the figures of others, ours, the controls."""
    given = read_paper()[key]
    own = given["runs"]
    rows: list[list[Cell]] = [[title, None, *values, None, None, None] for title, values in given["rows"].items()]
    for name in own:
        found = summary(name)
        cells = [mean_sd(found, kind) for kind in ("accuracy", "precision", "recall", "f1")]
        cells[0] += f" (± {100 * found.t_half_width['accuracy']:.1f}) {wilson(found)}"
        below = round(100 * found.mean["accuracy"] - given["paper"], 1) + 0.0  # no -0.0
        rows.append([f"`{name}`", seeds_of(found), *cells, f"{below:+.1f}", *difference(own[0], name)])
    for control, found in controls(own[0]).items():
        rows.append([f"control: {control}", None, mean_sd(found), *[None] * 6])
    last = ("against the paper's MADRNet", f"against `{own[0]}`", "p")
    return table(("run", "seeds", "accuracy, %", "precision", "recall", "F1", *last), rows)


def folds(key: str) -> str:
    """Every fold of a table's runs."""
    names = read_paper()[key]["runs"]
    seeds = sorted({seed for name in names for seed in summary(name).seeds})
    rows = []
    for name in names:
        found = [(fold.seed, f"{100 * fold.figures['accuracy']:.1f}") for fold in summary(name).folds]
        by_seed = [", ".join(accuracy for of, accuracy in found if of == seed) for seed in seeds]
        rows.append([f"`{name}`", *by_seed])
    return table(("run", *(f"seed {seed}" for seed in seeds)), rows)


def some_folds(key: str) -> str:
    """Runs of which some folds were trained, beside another run and the controls on the same images."""
    from madrnet_timm.evaluation.comparison import mcnemar
    from madrnet_timm.evaluation.controls import CONTROLS
    from madrnet_timm.evaluation.intervals import wilson_interval

    beside, out = read_paper()[key]["beside"], []
    for name in read_paper()[key]["runs"]:
        rows, found = predictions(name), summary(name)
        places = {(row["seed"], row["fold"]) for row in rows}
        others, said = (
            [row for row in predictions(other) if (row["seed"], row["fold"]) in places]
            for other in (beside, f"controls-{read_runs()[name]['dataset']}")
        )
        own, its = ({row["file"]: row["label"] == row["prediction"] for row in part} for part in (rows, others))
        low, high = (100 * value for value in wilson_interval(sum(own.values()), len(own)))
        p = mcnemar(sum(its[f] > own[f] for f in own), sum(its[f] < own[f] for f in own))
        out.append(
            [
                f"`{name}`",
                seeds_of(found),
                ", ".join(str(fold.fold) for fold in found.folds),
                ", ".join(folds_of(name)),
                f"{sum(own.values())} of {len(own)}",
                f"[{low:.1f}, {high:.1f}]",
                f"{sum(its.values())} of {len(its)}",
                f"{p:.2g}",
                *(f"{sum(row['label'] == row[control] for row in said)} of {len(said)}" for control in CONTROLS),
            ]
        )
    columns = ("run", "seed", "folds", "accuracy, %", "right", "Wilson interval, %", f"`{beside}`", "McNemar p")
    return table((*columns, *(f"control: {control}" for control in CONTROLS)), out)


def epochs(key: str) -> str:
    """The best epoch of each fold beside the last."""
    rows = []
    for name in read_paper()[key]["runs"]:
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in predictions(f"{name}-epochs"):
            found[row["seed"], row["fold"]].append(100 * float(row["accuracy"]))
        best, last = [max(values) for values in found.values()], [values[-1] for values in found.values()]
        which = [values.index(max(values)) + 1 for values in found.values()]
        both = (f"{mean(values):.1f} ± {stdev(values):.1f}" for values in (best, last))
        gain, span = f"{mean(best) - mean(last):+.1f}", f"{min(which)} to {max(which)}"
        seeds = ", ".join(sorted({seed for seed, _ in found}))
        rows.append([f"`{name}`", seeds, *both, gain, f"{span} of {max(map(len, found.values()))}"])
    return table(("run", "seeds", "best epoch, %", "last epoch, %", "gain, points", "best epochs"), rows)


def soup_seeds() -> str:
    """Right images of a soup, seed by seed, and of its trainings but the last, at whose end the soup is measured."""
    given = read_paper()["soup"]
    name, epochs = given["run"], int(given["epochs"])
    images = Counter((row["seed"], row["fold"]) for row in predictions(name))
    right: dict[str, Counter[int]] = defaultdict(Counter)
    for row in predictions(f"{name}-epochs"):
        training, rest = divmod(int(row["epoch"]), epochs)
        if not rest:
            right[row["seed"]][training] += round(float(row["accuracy"]) * images[row["seed"], row["fold"]])
    rows: list[list[Cell]] = []
    for seed, counts in sorted(right.items()):
        of = sum(count for place, count in images.items() if place[0] == seed)
        rows.append([seed, *(counts[training] for training in sorted(counts)), of])
    *alone, soup = sorted(next(iter(right.values())))
    return table(("seed", *(f"training {number} alone" for number in alone), f"soup of {soup}", "images"), rows)


def best_epochs(accuracies: Sequence[float], count: int = 5) -> float:
    """The mean of the best epochs of a fold after its first tenth, chosen by the held-out images: no result.

    So SHMC-Net's code reports (`top_n: 5`).
    """
    later = accuracies[int(0.1 * len(accuracies)) + 1 :]
    return mean(sorted(later)[-count:])


def rules(key: str) -> str:
    """Our runs by the rules of others: the last epoch, and what the choice of epochs by the held-out images prints."""
    rows: list[list[Cell]] = []
    for name in read_paper()["peers"][key]:
        found, run = summary(name), read_runs()[name]
        cells: list[Cell] = [f"`{name}`", run["title"], run["protocol"], seeds_of(found), mean_sd(found)]
        cells.append(f"{found.right:.4g} of {found.images}")
        if (RESULTS / f"{name}-epochs.csv").exists():
            folds: dict[tuple[str, str], list[float]] = defaultdict(list)
            for row in predictions(f"{name}-epochs"):
                folds[row["seed"], row["fold"]].append(100 * float(row["accuracy"]))
            chosen = [[best_epochs(values) for values in folds.values()], [max(values) for values in folds.values()]]
            cells += [f"{mean(values):.1f} ± {stdev(values):.1f}" for values in chosen]
        rows.append(cells + [None] * (8 - len(cells)))
    last = ("five best epochs, % (no result)", "best epoch, % (no result)")
    return table(("run", "what it is", "division", "seeds", "last epoch, %", "right", *last), rows)


def kinds(key: str) -> str:
    """Other kinds of model, measured as ours are, beside one of ours and the linear model of shape and stain."""
    given = read_paper()["kinds"][key]
    beside, rows = given["beside"], []
    for name in given["runs"]:
        rows.append([f"`{name}`", read_runs()[name]["title"], *counted(summary(name)), *difference(beside, name)])
    control = "shape and stain"
    rows.append([control, f"control on the folds of `{beside}`", *counted(controls(beside)[control]), "", ""])
    columns = ("run", "what it is", "seeds", "accuracy, %", "right", "Wilson interval, %")
    return table((*columns, f"against `{beside}`, points", "p"), rows)


def classes(key: str) -> str:
    """Table III."""
    (name,) = read_paper()[key]["runs"]
    rows: list[list[Cell]] = []
    for label, printed in read_paper()[key]["rows"].items():
        found = summary(name).pooled.per_class[label]
        figures = (found.precision, found.recall, found.f1)
        rows.append([label, *(f"{100 * figure:.1f}" for figure in figures), *printed])
    return table(("class", "precision, %", "recall", "F1", "the paper: precision", "recall", "F1"), rows)


def ablation(key: str) -> str:
    """Tables IV and V, Fig. 10: each row against the full model."""
    given, rows = read_paper()[key], []
    for title, row in given["rows"].items():
        found = summary(row["run"])
        cells = [mean_sd(found), mean_sd(found, "f1"), *difference(given["full"], row["run"])]
        rows.append([title, *cells, *row["paper"]])
    return table(("", "accuracy, %", "F1", "against MADRNet, points", "p", "the paper: accuracy", "F1"), rows)


def parameters(key: str) -> str:
    """Fig. 11, with four classes."""
    import timm
    import torch

    import madrnet_timm  # noqa: F401

    rows: list[list[Cell]] = []
    for name, printed in read_paper()[key]["rows"].items():
        with torch.device("meta"):
            count = sum(p.numel() for p in timm.create_model(name, num_classes=4).parameters())
        rows.append([f"`{name}`", f"{count / 1e6:.2f}", printed])
    return table(("network", "parameters, million", "the paper"), rows)


def protocols() -> str:
    """Runs that are divided in another way than by groups."""
    rows = []
    for name, run in read_runs().items():
        if run["protocol"] != "grouped":
            found = summary(name)
            cells = [f"{100 * found.mean['accuracy']:.1f}", wilson(found), ", ".join(folds_of(name))]
            said = [mean_sd(control) for control in controls(name).values()]
            rows.append([f"`{name}`", run["protocol"], seeds_of(found), *cells, *said])
    columns = ("run", "protocol", "seeds", "accuracy, %", "Wilson interval, %", "folds")
    return table((*columns, "control: largest class", "control: background", "control: shape and stain"), rows)


def names(prefix: str) -> str:
    """What each stored run is whose name starts with a prefix."""
    found = {name: run for name, run in read_runs().items() if name.startswith(prefix)}
    return table(
        ("run", "what it is", "seeds"),
        [[f"[`{name}`](results/{name}.csv)", run["title"], seeds_of(summary(name))] for name, run in found.items()],
    )


def commands() -> str:
    """The command of every stored run."""
    return "```bash\n" + "\n\n".join(f"# {name}\n{read_runs()[name]['command']}" for name in in_order()) + "\n```"


def benchmark(device: str, backbone: str) -> str:
    """Memory of a training step at 512 px, and on a GPU its time."""
    columns = {"R": "setting", "peak memory, MB": "peak_mb", "× bare": "peak_ratio"}
    if device != "CPU":
        columns["step, × bare"] = "step_ratio"
    rows = [
        [row[column] for column in columns.values()]
        for row in predictions("benchmark")
        if row["machine"].startswith(device) and row["backbone"] == backbone and row["img_size"] == "512"
    ]
    return table(tuple(columns), rows)


def engine() -> str:
    """The reversible engine alone."""
    columns = ("n", "setting", "step, × plain", "floor", "held, MB", "peak, MB", "error, float32", "error, bfloat16")
    return table(columns, [list(row.values()) for row in predictions("engine")])


def choices() -> str:
    """Norms and dropout in R."""
    from examples.studies.choices import markdown

    numbers = [
        {key: value if key == "setting" else float(value) for key, value in row.items()}
        for row in predictions("choices")
    ]
    return markdown(numbers)


MAKERS: dict[str, Callable[..., str]] = {
    "overview": overview, "accuracy": accuracy, "folds": folds, "some-folds": some_folds, "epochs": epochs,
    "rules": rules, "kinds": kinds, "classes": classes, "ablation": ablation, "parameters": parameters,
    "protocols": protocols, "names": names, "commands": commands, "benchmark": benchmark, "engine": engine,
    "choices": choices, "soup": soup_seeds,
}  # fmt: skip
"""By the first word of a marked place; the other words are arguments."""
