"""Fill the marked places of the pages in docs/ with tables of the stored predictions, and draw Fig. 10.

    python -m tools.results

A page says where a table stands, between `<!-- table: accuracy table_2 -->` and `<!-- end -->`: the first word is a
maker of `tools.tables`, `tools.comparisons` or `tools.guarantees`, the others are its arguments. The rest of a page is
written by hand.

Predictions are stored in docs/results/ by `python -m tools.store`, what the controls say by `python -m
examples.studies.controls --output`. Which run stands in which table is said by paper.yaml (with the figures that the
paper prints), levers.yaml (what was tried) and transfers.yaml (one data set's model on the other).
"""

import argparse
import re
from collections.abc import Callable

from examples.studies.depth import depth_figure
from madrnet_timm.command import run_command
from madrnet_timm.errors import InputError
from madrnet_timm.files import replacing, write_text

from . import comparisons, guarantees, tables
from .stored import DOCS, RESULTS

PLACE = re.compile(r"(<!-- table: ([^\n]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
MAKERS: dict[str, Callable[..., str]] = {**tables.MAKERS, **comparisons.MAKERS, **guarantees.MAKERS}


def filled(text: str) -> str:
    """A page's text with its tables made anew.

    Raises:
        InputError: A marked place names no maker.
    """

    def fill(found: re.Match[str]) -> str:
        maker, *arguments = found[2].split()
        if maker not in MAKERS:
            raise InputError(f"<!-- table: {found[2]} -->: expected one of {', '.join(MAKERS)}")
        return f"{found[1]}\n{MAKERS[maker](*arguments)}\n\n"

    return PLACE.sub(fill, text)


def write_pages() -> None:
    """All pages of docs/, and Fig. 10."""
    with replacing(RESULTS / "depth.png") as path:
        depth_figure(RESULTS, path)
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (made := filled(text)) != text:
            write_text(page, made)
            print(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_pages()


if __name__ == "__main__":
    run_command(main)
