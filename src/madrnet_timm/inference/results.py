"""Tables of predictions, with what is known about how they were made in a file beside them."""

import datetime
import json
import math
import os
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cells import flag_of, from_cell, printable
from ..errors import InputError
from ..files import check_table_name, fill_table, read_csv, replacing
from ..morphology.head import MEASUREMENTS
from ..values import Values, read_json
from .field_record import FieldRecord
from .predicted import Predicted
from .screen import NO_SPERM

if TYPE_CHECKING:
    from .classifier import Classifier

__all__ = ["Results", "ResultsInfo", "info_path", "read_results", "write_results"]

_FORMAT = 1
"""Of the two files; a later one is refused, unknown keys and columns of the same one are left out."""

_LARGEST_INFO = 2**28  # bytes: a message for each file that was left out
_MOST_SKIPPED = _MOST_FIELDS = 10**6
_LONGEST_COMMAND = 10**6
_ROUNDED, _SHOWN = 1e-3, 0.01  # by which probabilities may differ, also where a spreadsheet shows two digits

Checked = Callable[[Any], Any]
"""Gives a value in its right type, or raises ValueError with what was expected."""


def _number(low: float = -math.inf, high: float = math.inf, optional: bool = False) -> Checked:
    bounds = f" from {low:g}" * math.isfinite(low) + f" to {high:g}" * math.isfinite(high)

    def check(value: Any) -> float | None:
        if optional and value in (None, ""):
            return None
        try:
            found = float(value.strip().replace(",", ".") if isinstance(value, str) else value)
        except (ValueError, TypeError, OverflowError):
            found = math.nan
        if isinstance(value, bool) or not math.isfinite(found) or not low <= found <= high:
            raise ValueError(f"a number{bounds}")
        return found

    return check


def _count(low: int) -> Checked:
    """A whole number, or none."""
    check = _number(low, optional=True)

    def whole(value: Any) -> int | None:
        found = check(value)
        if found is not None and found != int(found):
            raise ValueError(f"a whole number from {low}")
        return None if found is None else int(found)

    return whole


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _name(value: Any) -> str:
    if not _text(value).strip():
        raise ValueError("a name")
    return str(value)


def _hash(value: Any) -> str:
    if not re.fullmatch("|[0-9a-f]{64}", _text(value or "")):
        raise ValueError("a sha256, 64 hexadecimal digits")
    return value or ""


def _flag(value: Any) -> bool:
    found = value if isinstance(value, bool) else flag_of(str(value))
    if found is None:
        raise ValueError("True or False")
    return found


def _optional(check: Checked) -> Checked:
    return lambda value: None if value in (None, "") else check(value)


