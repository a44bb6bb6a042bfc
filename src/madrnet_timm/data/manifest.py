"""Manifests: what a copy of a data set must hold, by hash of files or pixels."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import InputError
from ..progress import progress
from .reading import decode, images_below, pixel_sha256, read
from .sources import SOURCES

__all__ = ["MANIFESTS", "Verification", "manifest_pixels", "read_manifest", "verify"]

MANIFESTS = ("hushem", "smids")
"""Data sets whose manifest comes with the package."""


@dataclass(frozen=True)
class Verification:
    """What `verify` found; names are ``folder/stem``, without the suffix.

    Attributes:
        right: Number of images that are as the manifest says.
        missing: Images of the manifest that are not there.
        altered: Images whose pixels are not those of the manifest, or that can't be read.
        unexpected: Images that are not in the manifest.
    """

    right: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Everything is there, as the manifest says, and nothing else."""
        return not (self.missing or self.altered or self.unexpected)

    def __str__(self) -> str:
        lines = [f"{self.right} images as the manifest says"]
        for title in ("missing", "altered", "unexpected"):
            names = getattr(self, title)
            if names:
                shown = ", ".join(names[:10]) + (f", and {len(names) - 10} more" if len(names) > 10 else "")
                lines.append(f"{len(names)} {title}: {shown}")
        return "\n".join(lines)


def read_manifest(name: str) -> dict[str, dict[str, str]]:
    """``sha256`` (of the file as it was seen last) and ``pixel_sha256`` of each ``folder/stem``.

    Raises:
        InputError: No manifest for such a data set.
    """
    if name not in MANIFESTS:
        raise InputError(f"data set {name!r}: only {' and '.join(MANIFESTS)} have a manifest")
    with (resources.files(__package__) / "manifests" / f"{name}_manifest.csv").open(encoding="utf-8") as opened:
        return {row.pop("name"): row for row in csv.DictReader(opened)}


def manifest_pixels(names: Iterable[str]) -> set[str]:
    """``pixel_sha256`` of all images of the named data sets; those without a manifest (`MANIFESTS`) have none."""
    return {row["pixel_sha256"] for name in names if name in MANIFESTS for row in read_manifest(name).values()}


def _is_as_listed(path: Path, expected: Mapping[str, str]) -> bool:
    try:
        data = read(path)
        if hashlib.sha256(data).hexdigest() == expected["sha256"]:
            return True
        # another lossless encoding?
        return pixel_sha256(decode(data, str(path))) == expected["pixel_sha256"]
    except InputError:
        return False


def verify(name: str, data_dir: str | Path) -> Verification:
    """Compare a copy of a data set with its manifest.

    A file is right if its bytes are or, in another lossless format, its pixels; its suffix does not matter.

    Raises:
        InputError: No manifest for such a data set, or no such folder.
    """
    manifest, root = read_manifest(name), Path(data_dir)
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; expected the one that holds {', '.join(SOURCES[name].classes or ())}"
        )
    found: dict[str, Path] = {}
    again = []  # of the same name but for the suffix
    for path in images_below(root):
        stem = path.relative_to(root).with_suffix("").as_posix()
        if stem in found:
            again.append(path.relative_to(root).as_posix())
        found.setdefault(stem, path)
    known = [stem for stem in found if stem in manifest]
    bar = progress(known, len(known), "verifying", "image", shown_from=500)
    altered = [stem for stem in bar if not _is_as_listed(found[stem], manifest[stem])]
    return Verification(
        right=len(known) - len(altered),
        missing=tuple(stem for stem in manifest if stem not in found),
        altered=tuple(altered),
        unexpected=(*(stem for stem in found if stem not in manifest), *again),
    )
