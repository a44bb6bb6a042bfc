"""The command ``madrnet``: thin, one function a verb."""

import argparse
import sys
from pathlib import Path

from .errors import InputError
from .training.command import run_command

__all__ = ["main"]


def _measure(args: argparse.Namespace) -> int:
    from .data.measuring import measure_files
    from .data.reading import picture_files
    from .files import as_csv, check_table_name, reporting_disk_errors, write_table

    if args.um_per_px is not None and not args.um_per_px > 0:
        raise InputError(f"--um-per-px {args.um_per_px}: expected micrometres per pixel, more than 0")
    if args.processes is not None and args.processes < 1:
        raise InputError(f"--processes {args.processes}: expected at least 1")
    if args.output is not None:
        check_table_name(args.output)
    paths = picture_files(args.images)
    if args.overlay is not None:
        with reporting_disk_errors(args.overlay):
            args.overlay.mkdir(parents=True, exist_ok=True)
    rows, failures = measure_files(paths, args.um_per_px, args.overlay, args.processes)
    if rows and args.output is not None:
        write_table(args.output, rows)
    elif rows:
        sys.stdout.write(as_csv(rows))
    doubtful = sum(not row["ok"] for row in rows)
    print(f"{len(rows)} measured, {doubtful} of them not to be trusted (column flags)", file=sys.stderr)
    for failure in failures:
        print(f"skipped: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="madrnet", description="Sperm heads measured. Research use only; not a medical device."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    measure = verbs.add_parser(
        "measure",
        help="measure the head in each picture",
        description="Measure the sperm head nearest to the middle of each picture: length, width, aspect ratio, angle, "
        "shape, acrosome, flags, and whether they lie in the ranges of a normal head. Lengths are in pixels, and in "
        "micrometres where --um-per-px is given.",
        epilog="Exit status: 0; 1 if some pictures could not be read (the others are measured); 2 after a mistake in "
        "the arguments. Example: madrnet measure crops/ --um-per-px 0.1 --output heads.csv --overlay overlays",
    )
    measure.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, folders or patterns")
    measure.add_argument("--um-per-px", type=float, metavar="X", help="micrometres per pixel")
    measure.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet; without it CSV on the screen")
    measure.add_argument("--overlay", type=Path, metavar="DIR", help="folder for pictures with outline, axes, acrosome")
    measure.add_argument("--processes", type=int, metavar="N", help="number of processes (all cores)")
    measure.set_defaults(verb=_measure)
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
