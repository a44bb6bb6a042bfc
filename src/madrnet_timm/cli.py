"""The verbs of the command ``madrnet``, each of which is a module of ``commands/``."""

import argparse
import sys
from collections.abc import Collection
from importlib import import_module

from madrnet_command import VERBS, command_parser

from .command import run_command

__all__ = ["main", "parser", "run_verb"]


def parser(words: Collection[str] = VERBS.keys()) -> argparse.ArgumentParser:
    """The parser of all verbs. Those that are not among ``words`` are not imported and have no options."""
    whole, verbs = command_parser()
    for verb, line in VERBS.items():
        if verb in words:
            import_module(f"{__package__}.commands.{verb.replace('-', '_')}").add_parser(verbs)
        else:
            verbs.add_parser(verb, help=line)
    return whole


def main(argv: list[str] | None = None) -> None:
    """Run ``madrnet`` with the arguments of the command line and exit with its status."""

    def run() -> int:
        words = sys.argv[1:] if argv is None else argv
        args = parser(words).parse_args(words)
        return args.verb(args)

    run_command(run)


def run_verb(verb: str) -> None:
    """Run one verb as a program of its own, whose command line holds the verb's options alone."""
    sys.argv.insert(1, verb)
    main()


if __name__ == "__main__":
    main()
