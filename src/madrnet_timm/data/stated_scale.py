"""Micrometres per pixel, where an image's file says them."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

__all__ = ["StatedScale", "stated_scale"]

_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 270, 282, 283, 296  # tags of TIFF
_INCH = 25400.0
_UNITS = {
    **dict.fromkeys(("µm", "μm", "?m", "um", "micron", "microns", "micrometer", "micrometre", "micrometers"), 1.0),
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": _INCH, "in": _INCH,
}  # fmt: skip
_RESOLUTION_UNITS = {2: _INCH, 3: 1e4}
_POSSIBLE = (0.001, 1.0)  # µm per pixel: by any microscope that shows a head in tens to hundreds of pixels
_SQUARE = 0.01


@dataclass(frozen=True)
class StatedScale:
    """What a file says about its scale.

    Attributes:
        um_per_px: Micrometres per pixel, as the file says it.
        source: ``OME-XML``, ``ImageJ``, ``TIFF resolution``, or that of another format.
        words: The same in the file's own words, such as ``72 dpi``.
        problem: Why it can't be the scale of a microscope's image; empty where it can.
    """

    um_per_px: float
    source: str
    words: str
    problem: str = ""


def stated_scale(image: Image.Image) -> StatedScale | None:
    """The scale that an opened image file states: OME-XML before ImageJ before a resolution. None without any.

    Args:
        image: As `PIL.Image.open` gives it, at any of its pages.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    description = str(tags.get(_DESCRIPTION, ""))
    for found in (_ome(description), _imagej(description, tags), _resolution(image, tags)):
        if found is not None:
            return found
    return None


def _checked(x: float, y: float, source: str, words: str) -> StatedScale | None:
    """The scale of pixels of ``x`` by ``y`` µm."""
    if not (0 < x < 1e9 and 0 < y < 1e9):  # NaN is neither
        return None
    low, high = _POSSIBLE
    if not low <= x <= high:
        return StatedScale(x, source, words, "no microscope shows heads at that scale")
    if abs(x / y - 1) > _SQUARE:
        return StatedScale(x, source, words, f"the pixels are not square ({x:.4g} by {y:.4g} µm)")
    return StatedScale(x, source, words)


def _micrometres(unit: str) -> float | None:
    """Length of a unit in µm; how a file writes µ is manifold."""
    text = _plain(unit)
    return _UNITS.get(text) or _UNITS.get(text.lower())


def _plain(unit: str) -> str:
    """A unit without the escapes of XML and ImageJ, and where Pillow took UTF-8 for Latin-1."""
    text = html.unescape(unit.strip())
    for written in ("\\u00B5", "\\u03BC", "Âµ", "Î¼"):
        text = text.replace(written, "µ")
    return text


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return float("nan")


def _ome(description: str) -> StatedScale | None:
    """Of OME-XML, whose unit is µm where none is given. Read without a parser, which XML from anywhere can harm."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", description) if "<" in description else None
    if pixels is None:
        return None
    found = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', pixels[0]))
    sizes = []
    for axis in "XY":
        unit = _micrometres(found.get(f"PhysicalSize{axis}Unit", "µm"))
        sizes.append(_number(found.get(f"PhysicalSize{axis}")) * (unit or float("nan")))
    return _checked(sizes[0], sizes[1], "OME-XML", f"PhysicalSizeX {found.get('PhysicalSizeX')}")


def _per_unit(tags: Mapping[int, Any]) -> tuple[float, float]:
    """Pixels per unit along x and y."""
    x = _number(tags.get(_X_RESOLUTION))
    return x, _number(tags.get(_Y_RESOLUTION, x))


def _imagej(description: str, tags: Mapping[int, Any]) -> StatedScale | None:
    """Of ImageJ, which names the unit in its description and writes pixels per unit as the resolution."""
    if not description.startswith("ImageJ="):
        return None
    found = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)
    unit = _micrometres(found.get("unit", ""))
    x, y = _per_unit(tags)
    if unit is None or not x > 0 or not y > 0:
        return None
    return _checked(unit / x, unit / y, "ImageJ", f"{x:.6g} pixels per {_plain(found['unit'])}")


def _resolution(image: Image.Image, tags: Mapping[int, Any]) -> StatedScale | None:
    """Of the resolution that a file carries: of TIFF, or what Pillow makes of that of PNG, JPEG and BMP."""
    unit = _RESOLUTION_UNITS.get(tags.get(_RESOLUTION_UNIT, 2))
    x, y = _per_unit(tags)
    if unit is None or _X_RESOLUTION not in tags:
        dpi = None if image.format == "TIFF" else image.info.get("dpi")
        if not isinstance(dpi, tuple) or len(dpi) != 2:
            return None
        unit, (x, y) = _INCH, (_number(dpi[0]), _number(dpi[1]))
    if not x > 0 or not y > 0:
        return None
    words = f"{x:.6g} dpi" if unit == _INCH else f"{x:.6g} pixels per cm"
    return _checked(unit / x, unit / y, f"{image.format} resolution", words)
