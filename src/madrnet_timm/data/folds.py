"""Folds for cross-validation: by class and cell, by session, image by image, or from a file."""

import csv
import logging
import re
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import read_csv
from .reading import images_below
from .sources import class_names, drop_conflicts, drop_unused_classes, load

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "FOLD_COLUMNS",
    "LEFT_OUT",
    "PROTOCOLS",
    "assign_folds",
    "check_seed",
    "divided_groups",
    "divided_records",
    "fold_rows",
    "make_folds",
    "read_folds",
    "session_folds",
    "shipped_folds",
    "undivided_records",
]

PROTOCOLS = {
    "grouped": "stratified by class; images of one cell never on both sides",
    "session": "each acquisition session held out in turn; classes that do not occur in all of them are left out",
    "image-level": "stratified by class, image by image, as in the papers: the same cell may be on both sides",
}
"""Ways to divide a data set."""

LEFT_OUT = -1
"""Fold of an image that a protocol or a file does not use."""

Folds = NDArray[np.int64]

_logger = logging.getLogger(__name__)


def check_seed(seed: int) -> None:
    """Raise `InputError` for what can't be a seed: NumPy's and scikit-learn's have 32 bits."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: expected a number from 0 to {2**32 - 1}")


def _check_groups(dataset: "Dataset", folds: int, units: NDArray[np.int64], what: str) -> None:
    if folds < 2:
        raise InputError(f"--folds {folds}: expected at least 2")
    labels = np.array(dataset["label"])
    for label, name in enumerate(class_names(dataset)):
        available = len(set(units[labels == label]))
        if available < folds:
            fewer = f" or choose --folds {available}" if available > 1 else ""
            raise InputError(f"class {name}: {available} {what}, fewer than the {folds} folds; add images{fewer}")


def make_folds(dataset: "Dataset", folds: int = 5, seed: int = 0, grouped: bool = True) -> Folds:
    """Number of the fold in which each record is held out.

    `sklearn.model_selection.StratifiedGroupKFold` on the records in the order of their pixels' hash, so that the folds
    depend on the images, the groups and the seed, not on file names or the order of files.

    Args:
        dataset: Records with ``label``, ``group`` and ``pixel_sha256``.
        folds: Number of folds, at least 2.
        seed: Of the shuffling.
        grouped: Keep the images of one cell together; without it `StratifiedKFold` (protocol ``image-level``).

    Raises:
        InputError: A class has fewer groups (or images) than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels, groups = np.array(dataset["label"]), np.array(dataset["group"])
    if grouped:
        _check_groups(dataset, folds, groups, "groups of images (one cell each)")
    else:
        _check_groups(dataset, folds, np.arange(len(labels)), "images")
    order = np.lexsort((dataset["file"], dataset["pixel_sha256"]))
    # group numbers follow the order of files: rename them by their first image in the order of hashes
    first = {group: i for i, group in reversed(list(enumerate(groups[order].tolist())))}
    stable = [first[group] for group in groups[order].tolist()]
    out = np.empty(len(labels), dtype=np.int64)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(labels[order], labels[order], stable if grouped else None)):
        out[order[held_out]] = number
    return out


def session_folds(dataset: "Dataset") -> Folds:
    """Each record's session as its fold, `LEFT_OUT` for classes that do not occur in every session.

    Raises:
        InputError: One session only, or fewer than two classes that occur in all of them.
    """
    sessions, labels = np.array(dataset["session"]), np.array(dataset["label"])
    every = set(sessions.tolist())
    if len(every) < 2:
        raise InputError("--protocol session: the backgrounds show one acquisition session only; use grouped folds")
    common = [label for label in set(labels.tolist()) if set(sessions[labels == label].tolist()) == every]
    if len(common) < 2:
        raise InputError("--protocol session: fewer than two classes occur in all sessions; use grouped folds")
    return np.where(np.isin(labels, common), sessions, LEFT_OUT).astype(np.int64)


