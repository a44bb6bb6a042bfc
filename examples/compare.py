"""Is the second of two cross-validations better? On the same pictures and folds, paired.

    python examples/compare.py runs/plain runs/madrnet
    python examples/compare.py runs/madrnet runs/ensemble.csv --seeds 0

Prints the exact McNemar test on the pictures (one that several seeds predicted counts as right where most of them were)
and the paired t interval of the folds' accuracies; on the seeds that both have, or those of --seeds.
"""

import argparse
from pathlib import Path

from madrnet_timm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "first", type=Path, help="output of examples/cross_validate.py, or a table of examples/ensemble.py"
    )
    parser.add_argument("second", type=Path, help="another, with the same data, protocol and folds")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only these (all that both have)")
    args = parser.parse_args()

    from madrnet_timm.training.cross_validation import compare_runs

    found = compare_runs(args.first, args.second, args.seeds)
    print(f"seeds: {', '.join(map(str, found.seeds))}")
    print(f"pictures that only {args.first} gets right: {found.only_first}; only {args.second}: {found.only_second}")
    print(f"exact McNemar test: p = {found.mcnemar_p:.3g}")
    print(
        f"accuracy of {args.second} minus that of {args.first}, points: {found} "
        f"(95 % t interval over folds; noise: it contains 0, or McNemar's p is 0.05 or more), p = {found.t_p:.3g}"
    )


if __name__ == "__main__":
    run_command(main)
