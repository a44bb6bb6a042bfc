"""Measure the choices inside R: normalisation layer, dropout; each on the same folds and budget.

    python -m examples.studies.choices --dataset hushem --data-dir DIR --output runs/choices \\
        --backbone-weights tf_efficientnet_lite0.in1k.safetensors --img-size 80 --epochs 24

Every setting is a cross-validation below --output; finished folds are kept. For each, the accuracy on the held-out
folds, and how far the trained network's outputs in eval mode lie from those with batch statistics in R's norms: the gap
that a running average opens where it fits badly. The table goes to choices.csv
(one row per fold) and, in Markdown, to the screen.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments
from madrnet_timm.training.run_config import RunConfig

SETTINGS: dict[str, dict[str, Any]] = {
    "batch norm, one an execution": {},
    "layer norm": {"norm_layer": "layernorm2d"},
    "group norm": {"norm_layer": "groupnorm"},
    "no dropout in F": {"proj_drop_rate": 0.0},
    "dropout 0.4 in F": {"proj_drop_rate": 0.4},
}
"""The first is the default; each of the others differs from it in one argument."""


def outputs_gap(config: RunConfig) -> dict[str, float]:
    """Held-out accuracy and cross entropy of a finished fold, with running and with batch statistics in R's norms."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    from madrnet_timm.data.sources import images_of
    from madrnet_timm.inference import Classifier

    records, folds, _ = config.divided_records()
    held_out = records.select(np.flatnonzero(folds == config.fold))
    classifier = Classifier(config.output / "model")
    model: Any = classifier.model
    x, labels = classifier.tensors(list(images_of(held_out))), torch.tensor(held_out["label"])
    out = {}
    with torch.inference_mode():
        for name in ("running", "batch"):
            for module in model.reversible.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.train(name == "batch")
            logits = model(x)
            out[f"accuracy_{name}"] = float((logits.argmax(1) == labels).float().mean())
            out[f"loss_{name}"] = float(F.cross_entropy(logits, labels))
    return out


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One line per setting: mean ± sd over folds, and the difference from the default paired by fold."""
    from madrnet_timm.evaluation.intervals import difference_interval, t_interval

    by_setting: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_setting.setdefault(row["setting"], []).append(row)
    default = by_setting[next(iter(by_setting))]
    lines = [
        "| setting | accuracy, % | against the first, points (95 %) | gap of held-out loss | gap of accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, folds in by_setting.items():
        mean, sd, _ = t_interval([100 * row["accuracy"] for row in folds])
        pairs = zip(folds, default, strict=True)
        difference, half = difference_interval([100 * (a["accuracy"] - b["accuracy"]) for a, b in pairs])
        against = "" if folds is default else f"{difference:+.1f} ± {half:.1f}"
        loss = sum(row["loss_running"] - row["loss_batch"] for row in folds) / len(folds)
        accuracy = 100 * sum(row["accuracy_running"] - row["accuracy_batch"] for row in folds) / len(folds)
        lines.append(f"| {name} | {mean:.1f} ± {sd:.1f} | {against} | {loss:+.3f} | {accuracy:+.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args()
    args.output = args.output or Path("runs/choices")

    from madrnet_timm.evaluation.results import Metrics
    from madrnet_timm.files import write_csv
    from madrnet_timm.training.cross_validation import cross_validate, fold_configs

    rows: list[dict[str, Any]] = []
    for name, kwargs in SETTINGS.items():
        output = args.output / name.replace(" ", "-").replace(",", "")
        config = replace(from_arguments(args, output=output), model_kwargs=dict(args.model_kwargs) | kwargs)
        print(f"{name}\n{cross_validate(config)}", flush=True)
        for run in fold_configs(config):
            accuracy = Metrics.read(run.output / "metrics.json").accuracy
            rows.append({"setting": name, "fold": run.fold, "accuracy": accuracy} | outputs_gap(run))
        write_csv(args.output / "choices.csv", rows)
    print(markdown(rows))


if __name__ == "__main__":
    run_command(main)
