"""``madrnet data``: fetch, verify, divide and describe data sets."""

import argparse
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..data.manifest import MANIFESTS
from .arguments import add_table, check_table, put_table
from .data_arguments import add_data_arguments, add_fold_arguments, settle_dataset

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    data = verbs.add_parser("data", help=VERBS["data"]).add_subparsers(required=True, metavar="VERB")
    fetch = data.add_parser(
        "download",
        help="fetch HuSHeM or SMIDS and check every image",
        description="Fetch a data set from a URL or a local zip or tar archive, check it by hash and "
        "manifest, and unpack it safely. A transfer that was cut off goes on where it stopped. HuSHeM: DOI "
        "10.17632/tt3yj2pf38; SMIDS: DOI 10.17632/6xvdhc9fyb; take the address of the archive from there.",
        epilog="Example: madrnet data download hushem HuSHeM.zip --output data/hushem",
    )
    fetch.add_argument("dataset", choices=MANIFESTS)
    fetch.add_argument("source", metavar="URL|ARCHIVE", help="https://... or a file")
    fetch.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the images")
    fetch.add_argument("--sha256", metavar="HEX", help="hash of the archive, if you know it")
    fetch.set_defaults(verb=_data_download)

    check = data.add_parser(
        "verify",
        help="compare a copy with the manifest of its data set",
        description="Compare a copy of a data set with the manifest of this package, by the hash of each file or, in "
        "another lossless format, of its pixels. Names what is missing, altered or unexpected.",
        epilog="Exit status: 0 if the copy is as the manifest says, 1 if not, 2 after a mistake in the arguments. "
        "Example: madrnet data verify hushem HuSHeM",
    )
    check.add_argument("dataset", choices=MANIFESTS)
    check.add_argument("data_dir", type=Path, metavar="DIR")
    check.set_defaults(verb=_data_verify)

    folds = data.add_parser(
        "folds",
        help="which image is held out in which fold",
        description="Write the fold, the group (images of one cell) and the session of every image. Images with "
        "conflicting labels are left out; fold -1 means that the protocol does not use the image.",
        epilog="Example: madrnet data folds --data-dir HuSHeM --protocol session --output folds.csv",
    )
    add_data_arguments(folds)
    add_fold_arguments(folds)
    folds.add_argument("--seed", type=int, default=0, help="of the shuffling (%(default)s)")
    add_table(folds)
    folds.set_defaults(verb=_data_folds)

    stats = data.add_parser(
        "stats",
        help="what a data set holds",
        description="Images, cells, sessions, quartiles of the aspect ratio and flags of each class, duplicates and "
        "conflicting labels.",
        epilog="Example: madrnet data stats --data-dir my_crops",
    )
    add_data_arguments(stats)
    stats.add_argument("--output", type=Path, metavar="FILE", help="the table of classes as .csv or .parquet, too")
    stats.set_defaults(verb=_data_stats)


def _data_download(args: argparse.Namespace) -> int:
    from ..data.download import download

    count = download(args.dataset, args.source, args.output, args.sha256)
    print(f"{count} images as the manifest says: {args.output}")
    return 0


def _data_verify(args: argparse.Namespace) -> int:
    from ..data.manifest import verify

    found = verify(args.dataset, args.data_dir)
    print(found)
    return 0 if found.ok else 1


def _data_folds(args: argparse.Namespace) -> int:
    from ..data.folds import assign_folds, fold_rows
    from ..data.sources import drop_conflicts, load

    check_table(args)
    settle_dataset(args)
    records, _ = drop_conflicts(load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable))
    folds = assign_folds(args.dataset, records, args.protocol, args.folds, args.seed)
    rows = fold_rows(records, folds, ("file", "pixel_sha256", "group", "session", "label"))
    put_table(args, rows)
    return 0


def _data_stats(args: argparse.Namespace) -> int:
    from ..data.sources import load
    from ..data.statistics import class_statistics, duplicate_statistics
    from ..files import check_table_name, write_table

    if args.output is not None:
        check_table_name(args.output)
    settle_dataset(args)
    records = load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable)
    rows = class_statistics(records)
    width, widths = max(len(key) for key in rows[0]), [max(10, len(row["class"])) for row in rows]
    for key in rows[0]:
        print("  ".join([f"{key:<{width}}"] + [f"{row[key]!s:>{w}}" for row, w in zip(rows, widths, strict=True)]))
    counts = duplicate_statistics(records)
    print("\n" + "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts.items()))
    if args.output is not None:
        write_table(args.output, rows)
    return 0
