"""Reading image files: one gate for training, measurement and prediction."""

import hashlib
import io
import logging
import os
import stat
from collections.abc import Sequence
from functools import cache
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ..cells import printable
from ..errors import InputError
from ..files import LONGEST_NAME
from ..morphology import as_rgb
from ..morphology.pixels import CUT_UP, LARGEST_CROP, MOST_PIXELS

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "ImageLike",
    "check_crop",
    "decode",
    "formats",
    "image_files",
    "images_below",
    "names_below",
    "pixel_sha256",
    "read",
    "read_image",
    "shown",
]

FORMATS = {
    "AVIF": {".avif"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "JPEG": {".jfif", ".jpeg", ".jpg"},
    "JPEG2000": {".jp2"},
    "PNG": {".png"},
    "PPM": {".pbm", ".pgm", ".pnm", ".ppm"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
    "TGA": {".tga"},  # last, since it has no mark to be known by
}
"""Pillow's names of the formats that are read, whatever a file's name says, and the usual endings. No other is tried:
some start programs."""

SUFFIXES = frozenset().union(*FORMATS.values())
"""Files that are taken for images."""

ImageLike = str | Path | bytes | Image.Image | NDArray[np.generic]
"""A path, a file's bytes, a Pillow image, or an array, see `madrnet_timm.morphology.as_rgb`."""

_LARGEST_FILE = 2**29  # bytes
_LONGEST_NAME = 300  # in a message

_logger = logging.getLogger(__name__)


def shown(path: str | Path) -> str:
    """A path as a message shows it: on one line, not without end."""
    text = printable(str(path))
    return text if len(text) <= _LONGEST_NAME else f"{text[:150]}...{text[-100:]}"


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: It can't be read, is not a file, or has more than half a GB.
    """
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST_FILE:
            return path.read_bytes()
    except FileNotFoundError:
        missing = "a link to a file that is not there" if os.path.islink(path) else "no such file"
        raise InputError(f"{shown(path)}: {missing}") from None
    except OSError as error:
        raise InputError(f"{shown(path)}: can't be read ({error.strerror}); check its permissions") from None
    except ValueError as error:
        raise InputError(f"{shown(path)}: not the name of a file ({error})") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{shown(path)}: not a file; expected an image")
    raise InputError(
        f"{shown(path)}: {found.st_size / 2**30:.1f} GB; expected at most 0.5 GB, or a TIFF of several pages"
    )


def images_below(folder: Path) -> list[Path]:
    """Image files in a folder and all below it, sorted; hidden files and folders (``.name``) are left out.

    Folders that can't be searched are left out, with a warning. Links to folders are not followed. A link to a file
    that is not there counts as an image: reading it says what is wrong.
    """
    closed: list[OSError] = []
    found = []
    walk = os.walk(folder, onerror=closed.append)
    # a bar on the terminal after two seconds
    for root, folders, files in tqdm(walk, desc="searching", unit=" folders", delay=2, leave=False, disable=None):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(root, name) for name in files if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and _is_file(path)]
    if there := [error for error in closed if not isinstance(error, FileNotFoundError | ProcessLookupError)]:
        first = f"{shown(there[0].filename)}: {there[0].strerror}"
        _logger.warning("%s: %d folders below can't be searched, the first: %s", shown(folder), len(there), first)
    return sorted(found)


def _is_file(path: Path) -> bool:
    """It is a file, or a link that leads nowhere."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return os.path.islink(path)


def image_files(paths: Sequence[str | Path]) -> list[Path]:
    """Image files among files, folders (searched to the bottom) and patterns like ``*.png``, in a stable order.

    A file that is named twice, by whatever path, counts once, by the first.

    Raises:
        InputError: A path that is not there, or a folder or pattern without an image.
    """
    out: dict[str, Path] = {}
    for given in paths:
        found = _files_of(given)
        if not found:
            raise InputError(f"{shown(given)}: no image there; expected one of {', '.join(sorted(SUFFIXES))}")
        for path in found:
            out.setdefault(os.path.realpath(path), path)
    return list(out.values())


def _files_of(given: str | Path) -> list[Path]:
    if str(given) == "":
        raise InputError(
            "'': an empty name; expected an image file, a folder or a pattern (. is the folder you are in)"
        )
    path = Path(given)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if any(sign in str(given) for sign in "*?["):
            return [Path(name) for name in sorted(glob(str(given), recursive=True)) if _is_file(Path(name))]
        raise InputError(f"{shown(given)}: no such file or folder") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(given)}: can't be read ({getattr(error, 'strerror', None) or error})") from None
    if stat.S_ISDIR(mode):
        return images_below(path)
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(given)}: neither a file nor a folder")
    return [path]


