"""``madrnet quickstart``: the whole way on drawn heads."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..command import check_extra
from .arguments import saying_how_to_go_on

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    quickstart = verbs.add_parser(
        "quickstart",
        help=VERBS["quickstart"],
        description="Ask a published model about a head, draw heads, train a small model on them, save it, load it "
        "through timm, classify heads that it has never seen, and find, classify and count those of a drawn field "
        "of view. The same command again continues where it was.",
        epilog="Example: madrnet quickstart --output runs/quickstart",
    )
    quickstart.add_argument(
        "--output", type=Path, default=Path("runs/quickstart"), metavar="DIR", help="folder of the run (%(default)s)"
    )
    quickstart.add_argument("--epochs", type=int, default=40, metavar="N", help="passes over the heads (%(default)s)")
    quickstart.set_defaults(verb=_quickstart)


def _quickstart(args: argparse.Namespace) -> int:
    check_extra("train")
    from ..quickstart import quickstart

    with saying_how_to_go_on(args.output, "the same command"):
        quickstart(args.output, args.epochs)
    return 0
