"""The verbs of the command ``madrnet``, each of which is a module of ``commands/``."""

import argparse
import sys
from importlib import import_module

from madrnet_command import VERBS, command_parser

from .command import run_command

__all__ = ["main", "parser", "run_verb"]


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    whole, verbs = command_parser()
    for verb in VERBS:  # late: they need OpenCV
        import_module(f"{__package__}.commands.{verb.replace('-', '_')}").add_parser(verbs)
    return whole


def main(argv: list[str] | None = None) -> None:
    """Run ``madrnet`` with the arguments of the command line and exit with its status."""

    def run() -> int:
        args = parser().parse_args(argv)
        return args.verb(args)

    run_command(run)


def run_verb(verb: str) -> None:
    """Run one verb as a program of its own, whose command line holds the verb's options alone."""
    sys.argv.insert(1, verb)
    main()


if __name__ == "__main__":
    main()
