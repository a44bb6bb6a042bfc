"""Options that name a data set and its folds, the same for every command."""

import argparse
from pathlib import Path

from .folds import PROTOCOLS
from .sources import SOURCES

__all__ = ["add_data_arguments", "add_fold_arguments"]


def _folds(text: str) -> int | Path:
    if text.isdigit():
        return int(text)
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of folds or a CSV file")
    return path


def add_data_arguments(parser: argparse._ActionsContainer) -> None:
    """``--dataset`` and ``--data-dir``."""
    parser.add_argument("--dataset", default="synthetic", choices=tuple(SOURCES), help="data set (%(default)s)")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="its folder: one folder of pictures per class; for npy that with images.npy and labels.npy",
    )  # fmt: skip
    parser.add_argument(
        "--skip-unreadable", action="store_true",
        help="leave out images that can't be read, with a warning; without it they are listed, and nothing is done",
    )  # fmt: skip


def add_fold_arguments(parser: argparse._ActionsContainer) -> None:
    """``--protocol`` and ``--folds``."""
    parser.add_argument(
        "--protocol", default="grouped", choices=tuple(PROTOCOLS),
        help="; ".join(f"{name}: {what}" for name, what in PROTOCOLS.items()) + " (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--folds", type=_folds, default=5, metavar="N|FILE",
        help="number of folds, or a CSV with the columns file and fold (%(default)s)",
    )  # fmt: skip
