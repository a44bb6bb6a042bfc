"""Reading picture files: one way for training and prediction."""

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import InputError

__all__ = ["SUFFIXES", "decode", "names_below", "picture_files", "pictures_below", "pixel_sha256", "read"]

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga"}
    | {".tif", ".tiff", ".webp"}
)
"""Files that are taken for pictures."""


_BROKEN = (
    OSError, SyntaxError, ValueError, RuntimeError,  # what Pillow's formats raise for broken files
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: It can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check its permissions") from None


def pictures_below(folder: Path) -> list[Path]:
    """Picture files in a folder and all below it, sorted; hidden ones (``.name``) are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def picture_files(paths: Sequence[str | Path]) -> list[Path]:
    """Picture files among files, folders (searched to the bottom) and patterns like ``*.png``, in a stable order.

    Raises:
        InputError: A path that is not there, or a folder or pattern without a picture.
    """
    out: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_file():
            found = [path]
        elif path.is_dir():
            found = pictures_below(path)
        elif any(sign in str(given) for sign in "*?["):
            found = [Path(name) for name in sorted(glob(str(given), recursive=True)) if Path(name).is_file()]
        else:
            raise InputError(f"{given}: no such file or folder")
        if not found:
            raise InputError(f"{given}: no picture there; expected one of {', '.join(sorted(SUFFIXES))}")
        out |= dict.fromkeys(found)
    return list(out)


def names_below(paths: Sequence[Path]) -> list[str]:
    """A name for a picture made from each file: its path below the folder that all have in common, and ``.png``."""
    resolved = [path.resolve() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in resolved]))
    return [f"{path.relative_to(root)}.png" for path in resolved]


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """A picture file's bytes as RGB ``(height, width, 3)`` uint8.

    EXIF orientation is honoured; gray, palette and 16-bit pictures are converted, transparency is laid on white.

    Raises:
        InputError: Not a picture, truncated, or smaller than 8×8; the message names ``name``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as opened:
                image: Image.Image = ImageOps.exif_transpose(opened)
                image.load()
    except _BROKEN as error:
        reason = "empty file" if not data else str(error).split(" <")[0]
        raise InputError(f"{name}: can't read it as a picture ({reason}); replace or remove the file") from None
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "F" and values.max() <= 1:
            values = values * 255
        values = values / 257 if values.max() > 255 else values  # 16 bits to 8
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if min(image.size) < 8:
        raise InputError(f"{name}: {image.width}×{image.height} pixels, expected at least 8×8; remove the file")
    return np.asarray(image.convert("RGB"))


def pixel_sha256(image: NDArray[np.uint8]) -> str:
    """Hash of height, width and RGB bytes: the same for every lossless encoding of a picture."""
    height, width = image.shape[:2]
    return hashlib.sha256(f"{height} {width} ".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
