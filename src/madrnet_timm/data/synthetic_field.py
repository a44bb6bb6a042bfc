"""Drawn fields of view of a stained smear, with the truth about each head.

Stains take light away, so what lies over each other gets darker: each thing lets a share of the light through, and the
image is what is left of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..opencv import cv2
from .synthetic import ASPECT_RATIOS, SHAPES, coverage, moments, outline

__all__ = ["STAINS", "FieldHead", "FieldStyle", "Stain", "SyntheticField", "draw_field"]

Color = tuple[int, int, int]
Array = NDArray[np.float64]

_SHIFT = 6  # fractional bits of OpenCV's drawing coordinates
_TRIES = 500  # places that are tried for each thing
_GAP = 0.15  # of a head's length between things that do not touch
_CLUTTER = {"cell": 1, "bubble": 1, "debris": 3, "droplet": 7, "bacterium": 4, "loose_tail": 2}
_CLUTTER_AREA = 160  # square head lengths in which so much of it lies


@dataclass(frozen=True)
class Stain:
    """Colours (RGB) of the empty slide and of what lies on it."""

    background: Color
    nucleus: Color
    acrosome: Color
    tail: Color
    cell: Color
    debris: Color

    def density(self, part: str) -> Array:
        """Of each channel, ``(3,)``: the logarithm of the light that comes in over what a part lets through."""
        return np.log(np.divide(self.background, getattr(self, part)))


STAINS = {
    "violet": Stain((224, 226, 230), (48, 12, 172), (150, 92, 200), (172, 184, 224), (128, 156, 214), (196, 150, 214)),
    "rose": Stain((205, 160, 195), (92, 42, 120), (168, 84, 158), (143, 95, 154), (150, 108, 172), (176, 116, 170)),
    "papanicolaou": Stain(
        (224, 216, 224), (84, 58, 140), (168, 156, 204), (160, 204, 188), (96, 178, 144), (188, 213, 200)
    ),
}
"""``violet``: violet-blue nuclei and pink acrosomes on a pale ground. ``rose``: the colours of `draw_head`.
``papanicolaou``: violet heads, green tails and round cells."""


@dataclass(frozen=True)
class FieldStyle:
    """How a drawn field looks.

    Attributes:
        stain: One of `STAINS`.
        head_length: Typical length of a head in pixels.
        clutter: Draw round cells, bacteria, debris, a bubble and loose tails, too.
        lighting: Share of the light that is missing in the darkest corner.
        blur: Standard deviation in head lengths.
        noise: Standard deviation in gray levels.
    """

    stain: str = "violet"
    head_length: float = 90.0
    clutter: bool = True
    lighting: float = 0.06
    blur: float = 0.015
    noise: float = 2.0


@dataclass(frozen=True)
class FieldHead:
    """The truth about a drawn head, in pixels of the field.

    Attributes:
        shape: One of `SHAPES`.
        mask: Nucleus and acrosome, bool, of the field's size. Of two that overlap each has all of its own.
        box: ``(x0, y0, x1, y1)`` of the mask, x1 and y1 exclusive.
        center: Centroid ``(x, y)`` of the mask.
        angle: Direction of the acrosome, degrees counter-clockwise from the image's right.
        length: Long axis of the ellipse with the outline's second moments; of the whole outline, also where the border
            cuts it, as the following two.
        width: Its short axis.
        aspect_ratio: length / width.
        touching: Touches another head or lies over it.
        touches_border: Cut by the field's border.
    """

    shape: str
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    center: tuple[float, float]
    angle: float
    length: float
    width: float
    aspect_ratio: float
    touching: bool
    touches_border: bool


@dataclass(frozen=True)
class SyntheticField:
    """A drawn field ``(height, width, 3)``, RGB uint8, and its heads, those with the upper centres first."""

    image: NDArray[np.uint8]
    heads: tuple[FieldHead, ...]


@dataclass(frozen=True)
class _Body:
    """A head before it lies anywhere: ``polygon`` around ``middle``, y downwards, ``axis`` towards the acrosome."""

    shape: str
    polygon: Array
    middle: Array
    axis: Array
    half_length: float

    def moved(self, by: Array) -> "_Body":
        return _Body(self.shape, self.polygon + by, self.middle + by, self.axis, self.half_length)

    def cover(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """How much of each pixel the head covers, in a square window, and the window's corner ``(x, y)``."""
        corner = np.floor(self.polygon.min(axis=0)).astype(np.intp) - 2
        size = int(np.ceil(np.ptp(self.polygon, axis=0).max())) + 5
        return coverage(self.polygon - corner, size), corner


