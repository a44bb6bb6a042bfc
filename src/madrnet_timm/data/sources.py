"""Data sets as `datasets.Dataset`s with one record for every source: HuSHeM, SMIDS, own folders, arrays, drawn heads.

A record holds the image (its bytes, no path of this machine), its class, where it came from, hashes of file and
pixels, the group of images that show the same cell, and what was measured on the head. It lies in memory; what takes
some seconds to compute is cached, see `records`, under a key that covers the content of every file and the code.
"""

import hashlib
import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cells import printable
from ..errors import InputError
from ..morphology import MEASUREMENTS, measure
from ..progress import progress
from ..values import LONGEST_LINE, is_line
from . import groups, sessions, synthetic
from .domain import DOMAIN, domain_features
from .reading import SUFFIXES, decode, images_below, pixel_sha256
from .records import Item, Row, cached_rows, computed_rows, in_memory, read_items

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "PROFILES",
    "SOURCES",
    "Source",
    "class_names",
    "drop_conflicts",
    "drop_unused_classes",
    "images_of",
    "load",
    "normal_class",
]

PROFILES = ("stain_profile", "width_profile")
"""Measurements of ten numbers each."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a data set's classes lie.

    Attributes:
        title: Name of the data set, for cards and messages.
        classes: Class name of each folder, in the order of the class ids; None: the folders' own names, sorted.
        normal: Name of the class that means a normal head, where the data set has one.
        no_head: Name of the class of images that show no head, where it has one.
        doi: Of the data set.
    """

    title: str
    classes: dict[str, str] | None = None
    normal: str = "Normal"
    no_head: str | None = None
    doi: str | None = None


SOURCES = {
    "hushem": Source(
        "HuSHeM",
        {"01_Normal": "Normal", "02_Tapered": "Tapered", "03_Pyriform": "Pyriform", "04_Amorphous": "Amorphous"},
        doi="10.17632/tt3yj2pf38",
    ),
    "smids": Source(
        "SMIDS",
        {"Abnormal_Sperm": "Abnormal", "Non-Sperm": "Non-Sperm", "Normal_Sperm": "Normal"},
        no_head="Non-Sperm",
        doi="10.17632/6xvdhc9fyb",
    ),
    "folder": Source("own folder"),
    "npy": Source("own arrays"),
    "synthetic": Source("synthetic heads", {name: name for name in synthetic.SHAPES}),
}