def _stem(file: str) -> str:
    """Name of an image without its ending: what lies in ``images.npy`` has none."""
    folder, slash, name = file.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def read_folds(path: Path, dataset: "Dataset", missing: Collection[str] = ()) -> Folds:
    """Folds from a CSV with the columns ``file`` or ``image`` (as in the records) or ``pixel_sha256``, and ``fold``.

    Images that are not in it are `LEFT_OUT`; files in ``missing``, which were left out before, may stand there.

    Raises:
        InputError: Not such a file, a fold that is not a number from 0, an image that the data set does not have, or
            twice in the file.
    """
    rows = read_csv(path)
    column = next((name for name in ("file", "image", "pixel_sha256") if rows and name in rows[0]), None)
    if column is None or "fold" not in rows[0]:
        raise InputError(f"{path}: expected a CSV with the columns file (or image, or pixel_sha256) and fold")
    key = "file" if column == "image" else column
    places = {value: index for index, value in enumerate(dataset[key])}
    stems: dict[str, list[int]] = {}  # an image may have been converted since
    for value, index in places.items() if key == "file" else ():
        stems.setdefault(_stem(value), []).append(index)
    known_missing = {_stem(value) for value in missing}
    out = np.full(len(dataset), LEFT_OUT, dtype=np.int64)
    seen: dict[int, int] = {}
    for line, row in enumerate(rows, 2):
        name = row[column] or ""
        converted = stems.get(_stem(name), ())
        index = places.get(name, converted[0] if len(converted) == 1 else -1)
        if index < 0 and _stem(name) in known_missing:
            continue
        if index < 0:
            raise InputError(
                f"{path}, line {line}: {name!r} is not in the data set; expected names like {next(iter(places))}"
            )
        if not re.fullmatch("-?[0-9]{1,6}", row["fold"] or "") or int(row["fold"]) < LEFT_OUT:
            raise InputError(f"{path}, line {line}: fold {row['fold']!r}, expected a number from 0, or -1 for left out")
        fold = int(row["fold"])
        if seen.setdefault(index, fold) != fold or (key == "file" and out[index] != LEFT_OUT):
            raise InputError(f"{path}, line {line}: {name} occurs twice; each image is held out once")
        out[index] = fold
    if key == "pixel_sha256":  # images with the same pixels stay together
        fold_of = dict(zip(dataset[key], out.tolist(), strict=True))
        fold_of |= {dataset[key][index]: fold for index, fold in seen.items()}
        out = np.array([fold_of[value] for value in dataset[key]], dtype=np.int64)
    used = set(out.tolist()) - {LEFT_OUT}
    if used != set(range(len(used))) or len(used) < 2:
        raise InputError(f"{path}: folds {sorted(used)}; expected the numbers 0, 1, ... of at least two folds")
    return out


def shipped_folds(name: str, dataset: "Dataset", seed: int) -> Folds | None:
    """The five folds of a data set that come with the package (seeds 0 to 2), or None where there are none.

    The files are keyed by the pixels' hash, so that everybody holds out the same images whatever the version of
    scikit-learn, the names of the files or their order.
    """
    file = resources.files(__package__) / "manifests" / f"{name}_folds.csv"
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as opened:
        rows = csv.DictReader(opened)
        column = f"fold_seed{seed}"
        if column not in (rows.fieldnames or ()):
            return None
        folds = {row["pixel_sha256"]: int(row[column]) for row in rows}
    if not set(dataset["pixel_sha256"]) <= folds.keys():
        return None  # another copy of the data
    return np.array([folds[value] for value in dataset["pixel_sha256"]], dtype=np.int64)


FOLD_COLUMNS = ("pixel_sha256", "file", "group", "session", "label")
"""Of an image in the ``folds.csv`` of a run, beside its fold."""


def fold_rows(dataset: "Dataset", folds: Folds, columns: Sequence[str] = FOLD_COLUMNS) -> list[dict[str, Any]]:
    """One row per image for a table: ``columns`` of the records, the label by name, and ``fold``."""
    names = class_names(dataset)
    rows = zip(*(dataset[column] for column in columns), folds.tolist(), strict=True)
    out = [dict(zip((*columns, "fold"), row, strict=True)) for row in rows]
    return [row | {"label": names[row["label"]]} for row in out]


