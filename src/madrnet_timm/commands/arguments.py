"""Options that several verbs share, and how they report what they skipped."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

__all__ = ["add_images", "add_model", "add_scale", "add_table", "check_scale", "report_skipped"]


def add_images(parser: argparse.ArgumentParser) -> None:
    """The pictures, as positional arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, folders or patterns")


def add_model(parser: argparse.ArgumentParser) -> None:
    """``--model``."""
    parser.add_argument(
        "--model", required=True, metavar="NAME",
        help="model folder, published name (madrnet_<architecture>.<tag>), or hf-hub:owner/name[@revision]",
    )  # fmt: skip


def add_scale(parser: argparse.ArgumentParser) -> None:
    """``--um-per-px``."""
    parser.add_argument("--um-per-px", type=float, metavar="X", help="micrometres per pixel")


def add_table(parser: argparse.ArgumentParser) -> None:
    """``--output`` for a table."""
    parser.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet; without it CSV on the screen")


def check_scale(um_per_px: float | None) -> None:
    """Raise `InputError` for a scale that is none."""
    if um_per_px is not None and not um_per_px > 0:
        raise InputError(f"--um-per-px {um_per_px}: expected micrometres per pixel, more than 0")


def report_skipped(reasons: Sequence[str]) -> int:
    """Say which files were skipped, and why; the exit status."""
    for reason in reasons:
        print(f"skipped: {reason}", file=sys.stderr)
    return 1 if reasons else 0