@dataclass(frozen=True)
class ResultsInfo:
    """What is known about how a table of predictions was made.

    Attributes:
        label_names: The classes.
        model: Its folder.
        architecture: In timm's words.
        digest: Of its weights and its config, see `ModelFolder.digest`; empty if unknown.
        version: Of madrnet-timm.
        normal_class: Name of the class of normal heads.
        no_head_class: Name of the class without a head.
        protocol: How the model was trained and measured.
        accuracy: On held-out images.
        confusion_matrix: On those images; a row for each true class, empty if unknown.
        held_out: Number of the held-out images.
        threshold: Lowest probability of the chosen class at which the model decides; below it abstains.
        promised_risk: Share of wrong ones, at most, among the heads decided on, for heads like the model's held-out
            ones; None where nothing is promised.
        promise_level: Probability with which this holds.
        set_coverage: Probability, at least, that the right class is in a prediction set; None without such sets.
        um_per_px: Micrometres per pixel, the same for all images; None if unknown or different.
        um_source: Where it comes from, see `FieldRecord`.
        skipped: A message for each file that was left out.
        fields: The fields of view among the images, also those in which nothing was found.
        screen: Model that decided what is no sperm, its folder; empty without one.
        screen_digest: Of that model.
        command: By which the table was made, as it was typed.
        directory: Where `madrnet predict` ran, from which relative names are seen; empty if unknown.
        created: Date and time.
        work: Digest of the images and of what else the table depends on, see `work_digest`; empty if unknown.
    """

    label_names: tuple[str, ...]
    model: str = ""
    architecture: str = ""
    digest: str = ""
    version: str = ""
    normal_class: str | None = None
    no_head_class: str | None = None
    protocol: str | None = None
    accuracy: float | None = None
    confusion_matrix: tuple[tuple[int, ...], ...] = ()
    held_out: int | None = None
    threshold: float | None = None
    promised_risk: float | None = None
    promise_level: float | None = None
    set_coverage: float | None = None
    um_per_px: float | None = None
    um_source: str = ""
    skipped: tuple[str, ...] = ()
    fields: tuple[FieldRecord, ...] = ()
    screen: str = ""
    screen_digest: str = ""
    command: str = ""
    directory: str = ""
    created: str = ""
    work: str = ""

    @classmethod
    def read(cls, values: Values, classes: Sequence[str]) -> "ResultsInfo":
        """Check what was read.

        Args:
            values: The object; keys that are not known are ignored, those that are missing have their defaults.
            classes: Of the table; none where it has no rows.

        Raises:
            InputError: A value that can't be, other classes than the table's, or a format of a later version; the
                message names file and key.
        """
        if values.count("format", _FORMAT) > _FORMAT:
            raise InputError(
                f"{values.where}: made by a later version of madrnet-timm; update it (pip install -U madrnet-timm)"
            )
        names = values.texts("label_names", tuple(classes))
        if not names or len(set(names)) < len(names):
            raise values.wrong("label_names", "names of the classes, each another")
        if classes and set(names) != set(classes):
            raise InputError(
                f"{values.where}: its label_names are not the classes of the table (columns p_...); the two do not "
                "belong together"
            )
        scale = values.number("um_per_px", None, low=0)
        for key in ("digest", "screen_digest"):
            if not re.fullmatch("|[0-9a-f]{64}", values.text(key, "")):
                raise values.wrong(key, "a sha256, 64 hexadecimal digits")
        if scale == 0:
            raise values.wrong("um_per_px", "micrometres per pixel, more than 0")
        skipped = values.items("skipped", (), most=_MOST_SKIPPED)
        if not all(isinstance(reason, str) for reason in skipped):
            raise values.wrong("skipped", "a list of texts")
        known = values if "threshold" in values.found else values.values("calibration")  # as version 0.1.0 wrote it
        return cls(
            label_names=names,
            model=values.path("model", ""),
            architecture=values.text("architecture", ""),
            digest=values.text("digest", ""),
            version=values.text("version", ""),
            normal_class=values.text("normal_class", None, choices=names),
            no_head_class=values.text("no_head_class", None, choices=names),
            protocol=values.text("protocol", None),
            accuracy=values.number("accuracy", None, 0, 1),
            confusion_matrix=values.confusion_matrix("confusion_matrix", (), len(names)),
            held_out=values.count("held_out", None),
            threshold=known.number("threshold", None, 0, 1),
            promised_risk=values.number("promised_risk", None, 0, 1),
            promise_level=values.number("promise_level", None, 0, 1),
            set_coverage=values.number("set_coverage", None, 0, 1),
            um_per_px=scale,
            um_source=values.text("um_source", ""),
            skipped=tuple(skipped),
            fields=tuple(map(FieldRecord.read, values.objects("fields", most=_MOST_FIELDS))),
            screen=values.path("screen", ""),
            screen_digest=values.text("screen_digest", ""),
            command=values.text("command", "", longest=_LONGEST_COMMAND),
            directory=values.path("directory", ""),
            created=values.text("created", ""),
            work=values.text("work", ""),
        )


