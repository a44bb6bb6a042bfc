"""What simple controls reach on the folds of a data set: the largest class, the background alone, shape and stain.

    python examples/controls.py --dataset hushem --data-dir DIR --seeds 0 1 2
    python examples/controls.py --dataset hushem --data-dir DIR --protocol session

An accuracy means something only beside these figures. Every training run has those of its own fold in metrics.json.
"""

import argparse
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.data.arguments import add_data_arguments, add_fold_arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_fold_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="of the folds (0)")
    parser.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet: a row a control and fold")
    args = parser.parse_args()

    from tqdm import tqdm

    from madrnet_timm.data.folds import divided_records
    from madrnet_timm.evaluation.controls import CONTROLS, Controls
    from madrnet_timm.evaluation.intervals import t_interval
    from madrnet_timm.files import check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    rows: list[dict[str, Any]] = []
    controls = None
    for seed in sorted(set(args.seeds)):
        records, folds, _ = divided_records(args.dataset, args.data_dir, args.protocol, args.folds, seed)
        controls = controls or Controls(records)
        for fold in tqdm(range(int(folds.max()) + 1), desc=f"seed {seed}"):
            found = controls.accuracies(folds != fold, folds == fold)
            rows += [{"control": name, "seed": seed, "fold": fold, "accuracy": found[name]} for name in CONTROLS]
    for name in CONTROLS:
        mean, sd, _ = t_interval([100 * row["accuracy"] for row in rows if row["control"] == name])
        values = " ".join(f"{100 * row['accuracy']:.1f}" for row in rows if row["control"] == name)
        print(f"{name:<16} {mean:5.1f} ± {sd:4.1f} %   ({values})")
    if args.output is not None:
        write_table(args.output, rows)


if __name__ == "__main__":
    run_command(main)
