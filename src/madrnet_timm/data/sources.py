"""Data sets as `datasets.Dataset`s with one record for every source: HuSHeM, SMIDS, own folders, arrays, drawn heads.

A record holds the picture (its bytes, no path of this machine), its class, where it came from, hashes of file and
pixels, the group of pictures that show the same cell, and what was measured on the head. Building one takes some
seconds; it is cached as Arrow, under a key that covers the content of every file and the code that measured it.
"""

import errno
import hashlib
import io
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..files import disk_reason
from ..morphology import MEASUREMENTS, measure
from . import groups, sessions, synthetic
from .reading import decode, pictures_below, pixel_sha256, read

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = [
    "PROFILES",
    "SOURCES",
    "Source",
    "class_names",
    "code_digest",
    "drop_conflicts",
    "drop_unused_classes",
    "generated",
    "load",
    "pictures",
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
        no_head: Name of the class of pictures that show no head, where it has one.
        doi: Where it was published.
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
    if not folders:
        raise InputError(f"{root}: holds no folders; expected one folder of pictures per class")
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
        found = pictures_below(root / folder)
        if not found:
            raise InputError(
                f"{root / folder}: holds no pictures; put this class's pictures there or remove the folder"
            )
        files += found
        labels += [label] * len(found)
    return files, labels, list(classes.values())


def _arrays(root: Path) -> tuple[NDArray[np.uint8], list[int], list[str]]:
    """Pictures, class ids and class names of a folder with ``images.npy`` and ``labels.npy``."""
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
        raise InputError(
            f"{root}/images.npy: pictures of {images.shape[1]}×{images.shape[2]} pixels; expected 8×8 or more"
        )
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
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _content(root: str | None, name: str, seed: int) -> bytes:
    """Bytes of a picture: a file below ``root``, ``images.npy/<row>`` of an array, a drawn ``<shape>/<number>``."""
    if root is None:
        shape, number = name.removesuffix(".png").split("/")
        rng = np.random.default_rng([seed, synthetic.SHAPES.index(shape), int(number)])
        return _png(synthetic.draw_head(shape, rng).image)
    folder, _, row = name.partition("/")
    if folder == "images.npy":
        return _png(np.array(np.load(Path(root, folder), mmap_mode="r", allow_pickle=False)[int(row)]))
    return read(Path(root, name))


def code_digest() -> str:
    """Hash of the code that reads, groups and measures, so that no cached record outlives a change of it."""
    package = Path(__file__).parents[1]
    own = (
        package / "data" / f"{name}.py"
        for name in ("groups", "reading", "sessions", "sources", "synthetic", "unlabelled")
    )
    paths = [*own, *sorted(package.glob("morphology/*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _records(root: str | None, names: Sequence[str], labels: Sequence[int], seed: int, digest: str) -> Iterator[dict]:
    """One record a picture; ``digest`` only is part of the cache's key."""
    contents = [_content(root, name, seed) for name in names]
    images = [decode(data, str(Path(root or "", name))) for data, name in zip(contents, names, strict=True)]
    hashes = [pixel_sha256(image) for image in images]
    group = groups.find_groups(images, hashes)
    session = sessions.find_sessions(images, names)
    for index, (name, data, image) in enumerate(zip(names, contents, images, strict=True)):
        head = measure(image)
        yield {
            "image": {"bytes": data, "path": Path(name).name},
            "label": labels[index],
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "pixel_sha256": hashes[index],
            "group": group[index],
            "session": session[index],
            **head.to_dict(),
            **{profile: list(getattr(head, profile)) for profile in PROFILES},
            "image_width": image.shape[1],
            "image_height": image.shape[0],
        }


def load(name: str, data_dir: str | Path | None = None, count: int = 60, seed: int = 0) -> "Dataset":
    """Load a data set.

    Args:
        name: ``hushem``, ``smids``, ``folder``, ``npy`` or ``synthetic``.
        data_dir: Folder that holds one folder of pictures per class, of ``npy`` that with ``images.npy`` (uint8, N×H×W
            or N×H×W×3) and ``labels.npy`` (N class ids or names); none for ``synthetic``.
        count: Heads drawn per class, ``synthetic`` only.
        seed: Of the drawing, ``synthetic`` only.

    Returns:
        A `datasets.Dataset` with the columns ``image`` (Image), ``label`` (ClassLabel), ``file`` (relative to
        ``data_dir``), ``sha256``, ``pixel_sha256``, ``group`` (see `groups`), ``session`` (see `sessions`),
        ``aspect_ratio`` (γ), ``head_length``, ``head_width`` (pixels), ``angle`` (degrees), the other measurements of
        `MEASUREMENTS`, ``ok``, ``flags``, ``stain_profile``, ``width_profile``, ``image_width``, ``image_height``.
        Missing measurements are null, missing profiles empty. Class ids follow the order in `SOURCES`, for own data the
        sorted names.

    Raises:
        InputError: Unknown name; a folder that is missing, empty or not of the data set; a picture that can't be read.
    """
    from datasets import ClassLabel, Features, Image, List, Value

    if name not in SOURCES:
        raise InputError(f"data set {name!r}: expected one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    if name == "synthetic":
        root, classes = None, list(synthetic.SHAPES)
        names = [f"{shape}/{index:03d}.png" for shape in classes for index in range(count)]
        labels = [label for label in range(len(classes)) for _ in range(count)]
        content = f"synthetic {count} {seed}".encode()
    else:
        if data_dir is None:
            raise InputError(f"data set {name!r} needs --data-dir, the folder that holds one folder per class")
        root = Path(data_dir)
        if name == "npy":
            images, labels, classes = _arrays(root)
            names = [f"images.npy/{row:06d}" for row in range(len(images))]
            files = [root / "images.npy", root / "labels.npy"]
        else:
            files, labels, classes = _listed(root, source)
            names = [path.relative_to(root).as_posix() for path in files]
        content = b"".join(hashlib.sha256(read(path)).digest() for path in files)
    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=classes),
            "file": Value("string"),
            "sha256": Value("string"),
            "pixel_sha256": Value("string"),
            "group": Value("int32"),
            "session": Value("int32"),
            # each a Value of its own: with a shared one the hash of what is read from the cache is another
            **{measurement: Value("float32") for measurement in MEASUREMENTS},
            "ok": Value("bool"),
            "flags": Value("string"),
            **{profile: List(Value("float32")) for profile in PROFILES},
            "image_width": Value("int32"),
            "image_height": Value("int32"),
        }
    )
    digest = hashlib.sha256(content).hexdigest() + code_digest()
    arguments = {"names": tuple(names), "labels": tuple(labels), "seed": seed, "digest": digest}
    root_path = None if root is None else str(root)
    return generated(_records, features, {"root": root_path, **arguments})


def generated(
    generator: Callable[..., Iterator[dict]], features: "Features", arguments: Mapping[str, Any]
) -> "Dataset":
    """Records of a generator, kept in the cache of `datasets` under a key that covers its arguments.

    Args:
        generator: Of dicts.
        features: Their columns.
        arguments: Of the generator.

    Raises:
        InputError: The generator raised it, or the cache can't be written.
    """
    from datasets import Dataset
    from datasets.config import HF_DATASETS_CACHE
    from datasets.exceptions import DatasetGenerationError

    try:
        return Dataset.from_generator(generator, features=features, gen_kwargs=dict(arguments))
    except (DatasetGenerationError, OSError) as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        if isinstance(cause, InputError):
            raise cause from None
        reason = disk_reason(cause, Path(HF_DATASETS_CACHE))
        if str(cause).startswith("Not enough disk space"):  # asked beforehand by `datasets`, and no error of the system
            reason = os.strerror(errno.ENOSPC)
        if reason is None:
            raise
        raise InputError(
            f"{HF_DATASETS_CACHE}: the cache of the data set can't be written ({reason}); free some space, or name "
            "another folder in the environment variable HF_DATASETS_CACHE"
        ) from error


def pictures(dataset: "Dataset") -> Iterator[NDArray[np.uint8]]:
    """The pictures of the records, each RGB ``(height, width, 3)`` uint8, by `decode`."""
    from datasets import Image

    for record in dataset.select_columns(["image", "file"]).cast_column("image", Image(decode=False)):
        yield decode(record["image"]["bytes"], record["file"])


def class_names(dataset: "Dataset") -> list[str]:
    """Class names in the order of the class ids."""
    return list(dataset.features["label"].names)


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
    """Leave out pictures whose pixels occur with more than one label (SMIDS has four such pairs).

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
    _logger.warning("%d pictures with the same pixels but different labels are left out: %s", len(files), shown)
    return dataset.select([i for i, kept in enumerate(keep) if kept]), files
