"""Several cross-validations as one model: the mean of their probabilities on the held-out pictures of each fold.

    python examples/ensemble.py runs/a runs/b --output runs/ensemble.csv
    python examples/ensemble.py runs/a --mirror --output runs/mirror.csv
    python examples/ensemble.py runs/a runs/b --measured --output runs/measured.csv

Each fold is predicted by the models that never saw its pictures. --mirror also shows each model the mirrored heads
(test-time augmentation). --measured adds what the control "shape and stain" says, logistic regression on the measured
heads of each fold's training pictures, as one model more: it misses other pictures than a network. The table has a row
a held-out picture: seed, fold, file, label, prediction, probabilities.
"""

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path, help="outputs of examples/cross_validate.py on the same folds")
    parser.add_argument("--mirror", action="store_true", help="also predict mirrored heads")
    parser.add_argument("--measured", action="store_true", help="also a linear model of measured shape and stain")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only these (all that all runs have)")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet: a row a held-out picture"
    )
    args = parser.parse_args()
    if len(args.run) < 2 and not args.mirror and not args.measured:
        parser.error("expected two runs, or one with --mirror or --measured")

    import numpy as np
    from tqdm import tqdm

    from madrnet_timm.data.sources import pictures
    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.controls import Controls
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.inference import Classifier
    from madrnet_timm.training.cross_validation import (
        cross_validated_options,
        held_out_predictions,
        summarize_predictions,
        summary_table,
    )

    check_table_name(args.output)
    tables = []
    for run in args.run:
        rows = held_out_predictions(run, args.seeds)
        tables.append({(row["seed"], row["fold"], row["file"]): row for row in rows})
    common = set.intersection(*({key[:2] for key in table} for table in tables))
    tables = [{key: row for key, row in table.items() if key[:2] in common} for table in tables]
    if not common or any(table.keys() != tables[0].keys() for table in tables):
        raise InputError(f"{', '.join(map(str, args.run))}: not the same pictures held out in the same folds and seeds")
    if any(row["pixel_sha256"] != table[key]["pixel_sha256"] for table in tables for key, row in tables[0].items()):
        raise InputError(
            f"{', '.join(map(str, args.run))}: not the same pictures, though their files have the same names"
        )
    if any(next(iter(table.values())).keys() != next(iter(tables[0].values())).keys() for table in tables):
        raise InputError(f"{', '.join(map(str, args.run))}: not the same classes")
    names = [key.removeprefix("p_") for key in next(iter(tables[0].values())) if key.startswith("p_")]
    sums = {key: np.zeros(len(names)) for key in tables[0]}
    for table in tables:
        for key, row in table.items():
            sums[key] += [float(row[f"p_{name}"]) for name in names]

    options = cross_validated_options(args.run[0])

    @cache
    def divided(seed: int) -> tuple[Any, Any]:
        records, folds, _ = replace(options, seed=seed).divided_records()
        held_out = {(seed, int(fold), file) for fold, file in zip(folds, records["file"], strict=True)}
        if {key for key in held_out if key[:2] in common} != {key for key in sums if key[0] == seed}:
            raise InputError(f"{options.data_dir}: not the pictures that {args.run[0]} held out; put those back")
        return records, folds

    if args.mirror:
        for seed, fold in tqdm(sorted(common), desc="mirrored"):
            records, folds = divided(seed)
            records = records.select(np.flatnonzero(folds == fold))
            images = list(pictures(records))
            for run in args.run:
                classifier = Classifier(run / f"seed{seed}-fold{fold}" / "model")
                mirrored = [classifier.prepare(image).view[:, ::-1] for image in images]
                for file, found in zip(records["file"], classifier.probabilities(mirrored), strict=True):
                    sums[seed, fold, file] += found
        sums = {key: total / 2 for key, total in sums.items()}
    if args.measured:
        controls = Controls(divided(min(common)[0])[0])
        for seed, fold in tqdm(sorted(common), desc="measured"):
            records, folds = divided(seed)
            found = controls.probabilities("shape and stain", folds != fold, folds == fold, len(names))
            for file, row in zip(records.select(np.flatnonzero(folds == fold))["file"], found, strict=True):
                sums[seed, fold, file] += row

    out: list[dict[str, Any]] = []
    for (seed, fold, file), total in sums.items():
        row = {"seed": seed, "fold": fold, "file": file, "label": tables[0][seed, fold, file]["label"]}
        row["prediction"] = names[int(total.argmax())]
        out.append(row | {f"p_{n}": round(float(p), 6) for n, p in zip(names, total / total.sum(), strict=True)})
    print(summary_table(summarize_predictions(out, names)))
    write_table(args.output, out)


if __name__ == "__main__":
    run_command(main)
