"""What the page's script must know to count a slide anew."""

from collections import Counter
from typing import Any

from ...cells import to_cell
from ..counting import doubts, machine_says
from .review import heads_digest
from .slide import Slide

__all__ = ["NOTHING", "STRUCK", "page_data"]

STRUCK, NOTHING = -1, -2
"""In the place of a class: a head that was struck out, and an image in which no head was found."""


def page_data(slide: Slide) -> dict[str, Any]:
    """Of a slide, as JSON: its classes, and of each head that is shown what the machine and the person say.

    Heads that are not shown are counted in ``rest``; text that the script writes to a table is that of a cell.
    """
    results = slide.results
    labels = results.info.label_names
    index = {name: number for number, name in enumerate(labels)}
    shown = {view.row["number"] for view in slide.heads}
    rest = Counter(row["prediction"] for row in slide.count.decided if row["number"] not in shown)
    heads = []
    for row in (view.row for view in slide.heads):
        machine = machine_says(row)
        person = None if not row["judged"] else STRUCK if row["person"] is None else index[row["person"]]
        heads.append({
            "row": row["number"], "file": to_cell(row["file"]), "page": row["page"] or "", "head": row["head"] or "",
            "machine": NOTHING if machine is None else index[machine], "person": person,
            "doubtful": machine is not None and bool(doubts(row)),
        })  # fmt: skip
    return {
        "table": heads_digest(results),
        "labels": labels,
        "cells": [to_cell(name) for name in labels],
        "letters": [slide.marks[name].letter for name in labels],
        "colours": [slide.marks[name].html for name in labels],
        "normal": None if slide.normal is None else index[slide.normal],
        "noHead": None if results.info.no_head_class is None else index[results.info.no_head_class],
        "rest": [rest[name] for name in labels],
        "heads": heads,
    }
