"""Write docs/results.md from the stored predictions, beside the paper's figures.

    python examples/results.py --add hushem-madrnet runs/hushem --title "MADRNet, EfficientNet-Lite0"
    python examples/results.py

The first line stores the predictions and controls of a cross-validation in docs/results/<name>.csv and its description
in docs/results/runs.yaml; both write the page anew. No figure of the page is written by hand: a test recomputes it.
"""

import argparse
from pathlib import Path
from typing import Any

import yaml

from madrnet_timm.training.command import run_command

RESULTS = Path(__file__).parents[1] / "docs" / "results"
HEAD = """# Results

Made by `python examples/results.py` from the predictions in `docs/results/`; the paper's figures are those that it
prints. Our folds are stratified and divide no cell; the number of epochs was fixed beforehand, and the recipe `quick`
was chosen among five settings after short runs on HuSHeM's folds, which flatters a little. ± is the standard deviation
over folds, (±) half of the 95 % t interval of the mean (df = folds − 1), [ ] the Wilson interval of the pooled
pictures. One picture of a HuSHeM fold is 2.3 points: differences below about 4 points mean nothing. The paper divides
picture by picture, at 512 px, and does not align. **Research use only; not a medical device.**
"""


def add(name: str, output: Path, title: str) -> None:
    """Store a cross-validation."""
    from madrnet_timm.files import write_csv, write_text
    from madrnet_timm.training.cross_validation import held_out_predictions, summarize
    from madrnet_timm.training.shipping import commands, cross_validated_options

    rows, summary, options = held_out_predictions(output), summarize(output), cross_validated_options(output)
    kept = ("seed", "fold", "file", "label", "prediction")
    write_csv(RESULTS / f"{name}.csv", [{key: row[key] for key in kept} for row in rows])
    controls = {k.removeprefix("control "): round(v, 6) for k, v in summary["mean"].items() if k.startswith("control ")}
    classes = list(summary["pooled"]["per_class"])
    runs = read_runs() | {
        name: {
            "title": title,
            "dataset": options.dataset,
            "protocol": options.protocol,
            "command": commands(options, sorted({row["seed"] for row in summary["folds"]}), name).split(" && ")[0],
            "classes": classes,
            "controls": controls,
        }
    }
    write_text(RESULTS / "runs.yaml", yaml.safe_dump(runs, sort_keys=False, allow_unicode=True, width=120))


def read_runs() -> dict[str, dict[str, Any]]:
    """Descriptions of the stored cross-validations by name."""
    path = RESULTS / "runs.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def page() -> str:
    """The page's text."""
    from madrnet_timm.files import read_csv
    from madrnet_timm.training.cross_validation import summarize_predictions

    paper = yaml.safe_load((RESULTS / "paper.yaml").read_text(encoding="utf-8"))
    runs = read_runs()
    found = {
        name: summarize_predictions(read_csv(RESULTS / f"{name}.csv"), run["classes"]) for name, run in runs.items()
    }
    parts = [HEAD]
    for key in ("table_2", "table_6"):
        table = paper[key]
        own = {n: run for n, run in runs.items() if run["dataset"] == table["dataset"] and run["protocol"] == "grouped"}
        parts.append(f"\n## {table['title']}\n")
        parts.append("| | accuracy, % | precision | recall | F1 | folds |\n|---|---|---|---|---|---|")
        for title, values in table["rows"].items():
            parts.append(f"| {title} | {' | '.join('' if v is None else f'{v:g}' for v in values)} | its own |")
        for name, run in own.items():
            mean, sd, half, (low, high) = (found[name][key] for key in ("mean", "sd", "t_half_width", "wilson"))
            cells = [f"{100 * mean[k]:.1f} ± {100 * sd[k]:.1f}" for k in ("accuracy", "precision", "recall", "f1")]
            cells[0] += f" (± {100 * half['accuracy']:.1f}) [{100 * low:.1f}, {100 * high:.1f}]"
            folds = ", ".join(f"{100 * row['accuracy']:.1f}" for row in found[name]["folds"])
            parts.append(f"| **{run['title']}**, ours | {' | '.join(cells)} | {folds} |")
        if own:
            controls = next(iter(own.values()))["controls"]
            parts += [f"| control: {name} | {100 * value:.1f} | | | | |" for name, value in controls.items()]
    parts.append(f"\n## {paper['table_3']['title']}\n")
    parts.append(
        "| class | precision, % | recall | F1 | the paper: precision | recall | F1 |\n|---|---|---|---|---|---|---|"
    )
    for name, run in runs.items():
        if run["dataset"] != "hushem" or run["protocol"] != "grouped":
            continue
        for label, printed in paper["table_3"]["rows"].items():
            row = found[name]["pooled"]["per_class"][label]
            cells = [f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1")] + [f"{v:g}" for v in printed]
            parts.append(f"| {run['title']}: {label} | {' | '.join(cells)} |")
    others = {name: run for name, run in runs.items() if run["protocol"] != "grouped"}
    if others:
        parts.append("\n## Other protocols\n")
        parts.append("| | protocol | accuracy, % | folds | controls, % |\n|---|---|---|---|---|")
        for name, run in others.items():
            controls = ", ".join(f"{key} {100 * value:.1f}" for key, value in run["controls"].items())
            folds = ", ".join(f"{100 * row['accuracy']:.1f}" for row in found[name]["folds"])
            mean = 100 * found[name]["mean"]["accuracy"]
            parts.append(f"| {run['title']} | {run['protocol']} | {mean:.1f} | {folds} | {controls} |")
    parts.append("\n## Commands\n")
    parts += [f"{run['title']}, {run['dataset']}:\n\n```bash\n{run['command']}\n```\n" for run in runs.values()]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs=2, metavar=("NAME", "OUTPUT"), help="store a cross-validation under a name")
    parser.add_argument("--title", help="of the one that is added")
    args = parser.parse_args()

    from madrnet_timm.files import write_text

    if args.add:
        if not args.title:
            parser.error("--add needs --title")
        add(args.add[0], Path(args.add[1]), args.title)
    write_text(RESULTS.parent / "results.md", page())


if __name__ == "__main__":
    run_command(main)
