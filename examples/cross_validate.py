"""Train a recipe on every fold in turn and sum up what the held-out pictures say, with the controls beside it.

    python examples/cross_validate.py --dataset hushem --data-dir DIR --output runs/hushem
    python examples/cross_validate.py --dataset hushem --data-dir DIR --seeds 0 1 2 --protocol session --output runs/out

Each fold gets a run folder of its own below --output. Folds that are finished are kept, one that was cut off goes on
where it was: the same command again does the rest. The table goes to summary.csv and summary.json, the pictures'
probabilities to predictions.csv.
"""

import argparse

from madrnet_timm.command import run_command
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="of folds and training, one after the other (0)"
    )
    args = parser.parse_args()

    from madrnet_timm.training.cross_validation import cross_validate

    print(cross_validate(from_arguments(args), sorted(set(args.seeds))))


if __name__ == "__main__":
    run_command(main)
