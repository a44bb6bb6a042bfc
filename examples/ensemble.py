"""Several cross-validations as one model: the mean of their probabilities on the held-out pictures of each fold.

    python examples/ensemble.py runs/a runs/b --output runs/ensemble.csv
    python examples/ensemble.py runs/a --mirror --output runs/mirror.csv
    python examples/ensemble.py runs/a runs/b --measured --output runs/measured.csv

Each run is an output of examples/cross_validate.py, or a table of predictions with probabilities (CSV, as this command
writes it). Each fold is predicted by the models that never saw its pictures. --mirror also shows each model the
mirrored heads (test-time augmentation). --measured adds what the control "shape and stain" says, logistic regression on
the measured heads of each fold's training pictures, as one model more. The table has a row a held-out picture: seed,
fold, file, label, prediction, probabilities.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command

Rows = dict[tuple[int, int, str], dict[str, Any]]
"""By seed, fold and file."""


def same_pictures(runs: Sequence[Path], seeds: Sequence[int] | None) -> tuple[list[Rows], list[str]]:
    """Held-out predictions of each run, in the seeds and folds that all have, and the classes.

    Raises:
        InputError: Other pictures, folds, labels or classes; no probabilities.
    """
    from madrnet_timm.errors import InputError
    from madrnet_timm.training.cross_validation import held_out_predictions

    tables, classes = [], []
    for run in runs:
        rows = held_out_predictions(run, seeds)
        tables.append({(row["seed"], row["fold"], row["file"]): row for row in rows})
        if len(tables[-1]) < len(rows):
            raise InputError(f"{run}: has a picture twice in a fold and seed")
        classes.append([column.removeprefix("p_") for column in rows[0] if column.startswith("p_")])
        if not classes[-1]:
            raise InputError(f"{run}: has no probabilities (columns p_<class>); give the output that it was made from")
        if unknown := {row["label"] for row in rows} - set(classes[-1]):
            raise InputError(f"{run}: label {unknown.pop()}, expected one of {', '.join(classes[-1])}")
    named = ", ".join(map(str, runs))
    if any(set(names) != set(classes[0]) for names in classes):
        raise InputError(f"{named}: not the same classes")
    common = set.intersection(*({key[:2] for key in table} for table in tables))
    tables = [{key: row for key, row in table.items() if key[:2] in common} for table in tables]
    if not common or any(table.keys() != tables[0].keys() for table in tables):
        raise InputError(f"{named}: not the same pictures held out in the same folds and seeds")
    for key in tables[0]:
        for column in ("pixel_sha256", "label"):
            if len({table[key][column] for table in tables if column in table[key]}) > 1:
                raise InputError(
                    f"{named}: {key[2]} has not the same {column} in all of them; give runs on one data set"
                )
    return tables, classes[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", nargs="+", type=Path, help="outputs of examples/cross_validate.py, or tables; same folds"
    )
    parser.add_argument("--mirror", action="store_true", help="also predict mirrored heads")
    parser.add_argument("--measured", action="store_true", help="also a linear model of measured shape and stain")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only these (all that all runs have)")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet: a row a held-out picture"
    )
    args = parser.parse_args()
    if len(args.run) < 2 and not args.mirror and not args.measured:
        parser.error("expected two runs, or one with --mirror or --measured")
    outputs = [run for run in args.run if not run.is_file()]
    if args.mirror and len(outputs) < len(args.run):
        parser.error("--mirror needs the models: outputs of examples/cross_validate.py, not tables")
    if args.measured and not outputs:
        parser.error("--measured needs an output of examples/cross_validate.py, which says where the pictures lie")

    import numpy as np
    from tqdm import tqdm

    from madrnet_timm.data.sources import class_names, pictures
    from madrnet_timm.errors import InputError
    from madrnet_timm.evaluation.controls import Controls
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.inference import Classifier
    from madrnet_timm.training.cross_validation import (
        cross_validated_options,
        summarize_predictions,
        summary_table,
    )

    check_table_name(args.output)
    tables, names = same_pictures(args.run, args.seeds)
    sums = {key: np.zeros(len(names)) for key in tables[0]}
    for table in tables:
        for key, row in table.items():
            sums[key] += [float(row[f"p_{name}"]) for name in names]
    places = sorted({key[:2] for key in sums})

    @cache
    def divided(seed: int) -> tuple[Any, Any]:
        options, table = cross_validated_options(outputs[0]), tables[args.run.index(outputs[0])]
        records, folds, _ = replace(options, seed=seed).divided_records()
        now = {
            (seed, int(fold), file): pixels
            for fold, file, pixels in zip(folds, records["file"], records["pixel_sha256"], strict=True)
        }
        then = {key: row["pixel_sha256"] for key, row in table.items() if key[0] == seed}
        if {key: pixels for key, pixels in now.items() if key[:2] in places} != then:
            raise InputError(
                f"{outputs[0]}: its pictures or folds (--data-dir {options.data_dir}, --folds {options.folds}) have "
                "changed since it was trained; put them back"
            )
        return records, folds

    def order(classes: Sequence[str]) -> list[int]:
        return [list(classes).index(name) for name in names]

    if args.mirror:
        for seed, fold in tqdm(places, desc="mirrored", disable=None):
            records, folds = divided(seed)
            held_out = records.select(np.flatnonzero(folds == fold))
            images = list(pictures(held_out))
            for run in args.run:
                classifier = Classifier(run / f"seed{seed}-fold{fold}" / "model")
                views = [classifier.prepare(image).view[:, ::-1] for image in images]
                mirrored = classifier.probabilities(views)[:, order(classifier.label_names)]
                for file, found in zip(held_out["file"], mirrored, strict=True):
                    sums[seed, fold, file] += found
        sums = {key: total / 2 for key, total in sums.items()}
    if args.measured:
        every = divided(places[0][0])[0]
        controls, classes = Controls(every), class_names(every)
        for seed, fold in tqdm(places, desc="measured", disable=None):
            records, folds = divided(seed)
            measured = controls.probabilities("shape and stain", folds != fold, folds == fold, len(classes))
            held_out = records.select(np.flatnonzero(folds == fold))
            for file, found in zip(held_out["file"], measured[:, order(classes)], strict=True):
                sums[seed, fold, file] += found

    out: list[dict[str, Any]] = []
    for (seed, fold, file), total in sums.items():
        row = {"seed": seed, "fold": fold, "file": file, "label": tables[0][seed, fold, file]["label"]}
        row["prediction"] = names[int(total.argmax())]
        out.append(row | {f"p_{n}": round(float(p), 6) for n, p in zip(names, total / total.sum(), strict=True)})
    print(summary_table(summarize_predictions(out, names)))
    write_table(args.output, out)


if __name__ == "__main__":
    run_command(main)
