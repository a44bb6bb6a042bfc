"""Distil one cross-validated MADRNet, or several, into a smaller one, and measure what that gains.

    python examples/distill.py runs/hushem --dataset hushem --data-dir DIR --model madrnet_mobilenetv3_small_050

The student is cross-validated twice on the same folds: alone, and following the teachers' probabilities and embeddings
(for each fold those of the teachers that never saw its pictures). Several teachers are an ensemble. The two are
compared paired. The same command again goes on where it was cut off.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from madrnet_timm.command import run_command
from madrnet_timm.commands.training_arguments import add_arguments, from_arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", nargs="+", type=Path, help="outputs of examples/cross_validate.py, the same folds")
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="of folds and training (0)")
    args = parser.parse_args()

    from madrnet_timm.training.cross_validation import compare_runs, cross_validate, fold_options

    options = from_arguments(args)
    seeds = sorted(set(args.seeds))
    alone = replace(options, output=options.output / "alone")
    distilled = replace(options, output=options.output / "distilled", teachers=tuple(args.teacher))
    fold_options(distilled, seeds)  # do the teachers fit? before the first is trained
    print(f"alone\n{cross_validate(alone, seeds)}\n", flush=True)
    print(f"distilled\n{cross_validate(distilled, seeds)}\n", flush=True)
    found = compare_runs(alone.output, distilled.output)
    print(
        f"gain, points: {found} (95 % t interval over folds; noise: it contains 0, or the p that follows is 0.05 or "
        f"more); pictures that only the distilled student gets right: {found.only_second}, only the other: "
        f"{found.only_first} (exact McNemar p = {found.mcnemar_p:.2g})"
    )


if __name__ == "__main__":
    run_command(main)