def draw_field(
    seed: int | np.random.Generator = 0,
    size: tuple[int, int] = (1280, 1024),
    heads: int = 10,
    touching: int = 0,
    overlapping: int = 0,
    at_border: int = 0,
    style: FieldStyle | None = None,
) -> SyntheticField:
    """Draw a field of view.

    Args:
        seed: Of everything that is left to chance: places, shapes, angles, clutter, noise.
        size: ``(width, height)`` in pixels.
        heads: Heads that lie alone, whole within the field.
        touching: Pairs of heads that touch each other.
        overlapping: Pairs of heads of which one lies over a part of the other.
        at_border: Heads that the border cuts.
        style: As `FieldStyle` says if None.

    Raises:
        ValueError: Unknown stain, or no room for so many heads of this length.
    """
    style = style or FieldStyle()
    if style.stain not in STAINS:
        raise ValueError(f"stain={style.stain!r}: expected one of {', '.join(STAINS)}")
    rng = np.random.default_rng(seed)
    places = _Places(size, style.head_length, rng)
    groups = [places.at_border(_body(style.head_length, rng)) for _ in range(at_border)]
    for over, pairs in ((True, overlapping), (False, touching)):
        groups += [places.inside(_pair(style.head_length, over, rng)) for _ in range(pairs)]
    groups += [places.inside([_body(style.head_length, rng)]) for _ in range(heads)]

    slide = _Slide(size, style, rng)
    for body in (body for group in groups for body in group):
        slide.tail(body)
        slide.head(body)
    if style.clutter:
        share = size[0] * size[1] / (_CLUTTER_AREA * style.head_length**2)
        for kind, count in _CLUTTER.items():
            for _ in range(max(round(count * share), 1)):
                getattr(slide, kind)(places)
    truth = [_truth(body, size, len(group) > 1) for group in groups for body in group]
    return SyntheticField(slide.image(), tuple(sorted(truth, key=lambda head: head.center[::-1])))


def _body(head_length: float, rng: np.random.Generator) -> _Body:
    shape = str(rng.choice(SHAPES, p=(0.4, 0.2, 0.2, 0.2)))
    half = head_length / 2 * rng.normal(1, 0.05)
    local = outline(shape, half, half / (ASPECT_RATIOS[shape] * rng.normal(1, 0.04)), rng)
    angle = rng.uniform(-np.pi, np.pi)
    axis = np.array([np.cos(angle), -np.sin(angle)])
    polygon = local[:, :1] * axis + local[:, 1:] * [-axis[1], axis[0]]
    return _Body(shape, polygon, np.zeros(2), axis, half)


