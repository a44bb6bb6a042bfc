"""What simple controls reach on the folds of a data set: the largest class, the background alone, shape and stain.

    python -m examples.studies.controls --dataset hushem --data-dir DIR --seeds 0 1 2
    python -m examples.studies.controls --dataset hushem --data-dir DIR --protocol session

An accuracy means something only beside these figures. Every training run has those of its own fold in metrics.json.
"""

import argparse
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.commands.arguments import add_training_seeds
from madrnet_timm.commands.data_arguments import add_data_arguments, add_fold_arguments, settle_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_fold_arguments(parser)
    add_training_seeds(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".csv or .parquet: one row per held-out image and seed, what each control says",
    )
    args = parser.parse_args()
    settle_dataset(args)

    import numpy as np
    from tqdm import tqdm

    from madrnet_timm.data.folds import divided_records
    from madrnet_timm.data.sources import class_names
    from madrnet_timm.evaluation.controls import CONTROLS, Controls
    from madrnet_timm.evaluation.intervals import t_interval
    from madrnet_timm.files import check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    rows: list[dict[str, Any]] = []
    accuracies: dict[str, list[float]] = {name: [] for name in CONTROLS}
    controls = None
    for seed in sorted(set(args.seeds)):
        records, folds, _ = divided_records(
            args.dataset, args.data_dir, args.protocol, args.folds, seed, args.skip_unreadable
        )
        names, files, labels = class_names(records), list(records["file"]), np.array(records["label"])
        controls = controls or Controls(records)
        for fold in tqdm(range(int(folds.max()) + 1), desc=f"seed {seed}", disable=None):
            held_out = np.flatnonzero(folds == fold)
            said = {name: controls.predict(name, folds != fold, folds == fold) for name in CONTROLS}
            for name, values in said.items():
                accuracies[name].append(100 * float((values == labels[held_out]).mean()))
            for place, index in enumerate(held_out):
                row = {"seed": seed, "fold": fold, "file": files[index], "label": names[labels[index]]}
                rows.append(row | {name: names[values[place]] for name, values in said.items()})
    for name, found in accuracies.items():
        mean, sd, _ = t_interval(found)
        print(f"{name:<16} {mean:5.1f} ± {sd:4.1f} %   ({' '.join(f'{value:.1f}' for value in found)})")
    if args.output is not None:
        write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
