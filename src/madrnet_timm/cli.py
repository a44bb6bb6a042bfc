"""The command ``madrnet``: thin, one function a verb."""

import argparse
import sys
from pathlib import Path
from typing import Any

from .data.arguments import add_data_arguments, add_fold_arguments
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


def _data_download(args: argparse.Namespace) -> int:
    from .data.download import download

    count = download(args.dataset, args.source, args.output, args.sha256)
    print(f"{count} pictures as published: {args.output}")
    return 0


def _data_verify(args: argparse.Namespace) -> int:
    from .data.manifest import verify

    found = verify(args.dataset, args.data_dir)
    print(found)
    return 0 if found.ok else 1


def _data_folds(args: argparse.Namespace) -> int:
    from .data.folds import assign_folds
    from .data.sources import class_names, drop_conflicts, load
    from .files import as_csv, check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    records, _ = drop_conflicts(load(args.dataset, args.data_dir))
    folds = assign_folds(args.dataset, records, args.protocol, args.folds, args.seed)
    names = class_names(records)
    columns = ("file", "pixel_sha256", "group", "session", "label")
    rows = [
        dict(zip(columns, row, strict=True)) | {"fold": fold}
        for *row, fold in zip(*(records[column] for column in columns), folds.tolist(), strict=True)
    ]
    rows = [row | {"label": names[row["label"]]} for row in rows]
    if args.output is None:
        sys.stdout.write(as_csv(rows))
    else:
        write_table(args.output, rows)
    return 0


def _data_stats(args: argparse.Namespace) -> int:
    from .data.sources import load
    from .data.statistics import class_statistics, duplicate_statistics
    from .files import check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    records = load(args.dataset, args.data_dir)
    rows = class_statistics(records)
    width = max(len(key) for key in rows[0])
    print("\n".join(f"{key:<{width}}" + "".join(f"{row[key]!s:>12}" for row in rows) for key in rows[0]))
    counts = duplicate_statistics(records)
    print("\n" + "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts.items()))
    if args.output is not None:
        write_table(args.output, rows)
    return 0


def _add_measure(verbs: Any) -> None:
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


def _add_data(verbs: Any) -> None:
    data = verbs.add_parser("data", help="fetch, verify, divide and describe data sets").add_subparsers(
        required=True, metavar="VERB"
    )
    fetch = data.add_parser(
        "download",
        help="fetch HuSHeM or SMIDS and check every picture",
        description="Fetch a published data set from a URL or a local zip or tar archive, check it by hash and "
        "manifest, and unpack it safely. A transfer that was cut off goes on where it stopped. HuSHeM: DOI "
        "10.17632/tt3yj2pf38; SMIDS: DOI 10.17632/6xvdhc9fyb; take the address of the archive from there.",
        epilog="Example: madrnet data download hushem HuSHeM.zip --output data/hushem",
    )
    fetch.add_argument("dataset", choices=("hushem", "smids"))
    fetch.add_argument("source", metavar="URL|ARCHIVE", help="https://... or a file")
    fetch.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    fetch.add_argument("--sha256", metavar="HEX", help="hash of the archive, if you know it")
    fetch.set_defaults(verb=_data_download)

    check = data.add_parser(
        "verify",
        help="compare a copy with what was published",
        description="Compare a copy of a data set with the manifest of this package, by the hash of each file or, in "
        "another lossless format, of its pixels. Names what is missing, altered or unexpected.",
        epilog="Exit status: 0 if the copy is as published, 1 if not, 2 after a mistake in the arguments.",
    )
    check.add_argument("dataset", choices=("hushem", "smids"))
    check.add_argument("data_dir", type=Path, metavar="DIR")
    check.set_defaults(verb=_data_verify)

    folds = data.add_parser(
        "folds",
        help="which picture is held out in which fold",
        description="Write the fold, the group (pictures of one cell) and the session of every picture. Pictures with "
        "conflicting labels are left out; fold -1 means that the protocol does not use the picture.",
    )
    add_data_arguments(folds)
    add_fold_arguments(folds)
    folds.add_argument("--seed", type=int, default=0, help="of the shuffling (%(default)s)")
    folds.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet; without it CSV on the screen")
    folds.set_defaults(verb=_data_folds)

    stats = data.add_parser(
        "stats",
        help="what a data set holds",
        description="Pictures, cells, sessions, quartiles of the aspect ratio and flags of each class, duplicates and "
        "conflicting labels.",
    )
    add_data_arguments(stats)
    stats.add_argument("--output", type=Path, metavar="FILE", help="the table of classes as .csv or .parquet, too")
    stats.set_defaults(verb=_data_stats)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="madrnet",
        description="Sperm heads measured, and the data sets checked. Research use only; not a medical device.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_measure(verbs)
    _add_data(verbs)
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
