"""Data sets as `datasets.Dataset`s with one record for every source: HuSHeM, SMIDS, a folder of classes, drawn heads.

A record holds the picture (its bytes, no path of this machine), its class, where it came from, hashes of file and
pixels, the group of pictures that show the same cell, and what was measured on the head. Building one takes some
seconds; it is cached as Arrow, under a key that covers the content of every file and the code that measured it.
"""

import hashlib
import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..morphology import MEASUREMENTS, measure
from . import groups, synthetic
from .reading import SUFFIXES, decode, pixel_sha256, read

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SOURCES", "Source", "class_names", "drop_conflicts", "load", "pictures"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a data set's classes lie.

    Attributes:
        title: Name of the data set, for cards and messages.
        classes: Class name of each folder, in the order of the class ids; None: the folders' own names, sorted.
        normal: Name of the class that means a normal head, where the data set has one.
        doi: Where it was published.
    """

    title: str
    classes: dict[str, str] | None = None
    normal: str = "Normal"
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
        doi="10.17632/6xvdhc9fyb",
    ),
    "folder": Source("own folder"),
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
        found = sorted(
            p
            for p in (root / folder).rglob("*")
            if p.is_file() and p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
        )
        if not found:
            raise InputError(
                f"{root / folder}: holds no pictures; put this class's pictures there or remove the folder"
            )
        files += found
        labels += [label] * len(found)
    return files, labels, list(classes.values())


def _draw(name: str, seed: int) -> bytes:
    """The drawn head called ``<shape>/<number>.png`` as a PNG file."""
    shape, number = name.removesuffix(".png").split("/")
    rng = np.random.default_rng([seed, synthetic.SHAPES.index(shape), int(number)])
    buffer = io.BytesIO()
    Image.fromarray(synthetic.draw_head(shape, rng).image).save(buffer, "PNG")
    return buffer.getvalue()


def _code_digest() -> str:
    """Hash of the code that reads, groups and measures, so that no cached record outlives a change of it."""
    package = Path(__file__).parents[1]
    paths = sorted([*package.glob("data/*.py"), *package.glob("morphology/*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _records(root: str | None, names: Sequence[str], labels: Sequence[int], seed: int, digest: str) -> Iterator[dict]:
    """One record a picture; ``digest`` only is part of the cache's key."""
    contents = [read(Path(root, name)) if root is not None else _draw(name, seed) for name in names]
    images = [decode(data, str(Path(root or "", name))) for data, name in zip(contents, names, strict=True)]
    hashes = [pixel_sha256(image) for image in images]
    group = groups.find_groups(images, hashes)
    for index, (name, data, image) in enumerate(zip(names, contents, images, strict=True)):
        yield {
            "image": {"bytes": data, "path": Path(name).name},
            "label": labels[index],
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "pixel_sha256": hashes[index],
            "group": group[index],
            **measure(image).to_dict(),
            "image_width": image.shape[1],
            "image_height": image.shape[0],
        }


def load(name: str, data_dir: str | Path | None = None, count: int = 60, seed: int = 0) -> "Dataset":
    """Load a data set.

    Args:
        name: ``hushem``, ``smids``, ``folder`` or ``synthetic``.
        data_dir: Folder that holds one folder of pictures per class; none for ``synthetic``.
        count: Heads drawn per class, ``synthetic`` only.
        seed: Of the drawing, ``synthetic`` only.

    Returns:
        A `datasets.Dataset` with the columns ``image`` (Image), ``label`` (ClassLabel), ``file`` (relative to
        ``data_dir``), ``sha256``, ``pixel_sha256``, ``group``, ``aspect_ratio`` (γ), ``head_length``, ``head_width``
        (pixels), ``angle`` (degrees), the other measurements of `MEASUREMENTS`, ``ok``, ``flags``, ``image_width``,
        ``image_height``.
        Missing measurements are null.

    Raises:
        InputError: Unknown name; a folder that is missing, empty or not of the data set; a picture that can't be read.
    """
    from datasets import ClassLabel, Dataset, Features, Image, Value
    from datasets.config import HF_DATASETS_CACHE
    from datasets.exceptions import DatasetGenerationError

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
            **dict.fromkeys(MEASUREMENTS, Value("float32")),
            "ok": Value("bool"),
            "flags": Value("string"),
            "image_width": Value("int32"),
            "image_height": Value("int32"),
        }
    )
    digest = hashlib.sha256(content).hexdigest() + _code_digest()
    arguments = {"names": tuple(names), "labels": tuple(labels), "seed": seed, "digest": digest}
    try:
        return Dataset.from_generator(
            _records, features=features, gen_kwargs={"root": None if root is None else str(root), **arguments}
        )
    except (DatasetGenerationError, OSError) as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(
            f"{HF_DATASETS_CACHE}: the cache of the data set can't be written ({error.__cause__ or error}); free some "
            "space, or name another folder in the environment variable HF_DATASETS_CACHE"
        ) from error


def pictures(dataset: "Dataset") -> Iterator[NDArray[np.uint8]]:
    """The pictures of the records, each RGB ``(height, width, 3)`` uint8, by `decode`."""
    from datasets import Image

    for record in dataset.select_columns(["image", "file"]).cast_column("image", Image(decode=False)):
        yield decode(record["image"]["bytes"], record["file"])


def class_names(dataset: "Dataset") -> list[str]:
    """Class names in the order of the class ids."""
    return list(dataset.features["label"].names)


def drop_conflicts(dataset: "Dataset") -> tuple["Dataset", list[str]]:
    """Leave out pictures whose pixels occur with more than one label (SMIDS has four such pairs).

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
    _logger.warning("%d pictures with the same pixels but different labels are left out", len(files))
    return dataset.select([i for i, kept in enumerate(keep) if kept]), files
