"""Images of a report: outline and axes of some heads, and what speaks for their class."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..hub.folder_files import folder_digest
from ..hub.lookup import published_folder
from ..models.pretrained import published_models
from ..morphology import draw_overlay
from ..progress import progress
from .results import Results
from .stored_images import StoredImages, data_address

if TYPE_CHECKING:
    from .classifier import Classifier

__all__ = ["Card", "chosen_rows", "known_classifier", "make_cards"]

_SIDE = 520  # px of an enlarged image
_QUALITY = 90

Row = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """A head in the gallery.

    Attributes:
        row: Of the table.
        outline: The image with what was measured, as a ``data:`` address; None where `missing` says why not.
        attention: What speaks for the class, as the network sees the head; None without a model.
        missing: Why there is no image; empty where there is one.
    """

    row: Row
    outline: str | None = None
    attention: str | None = None
    missing: str = ""


def chosen_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """Rows for the gallery: of each class, and of those without a head, in turn the least and the most certain."""
    by_class: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["probability"]):
        by_class.setdefault("" if "no_head" in row["flags"] else row["prediction"], []).append(row)
    out: list[Row] = []
    while len(out) < count and any(by_class.values()):
        for waiting in by_class.values():
            if waiting and len(out) < count:
                out.append(waiting.pop(0 if len(out) // max(len(by_class), 1) % 2 == 0 else -1))
    return out


def known_classifier(results: Results) -> "Classifier":
    """The model that made a table, for its attention maps: from this machine's disk, and only if it is the very one.

    A table may come from anywhere, and so may the model that it names. Nothing is asked of a network, and nothing is
    loaded before the hash of the folder's two files has been found to be the table's.

    Raises:
        InputError: The model is not there, is another by now, or has no attention maps; the message says which.
    """
    name = results.info.model
    if not name:
        raise InputError("the table's JSON does not say which model made it; predict again")
    folder = Path(name)
    if not os.path.isdir(folder) and folder.name in published_models():  # made on another machine
        _, folder = published_folder(folder.name) or ("", folder)
    if not os.path.isdir(folder):
        raise InputError(
            f"the model {name} is not on this machine; put its folder back there (a report fetches no model)"
        )
    if folder_digest(folder) != results.info.digest:
        raise InputError(f"the model in {folder} is not, or no longer, the one that made the table; predict again")
    if not results.info.architecture.startswith("madrnet_"):
        raise InputError(f"{results.info.architecture} is a plain timm model, which has none")
    from .classifier import Classifier  # late: without a model there is no need of PyTorch

    return Classifier(folder)


def _card(stored: StoredImages, row: Row, classifier: "Classifier | None") -> Card:
    try:
        image, head = stored.measured_head(row)
    except InputError as error:
        return Card(row, missing=str(error))
    scale = max(round(_SIDE / max(image.shape[:2])), 1)
    outline = data_address(draw_overlay(image, head, scale)[: scale * image.shape[0]], _QUALITY)
    if classifier is None or "no_head" in row["flags"].split():
        return Card(row, outline)
    from .explain import attention_overlays

    maps = attention_overlays(classifier, [classifier.prepare(image, head=head)])[0]
    stage = "reversible" if "reversible" in maps else next(iter(maps))
    return Card(row, outline, data_address(maps[stage], _QUALITY))


def make_cards(results: Results, rows: Sequence[Row], classifier: "Classifier | None") -> list[Card]:
    """Cards of some rows of a table, with a progress bar.

    Args:
        results: The table.
        rows: Some of its rows.
        classifier: The model that made it; without it there are no attention maps.
    """
    stored = StoredImages(results)
    return [_card(stored, row, classifier) for row in progress(rows, len(rows), "drawing", "image", shown_from=5)]
