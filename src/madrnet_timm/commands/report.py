"""``madrnet report``: a page of a table of predictions."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from madrnet_command import VERBS

from ..errors import InputError

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    report = verbs.add_parser(
        "report",
        help=VERBS["report"],
        description="Write one self-contained HTML page: share of normal heads with its interval, classes, "
        "measurements against WHO's ranges, each field with its heads, what was left out, an audit trail. Two tables "
        "are two slides of one sample, whose agreement is checked. In the page a person can give heads another class "
        "or strike them out by clicking, and save that as a file for --reviewed. Images and the model are looked for "
        "where `madrnet predict` found them; what is missing is said.",
        epilog="Example: madrnet report slide1.csv slide2.csv --output sample.html --sample 17/2026; then, corrected: "
        "madrnet report slide1.csv slide2.csv --reviewed sample.reviewed.csv",
    )
    report.add_argument("results", nargs="+", type=Path, metavar="TABLE", help="output of `madrnet predict`")
    report.add_argument("--output", type=Path, metavar="HTML", help="(the table's name with .html)")
    report.add_argument(
        "--normal-class", metavar="NAME",
        help="class that means a normal head (the one that the model was trained with, or one called normal)",
    )  # fmt: skip
    report.add_argument(
        "--reviewed", nargs="+", type=Path, default=[], metavar="CSV",
        help="corrections that the page saved: counted beside the machine's classes",
    )  # fmt: skip
    said = report.add_argument_group("what the page says of the sample (free text)")
    said.add_argument("--sample", default="", metavar="TEXT", help="name or number of the sample")
    said.add_argument(
        "--slide", action="append", default=[], metavar="TEXT",
        help="name of the slide; with two tables give it twice, in their order",
    )  # fmt: skip
    said.add_argument("--stain", default="", metavar="TEXT", help="such as Diff-Quik")
    said.add_argument("--operator", default="", metavar="TEXT", help="who took the images")
    said.add_argument("--microscope", default="", metavar="TEXT", help="with its objective and camera")
    report.set_defaults(verb=_report)


def _report(args: argparse.Namespace) -> int:
    from ..files import check_output
    from ..inference.report import Origin, write_report
    from ..inference.results import read_results

    if len(args.results) > 2:
        raise InputError(f"{len(args.results)} tables: expected that of one slide, or of two slides of one sample")
    for path in args.results:
        if not path.name:
            raise InputError(f"{str(path)!r}: a folder; expected a table, the --output of `madrnet predict`")
    output = args.output or args.results[0].with_suffix(".html")
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output {output}: expected a name that ends in .html")
    if len(args.slide) > len(args.results):
        raise InputError(
            f"--slide: {len(args.slide)} names; expected one for each table, of which there are {len(args.results)}"
        )
    check_output(output)
    origin = Origin(
        args.sample, args.slide, args.stain, args.operator, args.microscope, shlex.join(["madrnet", *sys.argv[1:]])
    )
    tables = [read_results(path) for path in args.results]
    for missing in write_report(tables, output, args.normal_class, origin=origin, reviewed=args.reviewed):
        print(missing, file=sys.stderr)
    print(f"{output}: open it in a browser")
    return 0
