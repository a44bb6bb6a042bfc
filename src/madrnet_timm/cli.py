"""The verbs of the command ``madrnet``, which lie in ``commands/``."""

import argparse

from madrnet_command import command_parser

from .command import run_command

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    from .commands import (
        data,
        explain,
        export,
        measure,
        predict,
        prepare,
        publish,
        report,
        tsne,
    )  # late: they need OpenCV

    whole, verbs = command_parser()
    for verb in (measure, data, predict, report, explain, tsne, export, prepare, publish):
        verb.add_parser(verbs)
    return whole


def main(argv: list[str] | None = None) -> None:
    """Run ``madrnet`` with the arguments of the command line and exit with its status."""

    def run() -> int:
        args = parser().parse_args(argv)
        return args.verb(args)

    run_command(run)


if __name__ == "__main__":
    main()