def assign_folds(
    name: str,
    dataset: "Dataset",
    protocol: str = "grouped",
    folds: int | Path = 5,
    seed: int = 0,
    missing: Collection[str] = (),
) -> Folds:
    """Folds of a data set by a protocol, or from a file.

    Args:
        name: A name of `madrnet_timm.data.sources.SOURCES`.
        dataset: Its records without those of conflicting labels.
        protocol: A name of `PROTOCOLS`.
        folds: Number of folds, or a CSV, see `read_folds`; the protocol ``session`` has as many as there are sessions.
        seed: Of the shuffling.
        missing: See `read_folds`.

    Raises:
        InputError: See `make_folds`, `session_folds`, `read_folds`; a protocol and a file, or a number of folds by
            session.
    """
    check_seed(seed)
    if protocol not in PROTOCOLS:
        raise InputError(f"--protocol {protocol}: expected one of {', '.join(PROTOCOLS)}")
    if isinstance(folds, Path):
        if protocol != "grouped":
            raise InputError(f"--protocol {protocol} and --folds {folds}: the file is the protocol; choose one")
        return read_folds(folds, dataset, missing)
    if protocol == "session":
        if folds != 5:
            raise InputError(f"--folds {folds}: with --protocol session there are as many folds as sessions")
        return session_folds(dataset)
    if protocol == "grouped" and folds == 5:
        shipped = shipped_folds(name, dataset, seed)
        if shipped is not None:
            return shipped
    return make_folds(dataset, folds, seed, grouped=protocol == "grouped")


def divided_groups(groups: Sequence[int], folds: Sequence[int]) -> int:
    """How many groups (cells) have images in more than one fold, so that a model is measured on what it saw."""
    where: dict[int, set[int]] = {}
    for group, fold in zip(groups, folds, strict=True):
        if fold != LEFT_OUT:
            where.setdefault(group, set()).add(fold)
    return sum(len(found) > 1 for found in where.values())


def _check_sides(names: Sequence[str], labels: Sequence[int], folds: Sequence[int], given: int | Path) -> None:
    """A class that lies in one fold alone can't be learned where that fold is held out."""
    where: dict[int, set[int]] = {label: set() for label in range(len(names))}
    for label, fold in zip(labels, folds, strict=True):
        where[label].add(fold)
    for label, found in where.items():
        if len(found) == 1:
            raise InputError(
                f"--folds {given}: all images of the class {names[label]} lie in fold {min(found)}, so that none is "
                "left to train on where it is held out; spread every class over two folds at least"
            )


def undivided_records(
    name: str, data_dir: Path | None = None, skip_unreadable: bool = False
) -> tuple["Dataset", Folds, list[str]]:
    """All records, in one fold, and files left out for conflicting labels; for the arguments see `divided_records`.

    Raises:
        InputError: See `load`.
    """
    records, conflicts = drop_conflicts(load(name, data_dir, skip_unreadable=skip_unreadable))
    records = drop_unused_classes(records)
    return records, np.zeros(len(records), dtype=np.int64), conflicts


def divided_records(
    name: str,
    data_dir: Path | None = None,
    protocol: str = "grouped",
    folds: int | Path = 5,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> tuple["Dataset", Folds, list[str]]:
    """The records that a protocol uses, the fold in which each is held out, and files left out for conflicting labels.

    Warns where folds from a file divide groups.

    Args:
        name: A name of `madrnet_timm.data.sources.SOURCES`.
        data_dir: Its folder.
        protocol: See `assign_folds`, also for the others.
        folds: Number or file.
        seed: Of the shuffling.
        skip_unreadable: See `load`.

    Raises:
        InputError: See `load` and `assign_folds`; a class that one fold holds out as a whole.
    """
    records, conflicts = drop_conflicts(load(name, data_dir, skip_unreadable=skip_unreadable))
    missing = list(conflicts)
    if skip_unreadable and data_dir is not None and isinstance(folds, Path):
        missing += [path.relative_to(data_dir).as_posix() for path in images_below(data_dir)]
    assigned = assign_folds(name, records, protocol, folds, seed, missing)
    used = assigned != LEFT_OUT
    if not used.all():
        records, assigned = records.select(np.flatnonzero(used)), assigned[used]
    records = drop_unused_classes(records)
    _check_sides(class_names(records), records["label"], assigned.tolist(), folds)
    if isinstance(folds, Path) and (divided := divided_groups(records["group"], assigned.tolist())):
        _logger.warning("%s: %d cells have images in several folds: accuracy will flatter", folds, divided)
    return records, assigned, conflicts
