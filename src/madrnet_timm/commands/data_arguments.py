"""Options that name a data set and its folds, the same for every command."""

import argparse
import os
import sys
from pathlib import Path

from ..data.folds import PROTOCOLS
from ..data.manifest import MANIFESTS, verify
from ..data.sources import SOURCES

__all__ = ["add_data_arguments", "add_fold_arguments", "settle_dataset"]


def _folds(text: str) -> int | Path:
    if text.isdecimal():
        return int(text)
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of folds or a CSV file")
    return path


def _protocol(text: str) -> str:
    if text == "published":  # its name until 0.1
        raise argparse.ArgumentTypeError("--protocol published is now image-level")
    return text


def add_data_arguments(parser: argparse._ActionsContainer) -> None:
    """``--dataset`` and ``--data-dir``; `settle_dataset` says what is meant where the first is not given."""
    parser.add_argument(
        "--dataset", choices=tuple(SOURCES),
        help="data set; without it told from --data-dir, and without that drawn heads (synthetic)",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="its folder: one folder of images per class; for npy that with images.npy and labels.npy",
    )  # fmt: skip
    parser.add_argument(
        "--skip-unreadable", action="store_true",
        help="leave out images that can't be read, with a warning; without it they are listed, and nothing is done",
    )  # fmt: skip


def _told(data_dir: Path | None) -> tuple[str, str]:
    """The data set that lies in a folder, and how that is known."""
    if data_dir is None:
        return "synthetic", "drawn heads, as no --data-dir is given"
    if (data_dir / "images.npy").is_file():
        return "npy", "it holds images.npy"
    folders = {path.name for path in data_dir.iterdir() if path.is_dir()} if data_dir.is_dir() else set()
    for name in MANIFESTS:
        if folders >= set(SOURCES[name].classes or ()):
            found = verify(name, data_dir)
            if found.right and not found.altered and not found.unexpected:
                return name, f"its images are those of {SOURCES[name].title}"
            return "folder", f"its folders are named like those of {SOURCES[name].title}, but its images are others"
    return "folder", "one folder of images per class"


def settle_dataset(args: argparse.Namespace) -> None:
    """Set ``args.dataset``, where it was not given, to what lies in ``args.data_dir``, and say so in one line."""
    if args.dataset is not None:
        return
    args.dataset, reason = _told(args.data_dir)
    if os.environ.get("RANK", "0") == "0":  # of several processes the first
        where = "" if args.data_dir is None else f"{args.data_dir}: "
        print(f"{where}taken as --dataset {args.dataset} ({reason})", file=sys.stderr)


def add_fold_arguments(parser: argparse._ActionsContainer) -> None:
    """``--protocol`` and ``--folds``."""
    parser.add_argument(
        "--protocol", default="grouped", type=_protocol, choices=tuple(PROTOCOLS),
        help="; ".join(f"{name}: {what}" for name, what in PROTOCOLS.items()) + " (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--folds", type=_folds, default=5, metavar="N|FILE",
        help="number of folds, or a CSV with the columns file (or image) and fold, such as a published division "
        "(%(default)s)",
    )  # fmt: skip
