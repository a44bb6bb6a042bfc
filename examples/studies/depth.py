"""Draw Fig. 10: accuracy of the ablation; memory and parameters of examples/studies/benchmark.py.

    python -m examples.studies.depth --output depth.png

From what lies in docs/results/. tools/results.py draws it anew with the pages.
"""

import argparse
from pathlib import Path

import yaml

from madrnet_timm.command import run_command

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def depth_figure(results: Path, path: Path) -> None:
    """Fig. 10.

    Args:
        results: Folder of the stored predictions, ``runs.yaml``, ``paper.yaml`` and ``benchmark.csv``.
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    from madrnet_timm.evaluation.summary import summarize_predictions
    from madrnet_timm.files import read_csv

    runs, paper = (yaml.safe_load((results / name).read_text(encoding="utf-8")) for name in ("runs.yaml", "paper.yaml"))
    rows = {title: row["run"] for title, row in paper["figure_10"]["rows"].items() if row["run"] in runs}
    depths = [int(title.split("=")[1]) for title in rows]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    top, memory, parameters = figure.subplots(1, 3)
    found = [summarize_predictions(read_csv(results / f"{name}.csv"), runs[name]["classes"]) for name in rows.values()]
    mean, sd = ([100 * getattr(f, key)["accuracy"] for f in found] for key in ("mean", "sd"))
    top.errorbar(depths, mean, sd, marker="o", capsize=3)
    top.set(ylabel="accuracy, %, ± sd over folds")
    top.set_title("HuSHeM, EfficientNet-Lite0, 80 px, 16 epochs", fontsize=10)
    measured = [
        row
        for row in read_csv(results / "benchmark.csv")
        if row["img_size"] == "512" and row["batch_size"] == "2" and row["machine"].startswith("CPU, 2 threads")
    ]
    for backbone in ("resnet50", "efficientnet_b0"):
        for axes, column, label in (
            (memory, "peak_ratio", "peak memory, × the backbone's"),
            (parameters, "parameters", "parameters, million"),
        ):
            values = {}
            for row in measured:
                depth = {"reversible": 3}.get(row["setting"])
                if row["setting"].startswith("reversible, depth "):
                    depth = int(row["setting"].rsplit(" ", 1)[1])
                if row["backbone"] == backbone and depth is not None:
                    values[depth] = float(row[column]) / (1e6 if column == "parameters" else 1)
            axes.plot(*zip(*sorted(values.items()), strict=True), marker="o", label=f"madrnet_{backbone}")
            axes.set(ylabel=label)
    for axes, title in (
        (memory, 'training at 512 px, batch 2, memory="reversible"'),
        (parameters, "four classes"),
    ):
        axes.margins(y=0.1)
        axes.set(ylim=(0, None))
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False)
    for axes in (top, memory, parameters):
        axes.set(xlabel="executions n of R", xticks=range(7))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("depth.png"), metavar="PNG", help="(%(default)s)")
    args = parser.parse_args()

    from madrnet_timm.files import replacing

    with replacing(args.output) as path:
        depth_figure(RESULTS, path)


if __name__ == "__main__":
    run_command(main)