_NEEDED: dict[str, Checked] = {"file": _name, "prediction": _name, "abstain": _flag, "ok": _flag}
_COUNTS = {"page": _count(1), "head": _count(1), **dict.fromkeys(("x0", "y0", "x1", "y1"), _count(0))}
_NOT_NEGATIVE = ("head_length", "head_width", "area", "perimeter", "length_um", "width_um", "area_um2", "entropy")
_OTHERS: dict[str, Checked] = {
    **_COUNTS,
    **dict.fromkeys(("center_x", "center_y"), _number(optional=True)),
    NO_SPERM: _number(0, 1, optional=True),
    "counted": lambda value: True if value in (None, "") else _flag(value),  # older tables hold crops only
    "probability": _number(0, 1, optional=True),
    **dict.fromkeys(MEASUREMENTS, _number(optional=True)),
    **dict.fromkeys(_NOT_NEGATIVE, _number(0, optional=True)),
    "aspect_ratio": _number(1 - 1e-6, optional=True),
    **dict.fromkeys(("out_of_domain", "flags", "prediction_set"), lambda value: _text(value or "")),
    "pixel_sha256": _hash,
    **{f"who_{name}": _optional(_flag) for name in ("length_um", "width_um", "aspect_ratio", "acrosome_fraction")},
}


@dataclass(frozen=True)
class Results:
    """A table of predictions.

    Attributes:
        path: The table.
        rows: One row per image, with every column of `prediction_row`; what is missing is None, or empty text.
        info: How it was made.
    """

    path: Path
    rows: list[dict[str, Any]]
    info: ResultsInfo

    def image_paths(self, file: str) -> list[Path]:
        """Files that may be an image of the table, the likeliest first.

        As it is named, seen from where it was predicted, from here and from the table's folder; and below that folder,
        by as much of its name as is found there, as a slide may have been moved together with its table.
        """
        places = (Path(self.info.directory), Path(), self.path.parent)
        parts = [part for part in Path(file).parts if part not in (Path(file).anchor, "..")]
        ends = [self.path.parent.joinpath(*parts[start:]) for start in range(len(parts))]
        return [path for path in dict.fromkeys([*(place / file for place in places), *ends]) if os.path.isfile(path)]


def info_path(table: Path) -> Path:
    """The file beside a table: ``results.csv`` has ``results.csv.json``."""
    return table.with_name(f"{table.name}.json")


def write_results(
    path: Path, found: Predicted, classifier: "Classifier", excel: bool = False, command: str = "", work: str = ""
) -> None:
    """Write a table (``.csv`` or ``.parquet``, see `write_table`) and the file beside it.

    Both are written beside and renamed when they are whole, so that an old pair stays until then.

    Args:
        path: The table.
        found: What `predict_files` found.
        classifier: The model.
        excel: Begin a CSV with the byte order mark by which Excel knows UTF-8.
        command: By which it was made, if by one.
        work: See `ResultsInfo`.

    Raises:
        InputError: They can't be written.
    """
    folder, known = classifier.folder, asdict(classifier.folder.info)
    names = ("normal_class", "no_head_class", "protocol", "accuracy", "confusion_matrix", "held_out", "calibration")
    promise = classifier.guarantee
    info = {
        "format": _FORMAT,
        "model": os.path.abspath(folder.path),
        "architecture": folder.architecture,
        "digest": folder.digest(),
        "version": version("madrnet-timm"),
        "label_names": classifier.label_names,
        **{name: known[name] for name in names},
        "threshold": classifier.threshold,
        "promised_risk": classifier.promised_risk,
        "promise_level": None if promise is None or classifier.promised_risk is None else promise.level,
        "set_coverage": None if promise is None else promise.sets.coverage,
        "um_per_px": found.um_per_px,
        "um_source": found.um_source,
        "skipped": [_in_utf8(reason) for reason in found.skipped],
        "fields": [record.to_dict() for record in found.fields],
        "screen": "" if found.screen is None else os.path.abspath(found.screen.path),
        "screen_digest": "" if found.screen is None else found.screen.digest(),
        "command": _in_utf8(command)[:_LONGEST_COMMAND],
        "directory": os.getcwd(),
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "work": work,
    }
    check_table_name(path)
    with replacing(info_path(path)) as info_beside, replacing(path) as table_beside:
        fill_table(table_beside, found.rows, path.suffix, excel, found.columns)
        info_beside.write_text(_as_json(info), encoding="utf-8")
        info_path(path).unlink(missing_ok=True)  # never beside a table that it does not describe


