"""Tables of predictions, with what is known about how they were made in a file beside them."""

import csv
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_table, write_text
from .classifier import Classifier

__all__ = ["Results", "info_path", "read_results", "write_results"]

_TEXT = ("file", "prediction", "out_of_domain", "flags", "pixel_sha256")


@dataclass(frozen=True)
class Results:
    """A table of predictions.

    Attributes:
        path: The table.
        rows: A row a picture, see `prediction_row`; missing values are None.
        info: ``model``, ``architecture``, ``digest``, ``version``, ``label_names``, ``normal_class``,
            ``no_head_class``, ``protocol``, ``accuracy``, ``confusion_matrix``, ``held_out``, ``calibration``,
            ``um_per_px``, ``skipped``, ``created``.
    """

    path: Path
    rows: list[dict[str, Any]]
    info: dict[str, Any]

    def picture(self, file: str) -> Path | None:
        """Where a picture of the table lies: as it was named, or seen from the table's folder."""
        return next((path for path in (Path(file), self.path.parent / file) if path.is_file()), None)


def info_path(table: Path) -> Path:
    """The file beside a table: ``results.csv`` has ``results.csv.json``."""
    return table.with_name(f"{table.name}.json")


def write_results(
    path: Path, rows: Sequence[dict[str, Any]], skipped: Sequence[str], classifier: Classifier, um_per_px: float | None
) -> None:
    """Write a table (``.csv`` or ``.parquet``) and the file beside it.

    Raises:
        InputError: They can't be written.
    """
    folder = classifier.folder
    names = ("normal_class", "no_head_class", "protocol", "accuracy", "confusion_matrix", "held_out", "calibration")
    info = {
        "model": str(folder.path),
        "architecture": folder.architecture,
        "digest": folder.digest(),
        "version": version("madrnet-timm"),
        "label_names": classifier.label_names,
        **{name: folder.info.get(name) for name in names},
        "um_per_px": um_per_px,
        "skipped": list(skipped),
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    info_path(path).unlink(missing_ok=True)  # never beside a table that it does not describe
    write_table(path, rows)
    write_text(info_path(path), json.dumps(info, indent=2, ensure_ascii=False) + "\n")


def _value(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    return float(text)


def read_results(path: str | Path) -> Results:
    """Read a table of `madrnet predict` and the file beside it.

    Raises:
        InputError: One of them is missing, or is not such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such table; expected the output of `madrnet predict`")
    beside = info_path(path)
    try:
        info = json.loads(beside.read_text(encoding="utf-8"))
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            rows = parquet.read_table(path).to_pylist()
        else:
            with path.open(encoding="utf-8", newline="") as opened:
                rows = [{name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(opened)]
    except FileNotFoundError:
        raise InputError(
            f"{beside}: missing; `madrnet predict` writes it beside the table, keep the two together"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path}: not a table of `madrnet predict` ({error})") from None
    if rows and "prediction" not in rows[0]:
        raise InputError(f"{path}: holds no predictions; expected the output of `madrnet predict`, not of `measure`")
    return Results(path, rows, info)
