"""Train a recipe on every fold in turn and sum up what the held-out pictures say.

    python examples/cross_validate.py --dataset hushem --data-dir DIR --output runs/hushem

Each fold gets a run folder of its own below --output. Folds that are finished are kept, one that was cut off goes on
where it was: the same command again does the rest. The table goes to summary.csv and summary.json.
"""

import argparse

from madrnet_timm.training.command import run_command
from madrnet_timm.training.options import add_arguments, from_arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args()

    if args.folds < 2:
        parser.error(f"--folds {args.folds}: expected at least 2")
    from madrnet_timm.training.cross_validation import cross_validate

    print(cross_validate([from_arguments(args, fold=fold) for fold in range(args.folds)]))


if __name__ == "__main__":
    run_command(main)