def _pair(head_length: float, over: bool, rng: np.random.Generator) -> list[_Body]:
    """Two heads, neither with its tail towards the other, pushed together until they meet as asked for."""
    while True:
        first, second = _body(head_length, rng), _body(head_length, rng)
        angle = rng.uniform(-np.pi, np.pi)
        away = np.array([np.cos(angle), np.sin(angle)])
        if -first.axis @ away < 0.5 and second.axis @ away < 0.5:
            break
    share = rng.uniform(0.08, 0.2) if over else 0.0
    side = int(6 * head_length)
    fixed = coverage(first.polygon + side / 2, side) >= 0.5
    if not over:
        fixed = cv2.dilate(fixed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    near, far = 0.0, 2 * head_length
    for _ in range(14):
        between = (near + far) / 2
        other = coverage(second.polygon + side / 2 + between * away, side) >= 0.5
        common = np.count_nonzero(fixed & other) / np.count_nonzero(other)
        near, far = (between, far) if common > share else (near, between)
    return [first, second.moved(near * away)]


class _Places:
    """Where things lie: circles that keep clear of each other."""

    def __init__(self, size: tuple[int, int], head_length: float, rng: np.random.Generator) -> None:
        self.size, self.head_length, self.rng = np.array(size), head_length, rng
        self.taken: list[tuple[Array, float]] = []

    def find(self, radius: float, margin: float = 0.0) -> Array | None:
        """The middle of a free circle, ``margin`` from the border, in whole pixels; None where none is found."""
        if (self.size <= 2 * margin).any():
            return None
        for _ in range(_TRIES):
            if self._free(middle := np.rint(self.rng.uniform(margin, self.size - 1 - margin)), radius):
                return middle
        return None

    def _free(self, middle: Array, radius: float) -> bool:
        gap = _GAP * self.head_length
        if any(np.hypot(*(middle - other)) < radius + taken + gap for other, taken in self.taken):
            return False
        self.taken.append((middle, radius))
        return True

    def inside(self, group: list[_Body]) -> list[_Body]:
        """The heads of a group, moved to a free place within the field."""
        points = np.concatenate([body.polygon for body in group])
        middle = np.rint((points.min(axis=0) + points.max(axis=0)) / 2)
        radius = float(np.hypot(*(points - middle).T).max())
        place = self.find(radius, radius + 3)
        if place is None:
            raise self._full()
        return [body.moved(place - middle) for body in group]

    def at_border(self, body: _Body) -> list[_Body]:
        """A head, moved to a free place where the border cuts it; at least about a third of it is seen."""
        radius = float(np.hypot(*body.polygon.T).max())
        for _ in range(_TRIES):
            axis, last = int(self.rng.integers(2)), bool(self.rng.integers(2))
            beyond = body.polygon[:, axis].max() if last else -body.polygon[:, axis].min()
            inwards = beyond * self.rng.uniform(-0.3, 0.7)
            middle = self.rng.uniform(radius, np.maximum(self.size - radius, radius + 1))
            middle[axis] = self.size[axis] - 1 - inwards if last else inwards
            if self._free(middle, radius):
                return [body.moved(middle)]
        raise self._full()

    def _full(self) -> ValueError:
        width, height = self.size
        return ValueError(f"no room for so many heads of {self.head_length:g} px in {width}×{height} px: fewer, please")


class _Slide:
    """What lies on the slide: the light that it lets through, ``(height, width, 3)``, and lines of two stains."""

    def __init__(self, size: tuple[int, int], style: FieldStyle, rng: np.random.Generator) -> None:
        self.style, self.stain, self.rng, self.unit = style, STAINS[style.stain], rng, style.head_length
        self.shape = size[::-1]
        self.light = np.ones((*self.shape, 3), dtype=np.float32)
        self.lines = {part: np.zeros(self.shape, dtype=np.uint8) for part in ("tail", "nucleus")}

    def _add(self, cover: Array, density: Array, corner: NDArray[np.intp]) -> None:
        """Lay a thing that covers a part of each pixel of a square window over the field, cut at its border."""
        through = 1 - cover[..., None] * (1 - np.exp(-density))
        x0, y0 = corner
        y1, x1 = y0 + len(cover), x0 + len(cover)
        top, left = max(-y0, 0), max(-x0, 0)
        part = self.light[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        part *= through[top : top + part.shape[0], left : left + part.shape[1]]

    def _line(self, part: str, points: Array, width: float, weight: float) -> None:
        fixed = np.rint(points * 2**_SHIFT).astype(np.int32)
        thickness = max(round(width * self.unit), 1)
        cv2.polylines(self.lines[part], [fixed], False, round(255 * weight), thickness, cv2.LINE_AA, _SHIFT)

    def _wave(self, start: Array, direction: float, length: float) -> Array:
        """A line that winds as a tail does, ``(120, 2)``; ``direction`` in radians, ``length`` in head lengths."""
        t = np.linspace(0, 1, 120)
        swing, bend = self.rng.normal(0, 0.35), self.rng.normal(0, 0.9)
        heading = direction + swing * np.sin(2 * np.pi * self.rng.uniform(0.4, 1.6) * t) + bend * t**1.5
        steps = np.column_stack([np.cos(heading), np.sin(heading)]) * length * self.unit / len(t)
        return start + np.cumsum(steps, axis=0)

    def head(self, body: _Body) -> None:
        cover, corner = body.cover()
        ys, xs = np.mgrid[0 : len(cover), 0 : len(cover)]
        x, y = xs + corner[0] - body.middle[0], ys + corner[1] - body.middle[1]
        along = (x * body.axis[0] + y * body.axis[1]) / body.half_length
        cap = 1 / (1 + np.exp(-7 * (along - self.rng.uniform(-0.1, 0.2))))
        paler = 1 - 0.35 * np.clip(along, 0, 1) ** 2
        if self.rng.random() < 0.2:  # a vacuole
            spot = body.middle + body.axis * body.half_length * self.rng.uniform(0.2, 0.5) - corner
            paler *= 1 - 0.7 * np.exp(-((xs - spot[0]) ** 2 + (ys - spot[1]) ** 2) / (0.07 * self.unit) ** 2)
        strength = self.rng.normal(1, 0.07)
        nucleus = (1 - cap)[..., None] * self.stain.density("nucleus")
        acrosome = (cap * paler)[..., None] * self.stain.density("acrosome")
        self._add(cover.astype(np.float64), strength * (nucleus + acrosome), corner)

    def tail(self, body: _Body) -> None:
        start = body.polygon[len(body.polygon) // 2]  # the end opposite to the acrosome
        direction = float(np.arctan2(*-body.axis[::-1])) + self.rng.normal(0, 0.15)
        path = self._wave(start, direction, self.rng.uniform(4, 7))
        self._line("tail", path, 0.045, 0.8)
        self._line("tail", path[:20], 0.075, 1)
        across = 0.05 * self.unit * np.array([-body.axis[1], body.axis[0]])
        neck = np.array([start + across, start - across, start - 0.2 * self.unit * body.axis])
        cv2.fillPoly(self.lines["nucleus"], [np.rint(neck * 2**_SHIFT).astype(np.int32)], 150, cv2.LINE_AA, _SHIFT)

    def _disc(self, middle: Array, radius: float) -> tuple[Array, NDArray[np.intp]]:
        """Distance of each pixel of a window from a point, in radii, and the window's corner."""
        half = int(1.4 * radius) + 2
        ys, xs = np.mgrid[-half : half + 1, -half : half + 1]
        return np.hypot(xs, ys) / radius, middle.astype(np.intp) - half

    def _blob(self, middle: Array, radius: float, part: str, weight: float) -> None:
        """Roughly round, with a soft rim and grain."""
        distance, corner = self._disc(middle, radius)
        distance += 0.05 * self._grain(distance, 0.35 * radius)
        cover = 1 / (1 + np.exp(-np.clip(1 - distance, -1, 1) * radius / (0.012 * self.unit)))
        grain = 1 + 0.1 * self._grain(distance, 0.03 * self.unit)
        self._add(cover, weight * grain[..., None] * self.stain.density(part), corner)

    def _grain(self, like: Array, scale: float) -> Array:
        """Noise with spots of a size in pixels, standard deviation 1."""
        grain = cv2.GaussianBlur(self.rng.normal(0, 1, like.shape), (0, 0), scale)
        return np.asarray(grain / grain.std())

    def cell(self, places: _Places) -> None:
        """A round cell, larger than a head, with a nucleus."""
        radius = self.unit * self.rng.uniform(0.75, 0.95)
        if (middle := places.find(radius)) is not None:
            self._blob(middle, radius, "cell", 0.6)
            self._blob(middle + self.rng.uniform(-0.15, 0.15, 2) * radius, 0.62 * radius, "nucleus", 0.3)

    def droplet(self, places: _Places) -> None:
        radius = self.unit * self.rng.uniform(0.05, 0.17)
        if (middle := places.find(radius)) is not None:
            self._blob(middle, radius, "cell", self.rng.uniform(0.3, 1))

    def bubble(self, places: _Places) -> None:
        """A dark ring around a bright middle."""
        radius = self.unit * self.rng.uniform(0.3, 0.6)
        if (middle := places.find(radius)) is not None:
            distance, corner = self._disc(middle, radius)
            ring = 0.4 * np.exp(-(((distance - 1) / 0.09) ** 2)) - 0.05 * (distance < 0.9)
            self._add(ring, np.full(3, np.inf), corner)

    def debris(self, places: _Places) -> None:
        """A pale, torn smudge."""
        radius = self.unit * self.rng.uniform(0.3, 0.8)
        if (middle := places.find(radius)) is not None:
            distance, corner = self._disc(middle, radius)
            torn = np.clip(0.55 + 0.35 * self._grain(distance, 0.06 * self.unit) - 0.7 * distance**2, 0, 1)
            self._add(torn, self.stain.density("debris"), corner)

    def bacterium(self, places: _Places) -> None:
        if (middle := places.find(0.15 * self.unit)) is not None:
            angle = self.rng.uniform(0, np.pi)
            half = self.unit * self.rng.uniform(0.05, 0.14) * np.array([np.cos(angle), np.sin(angle)])
            self._line("nucleus", np.array([middle - half, middle + half]), 0.055, 0.7)

    def loose_tail(self, places: _Places) -> None:
        if (middle := places.find(0.0)) is not None:
            self._line("tail", self._wave(middle, self.rng.uniform(0, 2 * np.pi), self.rng.uniform(2, 5)), 0.04, 0.7)

    def image(self) -> NDArray[np.uint8]:
        """The light that is left, blurred, with noise."""
        height, width = self.shape
        for part, line in self.lines.items():
            lost = 1 - np.exp(-self.stain.density(part)).astype(np.float32)
            self.light *= 1 - (line / np.float32(255))[..., None] * lost
        middle = self.rng.uniform(0.25, 0.75, 2)
        across = (np.linspace(0, 1, width, dtype=np.float32) - middle[0]) ** 2
        down = (np.linspace(0, 1, height, dtype=np.float32) - middle[1]) ** 2
        fall = across + down[:, None]
        light = 1 - np.float32(self.style.lighting) * fall / fall.max()
        mottle = cv2.resize(self.rng.normal(0, 0.006, (12, 12)), (width, height), interpolation=cv2.INTER_CUBIC)
        ground = np.array(self.stain.background, dtype=np.float32) * (light + mottle.astype(np.float32))[..., None]
        image = cv2.GaussianBlur(ground * self.light, (0, 0), max(self.style.blur * self.unit, 0.1))
        image += self.rng.standard_normal(image.shape, dtype=np.float32) * np.float32(self.style.noise)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _truth(body: _Body, size: tuple[int, int], touching: bool) -> FieldHead:
    width, height = size
    cover, (left, top) = body.cover()
    mask = np.zeros((height, width), dtype=bool)
    ys, xs = np.nonzero(cover >= 0.5)
    ys, xs = ys + top, xs + left
    seen = (xs >= 0) & (ys >= 0) & (xs < width) & (ys < height)
    cut, ys, xs = not seen.all(), ys[seen], xs[seen]
    mask[ys, xs] = True
    aspect_ratio, length, _ = moments(body.polygon)
    return FieldHead(
        shape=body.shape,
        mask=mask,
        box=(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1),
        center=(float(xs.mean()), float(ys.mean())),
        angle=float(np.degrees(np.arctan2(-body.axis[1], body.axis[0]))),
        length=length,
        width=length / aspect_ratio,
        aspect_ratio=aspect_ratio,
        touching=touching,
        touches_border=cut,
    )
