"""Options that several verbs share, and how they report what they skipped."""

import argparse
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError

__all__ = [
    "MODEL_HELP",
    "add_chosen_seeds",
    "add_images",
    "add_kind",
    "add_model",
    "add_refused",
    "add_scale",
    "add_table",
    "add_training_seeds",
    "check_scale",
    "check_table",
    "make_image_folder",
    "number",
    "put_table",
    "report_skipped",
    "say_found",
    "say_no_table",
    "saying_how_to_go_on",
]

MODEL_HELP = (
    "a finished run, a model folder, a published name (`madrnet models` lists them; without its tag the best of the "
    "architecture), the name of a folder in $MADRNET_HUB_DIR, or hf-hub:owner/name[@revision]"
)


def add_images(parser: argparse.ArgumentParser) -> None:
    """The images, as positional arguments."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files, folders or patterns; of a TIFF of several pages each"
    )


def add_kind(parser: argparse.ArgumentParser) -> None:
    """``--input``."""
    parser.add_argument(
        "--input",
        default="auto",
        choices=("auto", "crop", "field"),
        help="what the images show: the crop of a single head, or a whole field of view; auto: a field above 800 "
        "pixels, a crop below 300, between these what the heads found on it tell (%(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """``--model``."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)


def add_refused(parser: argparse._ActionsContainer, option: str, hint: str) -> None:
    """An option of an earlier version, which `--help` does not show: what has become of it."""

    def refuse(_: str) -> NoReturn:
        raise argparse.ArgumentTypeError(hint)

    parser.add_argument(option, type=refuse, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def add_scale(parser: argparse.ArgumentParser) -> None:
    """``--um-per-px``."""
    parser.add_argument(
        "--um-per-px", type=number, metavar="X",
        help="micrometres per pixel, 0.1 or 0,1; one by which heads would not be 2 to 12 µm long is refused (what the "
        "files say: OME-XML, ImageJ, the resolution of a TIFF, PNG, JPEG or BMP; else lengths are in pixels)",
    )  # fmt: skip


def add_table(parser: argparse.ArgumentParser) -> None:
    """``--output`` and ``--excel`` for a table."""
    parser.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet; without it CSV on the screen")
    parser.add_argument(
        "--excel", action="store_true", help="begin the CSV with the byte order mark by which Excel knows UTF-8"
    )


def add_training_seeds(parser: argparse.ArgumentParser) -> None:
    """``--seeds`` of what is trained."""
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="of folds and training, one after the other (0)"
    )


def add_chosen_seeds(parser: argparse.ArgumentParser) -> None:
    """``--seeds`` of what was trained."""
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only these (all that all runs have)")


def check_table(args: argparse.Namespace) -> None:
    """Raise `InputError` where the table could not be written, before any work is done for it."""
    from ..files import check_table_name

    if args.output is None:
        return
    check_table_name(args.output)
    if args.excel and args.output.suffix.lower() != ".csv":
        raise InputError(f"--excel --output {args.output}: only a CSV has a byte order mark; leave --excel out")


def put_table(args: argparse.Namespace, rows: Collection[Mapping[str, Any]]) -> None:
    """Write a table to ``--output``; without it as CSV on the screen."""
    from ..files import DIGITS, as_csv, write_table

    if args.output is None:
        sys.stdout.write(as_csv(rows, DIGITS, args.excel))
    else:
        write_table(args.output, rows, args.excel)


def say_no_table(args: argparse.Namespace) -> None:
    """Say that ``--output`` was not written, as there is no row for it."""
    if args.output is not None:
        older = "; the file of this name is an older one" if args.output.exists() else ""
        print(f"{args.output}: not written, as it would have no row{older}", file=sys.stderr)


def make_image_folder(folder: Path, option: str, given: Sequence[str]) -> None:
    """Make a folder for images that a command writes.

    Args:
        folder: It.
        option: That it was given by, for messages.
        given: What the command reads, as the user named it.

    Raises:
        InputError: It can't be made, or lies in a folder that is searched: what is written would be read the next time.
    """
    from ..files import make_output_folder

    for searched in given:
        if Path(searched).is_dir():
            inside = folder.resolve().is_relative_to(Path(searched).resolve())
        else:  # a pattern, or a file
            inside = fnmatch(os.path.abspath(folder / "image.png"), os.path.abspath(searched))
        if inside:
            raise InputError(
                f"{option} {folder}: lies in {searched}, so what is written would be taken for images of the slide the "
                "next time; choose a folder beside it"
            )
    make_output_folder(folder, option)


def number(text: str) -> float:
    """A number with a decimal point or comma."""
    return float(text.replace(",", "."))


def check_scale(um_per_px: float | None) -> None:
    """Raise `InputError` for a scale that no image can have."""
    if um_per_px is not None and not 1e-6 < um_per_px < 1e6:
        raise InputError(f"--um-per-px {um_per_px:g}: expected micrometres per pixel, such as 0.1")


@contextmanager
def saying_how_to_go_on(output: Path, how: str) -> Iterator[None]:
    """Where the training in it is interrupted, say how to continue it, if there is a run below ``output``."""
    try:
        yield
    except KeyboardInterrupt:
        if any(output.glob("**/config.yaml")):
            print(f"\n{output}: go on with {how}", file=sys.stderr)
        raise


def say_found(given: Sequence[str], paths: Sequence[Path], pages: int = 0, kinds: str = "") -> None:
    """Say how many images a search found, before anything is done with them, and what they are taken for.

    Args:
        given: What was searched.
        paths: The files that were found.
        pages: Of these files, where some have several.
        kinds: What they are taken for, in words.
    """
    if kinds or not all(os.path.isfile(name) for name in given):
        files = f"found {len(paths)} {'image' if len(paths) == 1 else 'images'}"
        number = f"{files} with {pages} pages" if pages > len(paths) else files
        print(f"{number}: {kinds}" if kinds else number, file=sys.stderr)


def report_skipped(reasons: Sequence[str]) -> int:
    """Say which files were skipped, and why; the exit status."""
    for reason in reasons:
        print(f"skipped: {reason}", file=sys.stderr)
    return 1 if reasons else 0