def names_below(paths: Sequence[Path]) -> list[str]:
    """A name for an image made from each file: its path below the folder that all have in common, and ``.png``.

    A name that, with the number of a page and a head added, would be too long for the file system is cut, and told from
    others by the first digits of its sha256.
    """
    named = [Path(os.path.abspath(path)) for path in paths]  # a link by its own name, not by that of its target
    root = Path(os.path.commonpath([path.parent for path in named]))
    return [str(path.relative_to(root).with_name(_with_png(path.name))) for path in named]


_ADDED = len("-page0000-head0000.raw")  # by those who write these images


def _with_png(name: str) -> str:
    data = os.fsencode(name)
    if len(data) + 4 <= LONGEST_NAME - _ADDED:
        return f"{name}.png"
    kept = data[: LONGEST_NAME - _ADDED - 17].decode("utf-8", "ignore") or name[:100]
    return f"{kept}-{hashlib.sha256(data).hexdigest()[:12]}.png"


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def check_crop(width: int, height: int, name: str) -> None:
    """Raise `InputError` for an image that is too large to be the crop of a single head."""
    if max(height, width) > LARGEST_CROP:
        raise InputError(
            f"{name}: {width}×{height} pixels look like a whole field of view; expected the crop of a single head, at "
            f"most {LARGEST_CROP} pixels wide; `madrnet predict` without --input crop and `Classifier.field` find the "
            "heads of a field, `madrnet predict --crops DIR` cuts them out"
        )


def decode(data: bytes, name: str, crop: bool = False) -> NDArray[np.uint8]:
    """An image file's bytes as RGB ``(height, width, 3)`` uint8, see `madrnet_timm.morphology.as_rgb`.

    Args:
        data: The bytes; what format they are in is told from them, not from the name.
        name: For messages.
        crop: Refuse what is too large for the crop of a single head, before it is decoded.

    Raises:
        InputError: Not an image in one of `FORMATS`, truncated, smaller than 8×8 or too large; the message names
            ``name``.
    """
    name = shown(name)
    try:
        opened = Image.open(io.BytesIO(data), formats=formats())
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {MOST_PIXELS // 1_000_000} million pixels; {CUT_UP}") from None
    except Exception as error:  # which ones Pillow's formats raise for broken files is nowhere written
        reason = "empty file" if not data else str(error).split(" <")[0] or type(error).__name__
        raise InputError(f"{name}: can't read it as an image ({reason}); replace or remove the file") from None
    with opened:
        if crop:
            check_crop(*opened.size, name)
        return as_rgb(opened, name)


def read_image(image: ImageLike, name: str = "image", crop: bool = False) -> NDArray[np.uint8]:
    """An image in any form as RGB ``(height, width, 3)`` uint8, the same for each.

    Args:
        image: A path, a file's bytes, a Pillow image or an array.
        name: For messages; that of a path is the path.
        crop: Refuse what is too large for the crop of a single head.

    Raises:
        InputError: See `read`, `decode` and `madrnet_timm.morphology.as_rgb`.
    """
    if isinstance(image, str | Path):
        return decode(read(Path(image)), str(image), crop)
    if isinstance(image, bytes):
        return decode(image, name, crop)
    if crop:
        width, height = (
            image.size if isinstance(image, Image.Image) else image.shape[1::-1] if image.ndim > 1 else (0, 0)
        )
        check_crop(width, height, name)
    return as_rgb(image, name)


def pixel_sha256(image: NDArray[np.uint8]) -> str:
    """Hash of height, width and RGB bytes: the same for every lossless encoding of an image."""
    height, width = image.shape[:2]
    return hashlib.sha256(f"{height} {width} ".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
