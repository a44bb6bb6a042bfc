"""An image in any form as RGB: one conversion for files, Pillow images and arrays."""

import ctypes
import logging
import re
from contextlib import suppress
from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import InputError
from ..opencv import cv2

__all__ = ["CUT_UP", "LARGEST_CROP", "MOST_PIXELS", "as_rgb"]

MOST_PIXELS = 80_000_000
"""Of an image that is decoded; a camera's whole field has fewer, a slide scanner's scan may have more."""

CUT_UP = "cut it into parts that overlap by the length of a head, or save it smaller: 50 pixels a head are enough"
"""What to do with an image of more than `MOST_PIXELS`."""

LARGEST_CROP = 800
"""Longer side in pixels from which on an image is taken for a whole field of view."""

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits that a camera's or a program's numbers have
_MAX_SAMPLE_VALUE, _LARGEST_SAMPLE, _SAMPLE_FORMAT, _BITS_PER_SAMPLE = 281, 341, 339, 258  # tags of TIFF
_DESCRIPTION, _MICRO_MANAGER, _ORIENTATION = 270, 51123, 274
_BIT_DEPTH = re.compile(r'SignificantBits="(\d+)"|"BitDepth":\s*"?(\d+)')  # of OME-TIFF, of Micro-Manager

_OPAQUE = 128  # alpha from which on a pixel belongs to a cut-out
_TIGHT = 0.12  # part of an image that a cut-out head takes, above which it is widened (in HuSHeM, a twentieth)

_logger = logging.getLogger(__name__)
_said: set[int] = set()

UInt8Array = NDArray[np.uint8]


def as_rgb(image: Image.Image | NDArray[np.generic], name: str = "image") -> UInt8Array:
    """An image as ``(height, width, 3)`` RGB uint8, the same for a file, Pillow's image of it and its array.

    - EXIF orientation is honoured, gray and palettes are converted.
    - More than 8 bits are scaled by the bit depth that a TIFF's tags give, else by the fewest of 8, 10, 12, 14, 16, 24
      or 32 bits that hold the highest value (a camera's 12 bits often lie in 16); a warning says so once for each depth
      below that of the file. Numbers with a fraction are taken as 0 to 1 where none is higher, else in the same way.
      (Once Pillow has loaded an image with 16 bits a colour, it holds the upper 8 of them only; better give its path.)
    - What is transparent gets the colour of the opaque pixels' own rim, the brightest tenth of it, which is the
      background that was left around a cut-out head. Where what stands out from it fills more than 12 % of the
      image, that is widened by half on each side, because a head is found against a background that outweighs it.

    Args:
        image: A Pillow image, or an array of shape H×W, H×W×1 (gray), H×W×2 (gray, alpha), H×W×3 (RGB) or H×W×4 (RGBA),
            of integers or of numbers with a fraction.
        name: For messages.

    Raises:
        InputError: Not such an image, smaller than 8×8, larger than `MOST_PIXELS`, or one that can't be decoded.
    """
    array, bits = _from_pillow(image, name) if isinstance(image, Image.Image) else (np.asarray(image), None)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or array.dtype.kind not in "uif":
        raise InputError(
            f"{name}: {array.dtype} of shape {array.shape}; expected numbers, H×W (gray), H×W×3 (RGB) or H×W×4 (RGBA); "
            "uint8 is taken as it is"
        )
    height, width, channels = array.shape
    if min(height, width) < 8:
        raise InputError(f"{name}: {width}×{height} pixels, expected at least 8×8; remove it")
    eight = array.astype(np.uint8, copy=False) if array.dtype == np.uint8 else _to_8_bits(array, bits, name)
    if channels in (2, 4):
        return _on_its_rim(eight)
    return np.repeat(eight, 3, axis=2) if channels == 1 else eight


def _from_pillow(image: Image.Image, name: str) -> tuple[NDArray[np.generic], int | None]:
    """The values of a Pillow image, gray, RGB or RGBA, and its bit depth where that is known and not its type's."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise InputError(f"{name}: {width}×{height} pixels are more than {MOST_PIXELS // 1_000_000} million; {CUT_UP}")
    try:
        bits, unsigned = _known_bits(image), _is_unsigned(image)
        _silence_decoders()
        turned = ImageOps.exif_transpose(_deep_colour(image, name) or image)
        turned.load()
        if turned.mode.startswith(("I", "F")):
            values = np.asarray(turned)
            return (values.view(np.uint32) if unsigned else values), bits
        return np.asarray(turned.convert("RGBA" if turned.has_transparency_data else "RGB")), None
    except InputError:
        raise
    except Exception as error:  # which ones Pillow's formats raise for broken files is nowhere written
        reason = str(error).split(" <")[0] or type(error).__name__
        raise InputError(f"{name}: can't read it as an image ({reason}); replace or remove the file") from None


@cache
def _silence_decoders() -> None:
    """Keep libtiff and OpenCV from writing on the screen what is raised as an error anyway."""
    with suppress(AttributeError, OSError):  # where Pillow is linked otherwise it goes on writing
        handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)
    with suppress(AttributeError):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _known_bits(image: Image.Image) -> int | None:
    """The bit depth that the file says, if it is less than what it stores; Pillow scales that of PGM itself."""
    if image.format == "PPM":
        return 16
    tags = getattr(image, "tag_v2", {})
    for tag in (_MAX_SAMPLE_VALUE, _LARGEST_SAMPLE):
        if tag in tags and 8 < (bits := int(np.max(tags[tag])).bit_length()) < max(tags[_BITS_PER_SAMPLE]):
            return bits
    for tag in (_DESCRIPTION, _MICRO_MANAGER):
        if found := _BIT_DEPTH.search(str(tags.get(tag, ""))):
            bits = int(found[1] or found[2])
            return bits if 8 < bits < max(tags[_BITS_PER_SAMPLE]) else None
    return None


def _is_unsigned(image: Image.Image) -> bool:
    """Whether Pillow's signed integers are the bits of unsigned ones."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "I" and tuple(tags.get(_BITS_PER_SAMPLE, ())) == (32,) and tags.get(_SAMPLE_FORMAT) == (1,)


