"""Several cross-validations as one model: the mean of their probabilities on the held-out pictures of each fold.

    python examples/ensemble.py runs/a runs/b --output runs/ensemble.csv
    python examples/ensemble.py runs/a --mirror --output runs/mirror.csv

Each fold is predicted by the models that never saw its pictures. --mirror also shows each model the mirrored heads
(test-time augmentation). The table has a row a held-out picture: seed, fold, file, label, prediction, probabilities.
"""

import argparse
from pathlib import Path
from typing import Any

from madrnet_timm.training.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path, help="outputs of examples/cross_validate.py on the same folds")
    parser.add_argument("--mirror", action="store_true", help="also predict mirrored heads")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only these (all that all runs have)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".csv: a row a held-out picture")
    args = parser.parse_args()

    import numpy as np
    from tqdm import tqdm

    from madrnet_timm.data.sources import class_names, pictures
    from madrnet_timm.errors import InputError
    from madrnet_timm.files import check_table_name, write_table
    from madrnet_timm.inference import Classifier
    from madrnet_timm.training.cross_validation import held_out_predictions, summarize_predictions, summary_table
    from madrnet_timm.training.loop import divided_records
    from madrnet_timm.training.options import RunOptions
    from madrnet_timm.training.run_folder import RunFolder

    check_table_name(args.output)
    folds_of = []
    for run in args.run:
        held_out: dict[tuple[int, int], set[str]] = {}
        for row in held_out_predictions(run):
            if args.seeds is None or row["seed"] in args.seeds:
                held_out.setdefault((row["seed"], row["fold"]), set()).add(row["file"])
        folds_of.append(held_out)
    common = sorted(set.intersection(*(set(folds) for folds in folds_of)))
    if not common or any(folds[key] != folds_of[0][key] for folds in folds_of for key in common):
        raise InputError(f"{', '.join(map(str, args.run))}: not the same pictures held out in the same folds and seeds")

    rows: list[dict[str, Any]] = []
    names: list[str] = []
    for seed, fold in tqdm(common, desc="folds"):
        first = args.run[0] / f"seed{seed}-fold{fold}"
        records, folds, _ = divided_records(RunOptions.from_config(RunFolder(first).options(), first))
        records = records.select(np.flatnonzero(folds == fold))
        names = class_names(records)
        total = np.zeros((len(records), len(names)))
        for run in args.run:
            classifier = Classifier(run / f"seed{seed}-fold{fold}" / "model")
            views = [classifier.prepare(np.asarray(image)).view for image in pictures(records)]
            for shown in (views, [view[:, ::-1] for view in views]) if args.mirror else (views,):
                logits = classifier.backend(classifier.normalized(shown)).astype(np.float64)
                exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
                total += exponentials / exponentials.sum(axis=1, keepdims=True)
        total /= total.sum(axis=1, keepdims=True)
        for file, label, mean in zip(records["file"], records["label"], total, strict=True):
            row = {"seed": seed, "fold": fold, "file": file, "label": names[label]}
            row["prediction"] = names[int(mean.argmax())]
            rows.append(row | {f"p_{name}": round(float(p), 6) for name, p in zip(names, mean, strict=True)})
    print(summary_table(summarize_predictions(rows, names)))
    write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