def _listed(root: Path, source: Source) -> tuple[list[Path], list[int], list[str]]:
    """Files in a stable order, their class ids, and the class names."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; --data-dir expects the folder that holds one folder per class")
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    classes = source.classes or {name: name for name in folders}
    loose = sorted(p.name for p in root.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not folders:
        here = f", but {len(loose)} images" if loose else ""
        raise InputError(f"{root}: holds no folders{here}; expected one folder of images per class")
    if loose:
        named = ", ".join(map(printable, loose[:3])) + (", ..." if len(loose) > 3 else "")
        _logger.warning("%s: images beside the class folders are left out (%d): %s", root, len(loose), named)
    wanted = ", ".join(classes)
    if unknown := [name for name in folders if name not in classes]:
        raise InputError(
            f"{root / unknown[0]}: not a class of {source.title}; expected the folders {wanted}. "
            "Remove it, or use the data set 'folder' for classes of your own"
        )
    if missing := [name for name in classes if name not in folders]:
        raise InputError(f"{root}: the class folder {missing[0]} is missing; {source.title} has {wanted}")
    if len(classes) < 2:
        raise InputError(f"{root}: only one class folder ({wanted}); a classifier needs at least two")
    files, labels = [], []
    for label, folder in enumerate(classes):
        found = images_below(root / folder)
        if not found:
            raise InputError(f"{root / folder}: holds no images; put this class's images there or remove the folder")
        files += found
        labels += [label] * len(found)
    return files, labels, [printable(value) for value in classes.values()]


def _arrays(root: Path) -> tuple[NDArray[np.uint8], list[int], list[str]]:
    """Images, class ids and class names of a folder with ``images.npy`` and ``labels.npy``."""
    loaded = []
    for name in ("images.npy", "labels.npy"):
        try:
            loaded.append(np.load(root / name, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{root / name}: can't be read as an array ({error}); the data set 'npy' expects images.npy (uint8, "
                "N×H×W or N×H×W×3) and labels.npy (N class ids or names) in --data-dir"
            ) from None
    images, labels = loaded
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise InputError(f"{root}/images.npy: {images.dtype} of shape {images.shape}; expected uint8, N×H×W or N×H×W×3")
    if min(images.shape[1:3]) < 8:
        raise InputError(f"{root}/images.npy: {images.shape[1]}×{images.shape[2]} pixels; expected 8×8 or more")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU":
        raise InputError(
            f"{root}/labels.npy: {labels.dtype} of shape {labels.shape}; expected {len(images)} integers or names"
        )
    values, ids = np.unique(labels, return_inverse=True)
    if len(values) < 2:
        raise InputError(f"{root}/labels.npy: only one class; a classifier needs at least two")
    return images, ids.tolist(), [str(value) for value in values]


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _drawn(count: int, seed: int) -> list[Row]:
    """Drawn heads, ``count`` of each shape: name, class id and the bytes of a PNG."""
    return [
        {"file": f"{shape}/{number:03d}.png", "label": label, "data": _png(synthetic.draw_head(shape, rng).image)}
        for label, shape in enumerate(synthetic.SHAPES)
        for number in range(count)
        for rng in [np.random.default_rng([seed, label, number])]
    ]


def _measured(items: Sequence[Item], images: list[NDArray[np.uint8]]) -> list[Row]:
    """Hash, group, session and measurements of each image."""
    hashes = [pixel_sha256(image) for image in images]
    heads = [measure(image) for image in progress(images, len(images), "measuring", "image", shown_from=500)]
    group = groups.find_groups(images, hashes, heads)
    session = sessions.find_sessions(images, [item.file for item in items])
    rows = []
    for index, (image, head) in enumerate(zip(images, heads, strict=True)):
        rows.append(
            {
                "pixel_sha256": hashes[index],
                "group": group[index],
                "session": session[index],
                "domain": domain_features(image, head),
                **head.to_dict(),
                **{profile: list(getattr(head, profile)) for profile in PROFILES},
                "image_width": image.shape[1],
                "image_height": image.shape[0],
            }
        )
    return rows


def _items(
    name: str, data_dir: str | Path | None, count: int, seed: int, failures: list[str]
) -> tuple[list[Item], list[str]]:
    """The images of a data set and its class names; why others can't be read is added to ``failures``."""
    if name == "synthetic":
        rows = cached_rows(f"synthetic {count} {seed}", lambda: _drawn(count, seed))
        return [Item(row["file"], row["file"], row["data"], row["label"]) for row in rows], list(synthetic.SHAPES)
    if data_dir is None:
        raise InputError(f"data set {name!r} needs --data-dir, the folder that holds one folder per class")
    root = Path(data_dir)
    if name == "npy":
        images, labels, classes = _arrays(root)
        named = [f"images.npy/{row:06d}" for row in range(len(images))]
        encoded = (_png(np.array(image)) for image in images)
        return [Item(n, f"{root}/{n}", data, k) for n, data, k in zip(named, encoded, labels, strict=True)], classes
    files, labels, classes = _listed(root, SOURCES[name])
    items = read_items(files, [path.relative_to(root).as_posix() for path in files], labels, failures)
    return items, classes


