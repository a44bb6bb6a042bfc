"""The command ``madrnet``: its verbs lie in ``commands/``."""

import argparse
import sys

from .command import run_command
from .commands import data, explain, export, measure, predict, publish, report, tsne

__all__ = ["main"]

_VERBS = (measure, data, predict, report, explain, tsne, export, publish)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="madrnet",
        description="Sperm heads classified and measured. Research use only; not a medical device.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add_parser(verbs)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run ``madrnet`` with the arguments of the command line and exit with its status."""
    args = _parser().parse_args(argv)
    status = 0

    def run() -> None:
        nonlocal status
        status = args.verb(args)

    run_command(run)
    sys.exit(status)


if __name__ == "__main__":
    main()
