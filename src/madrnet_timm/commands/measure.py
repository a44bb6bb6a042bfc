"""``madrnet measure``: the head in each image."""

import argparse
import sys
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..errors import InputError
from .arguments import (
    add_images,
    add_kind,
    add_scale,
    add_table,
    check_scale,
    check_table,
    make_image_folder,
    put_table,
    report_skipped,
    say_found,
    say_no_table,
)

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    measure = verbs.add_parser(
        "measure",
        help=VERBS["measure"],
        description="Measure the sperm head nearest to the middle of each crop, and every head of each field of view: "
        "length, width, aspect ratio, angle, shape, acrosome, flags, and whether they lie in the ranges of a normal "
        "head. Lengths are in pixels, and in micrometres where the scale is known.",
        epilog="Exit status: 0; 1 if some images could not be read (the others are measured); 2 after a mistake in "
        "the arguments. Example: madrnet measure slide1/ --um-per-px 0.1 --output heads.csv --overlay overlays",
    )
    add_images(measure)
    add_kind(measure)
    add_scale(measure)
    add_table(measure)
    measure.add_argument("--overlay", type=Path, metavar="DIR", help="folder for images with outlines")
    measure.add_argument("--processes", type=int, metavar="N", help="number of processes (all cores)")
    measure.set_defaults(verb=_measure)


def _measure(args: argparse.Namespace) -> int:
    from ..data.measuring import measure_files
    from ..data.reading import image_files

    check_scale(args.um_per_px)
    if args.processes is not None and args.processes < 1:
        raise InputError(f"--processes {args.processes}: expected at least 1")
    check_table(args)
    paths = image_files(args.images)
    if args.overlay is not None:
        make_image_folder(args.overlay, "--overlay", args.images)
    say_found(args.images, paths)
    found = measure_files(paths, args.um_per_px, args.overlay, args.processes, args.input)
    for note in found.notes:
        print(note, file=sys.stderr)
    if found.rows:
        put_table(args, found.rows)
    else:
        say_no_table(args)
    doubtful = sum(not row["ok"] for row in found.rows)
    print(f"{len(found.rows)} measured, {doubtful} of them not to be trusted (column flags)", file=sys.stderr)
    return report_skipped(found.failures)