def _in_utf8(text: str) -> str:
    """A text that names files, what is not UTF-8 in it as ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


def _as_json(info: Mapping[str, Any]) -> str:
    text = json.dumps(info, indent=2, ensure_ascii=False)
    # names that are not UTF-8, in JSON's own way
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _checked(where: str, value: Any, check: Checked) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise InputError(f"{where}: {printable(reprlib.repr(value))}; expected {error}") from None


def _read_info(path: Path, columns: Sequence[str]) -> ResultsInfo:
    """The file beside a table with these columns."""
    if not path.is_file():
        raise InputError(f"{path}: missing; `madrnet predict` writes it beside the table, keep the two together")
    classes = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
    return ResultsInfo.read(read_json(path, _LARGEST_INFO), classes)


def _one_of(values: Sequence[Any]) -> Checked:
    def check(value: Any) -> Any:
        if value not in values:
            raise ValueError(f"one of {', '.join(str(name) for name in values if name is not None)}")
        return value

    return check


def _table(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() != ".parquet":
        return list(read_csv(path))
    import pyarrow
    from pyarrow import parquet

    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = printable(str(error).splitlines()[0][:100]) if str(error) else type(error).__name__
        raise InputError(f"{path}: can't be read as Parquet ({reason}); predict again") from None
    return [
        {from_cell(key): from_cell(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]


def _read_rows(path: Path, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Rows in their types, with all columns."""
    probabilities = {f"p_{name}": _number(0, 1) for name in labels}
    columns = _NEEDED | _OTHERS | probabilities | {"prediction": _one_of(labels)}
    out = []
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        found = {name: _checked(f"{where}, {name}", row.get(name), check) for name, check in columns.items()}
        total = sum(found[name] for name in probabilities)
        if abs(total - 1) > 0.01:
            raise InputError(f"{where}: its probabilities add up to {total:.3g}; expected 1")
        own, highest = found[f"p_{found['prediction']}"], max(found[name] for name in probabilities)
        stated = own if found["probability"] is None else found["probability"]
        if own < highest - _ROUNDED:
            raise InputError(
                f"{where}: the class {found['prediction']}, whose probability is {own:.3g}, is not what the model "
                "said; leave the table as it is, and give your own classes by the report: madrnet report --reviewed"
            )
        if abs(own - stated) > _SHOWN:
            label = f"p_{found['prediction']}"
            raise InputError(f"{where}: probability {stated:.3g}, but {label} {own:.3g}; expected the same")
        found["probability"] = own
        out.append(found)
    return out


def read_results(path: str | Path) -> Results:
    """Read a table of `madrnet predict` and the file beside it.

    Types, ranges and the two files' agreement are checked; unknown columns and keys are left out, missing ones filled.

    Raises:
        InputError: One of them is missing, or is not such a table; the message names the row and the column.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such table; expected the output of `madrnet predict`")
    rows = _table(path)
    columns = list(rows[0]) if rows else []
    if rows and "prediction" not in columns:
        raise InputError(f"{path}: holds no predictions; expected the output of `madrnet predict`, not of `measure`")
    missing = [name for name in _NEEDED if rows and name not in columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]}; expected the output of `madrnet predict`")
    info = _read_info(info_path(path), columns)
    return Results(path, _read_rows(path, rows, info.label_names), info)
