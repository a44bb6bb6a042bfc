"""``madrnet report``: a page of a table of predictions."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    report = verbs.add_parser(
        "report",
        help="one HTML page of a table of predictions",
        description="Write one self-contained HTML page: share of normal heads with its interval, classes, "
        "measurements against WHO's ranges, what was left out, images. Two tables are two slides of one sample, whose "
        "agreement is checked. Images and the model are looked for where `madrnet predict` found them; what is missing "
        "is said.",
        epilog="Example: madrnet report slide1.csv slide2.csv --output sample.html",
    )
    report.add_argument("results", nargs="+", type=Path, metavar="TABLE", help="output of `madrnet predict`")
    report.add_argument("--output", type=Path, metavar="HTML", help="(the table's name with .html)")
    report.add_argument(
        "--normal-class", metavar="NAME",
        help="class that means a normal head (the one that the model was trained with, or one called normal)",
    )  # fmt: skip
    report.set_defaults(verb=_report)


def _report(args: argparse.Namespace) -> int:
    from ..files import check_output
    from ..inference.report import write_report
    from ..inference.results import read_results

    if len(args.results) > 2:
        raise InputError(f"{len(args.results)} tables: expected that of one slide, or of two slides of one sample")
    output = args.output or args.results[0].with_suffix(".html")
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output {output}: expected a name that ends in .html")
    check_output(output)
    for missing in write_report([read_results(path) for path in args.results], output, args.normal_class):
        print(missing, file=sys.stderr)
    print(f"{output}: open it in a browser")
    return 0