def load(
    name: str,
    data_dir: str | Path | None = None,
    count: int = 60,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> "Dataset":
    """Load a data set.

    Args:
        name: ``hushem``, ``smids``, ``folder``, ``npy`` or ``synthetic``.
        data_dir: Folder that holds one folder of images per class, of ``npy`` that with ``images.npy`` (uint8, N×H×W
            or N×H×W×3) and ``labels.npy`` (N class ids or names); none for ``synthetic``.
        count: Heads drawn per class, ``synthetic`` only.
        seed: Of the drawing, ``synthetic`` only.
        skip_unreadable: Leave out images that can't be read, with a warning.

    Returns:
        A `datasets.Dataset` with the columns ``image`` (Image), ``label`` (ClassLabel), ``file`` (relative to
        ``data_dir``), ``sha256``, ``pixel_sha256``, ``group`` (see `groups`), ``session`` (see `sessions`),
        ``aspect_ratio`` (γ), ``head_length``, ``head_width`` (pixels), ``angle`` (degrees), the other measurements of
        `MEASUREMENTS`, ``ok``, ``flags``, ``stain_profile``, ``width_profile``, ``domain`` (see
        `domain_features`), ``image_width``, ``image_height``.
        Missing measurements are null, missing profiles empty. Class ids follow the order in `SOURCES`, for own data the
        sorted names.

    Raises:
        InputError: Unknown name; a folder that is missing, empty or not of the data set; images that can't be read,
            all in one message.
    """
    from datasets import Features  # first: where it is not installed, nothing is read

    if name not in SOURCES:
        raise InputError(f"data set {name!r}: expected one of {', '.join(SOURCES)}")
    if name == "synthetic" and data_dir is not None:
        raise InputError(f"--data-dir {data_dir}: the data set 'synthetic' is drawn, it has no folder")
    failures: list[str] = []
    items, classes = _items(name, data_dir, count, seed, failures)
    for title in classes:
        if not is_line(title):  # as a model's config.json takes it
            raise InputError(
                f"{data_dir}: the class {title[:40]!r}: expected a name of 1 to {LONGEST_LINE} printable characters"
            )
    kept, rows = computed_rows(items, failures, _measured, "measured", skip_unreadable)
    labels = {item.label for item in kept}
    if gone := [classes[label] for label in {item.label for item in items} - labels]:
        raise InputError(f"{data_dir}: of the class {gone[0]} no image can be read; mend them, or remove its folder")
    records = [
        {
            "image": {"bytes": item.data, "path": Path(item.file).name},
            "label": item.label,
            "file": item.file,
            "sha256": hashlib.sha256(item.data).hexdigest(),
            **row,
        }
        for item, row in zip(kept, rows, strict=True)
    ]
    return in_memory(records, Features(_columns(classes)))


def _columns(classes: Sequence[str]) -> dict[str, Any]:
    """What each column of a data set holds, see `load`."""
    from datasets import ClassLabel, Image, List, Value

    return {
        "image": Image(),
        "label": ClassLabel(names=list(classes)),
        "file": Value("string"),
        "sha256": Value("string"),
        "pixel_sha256": Value("string"),
        "group": Value("int32"),
        "session": Value("int32"),
        **{measurement: Value("float32") for measurement in MEASUREMENTS},
        "ok": Value("bool"),
        "flags": Value("string"),
        **{profile: List(Value("float32")) for profile in PROFILES},
        "domain": {name: Value("float64") for name in DOMAIN},
        "image_width": Value("int32"),
        "image_height": Value("int32"),
    }


def images_of(dataset: "Dataset") -> Iterator[NDArray[np.uint8]]:
    """The images of the records, each RGB ``(height, width, 3)`` uint8, by `decode`."""
    from datasets import Image

    for record in dataset.select_columns(["image", "file"]).cast_column("image", Image(decode=False)):
        yield decode(record["image"]["bytes"], record["file"])


def class_names(dataset: "Dataset") -> list[str]:
    """Class names in the order of the class ids."""
    return list(dataset.features["label"].names)


def normal_class(names: Sequence[str], wanted: str | None = None) -> str | None:
    """The class of normal heads among the names of classes, in upper or lower case.

    Args:
        names: Of the classes.
        wanted: Its name; without it that is called Normal, or None where there is none.

    Raises:
        InputError: There is no class ``wanted``.
    """
    name = "Normal" if wanted is None else wanted
    alike = [own for own in names if own.strip().casefold() == name.strip().casefold()]
    if name in names:
        return name
    if len(alike) == 1:
        return alike[0]
    if wanted is not None:
        raise InputError(f"--normal-class {wanted}: no such class; expected one of {', '.join(names)}")
    return None


def drop_unused_classes(dataset: "Dataset") -> "Dataset":
    """The records with the names of those classes only that occur; class ids are numbered anew, in their order."""
    from datasets import ClassLabel

    names, used = class_names(dataset), sorted(set(dataset["label"]))
    if len(used) == len(names):
        return dataset
    labels = [used.index(label) for label in dataset["label"]]
    feature = ClassLabel(names=[names[label] for label in used])
    return dataset.remove_columns("label").add_column("label", labels, feature=feature)


def drop_conflicts(dataset: "Dataset") -> tuple["Dataset", list[str]]:
    """Leave out images whose pixels occur with more than one label (SMIDS has four such pairs).

    Nobody can say which of the labels is right, so that neither is trained on nor scored; a warning names the files.

    Returns:
        The rest, and the files left out.
    """
    seen: dict[str, set[int]] = defaultdict(set)
    for value, label in zip(dataset["pixel_sha256"], dataset["label"], strict=True):
        seen[value].add(label)
    keep = [len(seen[value]) == 1 for value in dataset["pixel_sha256"]]
    if all(keep):
        return dataset, []
    files = [file for file, kept in zip(dataset["file"], keep, strict=True) if not kept]
    shown = ", ".join(files[:8]) + (", ..." if len(files) > 8 else "")
    _logger.warning("%d images with the same pixels but different labels are left out: %s", len(files), shown)
    return dataset.select([i for i, kept in enumerate(keep) if kept]), files