def _deep_colour(image: Image.Image, name: str) -> Image.Image | None:
    """An image file with 16 bits a colour that is not loaded yet, scaled to 8 bits; None for any other.

    Pillow keeps the upper 8 bits, which is next to nothing of 12 bits in 16; OpenCV reads them all.
    """
    tile, opened = getattr(image, "tile", None), getattr(image, "fp", None)
    if not tile or opened is None or image.mode not in ("RGB", "RGBA", "LA"):
        return None
    rawmode = tile[0][3] if isinstance(tile[0][3], str) else str(tile[0][3][:1])
    if ";16" not in rawmode:
        return None
    values = _all_bits(image, opened)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise InputError(f"{name}: its 16 bits a colour can't be read; save it with 8 bits a colour")
    if values.shape[2] == 4:
        alpha = np.rint(values[..., 3:] / 257).astype(np.uint8)
        eight = np.concatenate([_to_8_bits(values[..., 2::-1], _known_bits(image), name), alpha], axis=2)
    else:
        eight = _to_8_bits(values[..., ::-1], _known_bits(image), name)
    out = Image.fromarray(eight)
    if image.format != "TIFF":  # which OpenCV has turned
        out.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return out


def _all_bits(image: Image.Image, opened: IO[bytes]) -> NDArray[np.integer[Any]] | None:
    """The page of an image file that Pillow stands at, as OpenCV reads it; None where it can't."""
    name = getattr(opened, "name", "")
    if image.tell() and isinstance(name, str) and name:  # of a stack, which may be large, one page from the disk
        _, pages = cv2.imreadmulti(name, image.tell(), 1, flags=cv2.IMREAD_UNCHANGED)
        return pages[0] if pages else None
    place = opened.tell()
    opened.seek(0)
    data = np.frombuffer(opened.read(), np.uint8)
    opened.seek(place)
    if image.tell() == 0:
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(image.tell(), image.tell() + 1))
    return pages[0] if pages else None


def _to_8_bits(values: NDArray[np.generic], bits: int | None, name: str) -> UInt8Array:
    """Integers of more than 8 bits, or numbers with a fraction, as uint8."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{name}: holds values that are not finite; expected numbers from 0 on")
    highest = float(numbers.max())
    if values.dtype.kind == "f" and highest <= 1:
        numbers = numbers * 255
    else:
        said_by = "the file"
        if bits is None or highest >= 2**bits:
            bits, said_by = (
                next((depth for depth in _DEPTHS if highest < 2**depth), 64),
                f"its highest value {highest:g}",
            )
        if bits not in (16, 32) and bits not in _said:
            _said.add(bits)
            _logger.warning(
                "%s: %s in %d: taken as %d bits, 0 to %d, as %s says; the same goes for others like it", name,
                f"{bits} bits", 8 * values.dtype.itemsize, bits, 2**bits - 1, said_by,
            )  # fmt: skip
        numbers = numbers / ((2**bits - 1) / 255)
    return np.clip(np.rint(numbers), 0, 255).astype(np.uint8)


def _on_its_rim(image: UInt8Array) -> UInt8Array:
    """RGBA or gray and alpha as RGB, see `as_rgb`."""
    colour, alpha = np.broadcast_to(image[..., :-1], (*image.shape[:2], 3)), image[..., -1]
    opaque = alpha >= _OPAQUE
    if not opaque.any():
        return np.full_like(colour, 255)
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    inner = cv2.erode(opaque.astype(np.uint8), np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    rim = opaque & ~inner if (opaque & ~inner).any() else opaque
    surround = np.percentile(colour[rim], 90, axis=0)
    share = alpha[..., None] / 255
    out = np.rint(colour * share + surround * (1 - share)).astype(np.uint8)
    return _widened(out, opaque, np.rint(surround).astype(np.uint8))


def _widened(image: UInt8Array, opaque: NDArray[np.bool_], surround: UInt8Array) -> UInt8Array:
    """A tight cut-out with more of its surround; one with as much background as a crop as it is, for its scale."""
    height, width = opaque.shape
    contrast = cv2.absdiff(image, np.broadcast_to(surround, image.shape)).max(axis=2)
    limit, _ = cv2.threshold(contrast[opaque], 0, 255, cv2.THRESH_OTSU)
    head = opaque & (contrast > limit)
    border = np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]])
    if border.mean() > 0.5 or head.mean() <= _TIGHT or 2 * max(height, width) > LARGEST_CROP:
        return image
    rows, columns = height // 2, width // 2
    out = np.empty((height + 2 * rows, width + 2 * columns, 3), np.uint8)
    out[:] = surround
    out[rows : rows + height, columns : columns + width] = image
    return out
