"""Drawn images that are no fields of a stained smear."""

import cv2
import numpy as np

__all__ = ["SCENES", "draw_scene"]

_HEIGHT, _WIDTH = _SIZE = 768, 960


def _smooth(rng, blur):
    values = cv2.GaussianBlur(rng.normal(size=_SIZE).astype(np.float32), (0, 0), blur)
    return (values / values.std())[..., None]


def _ellipses(image, rng, count, axes, colour, where=None, spread=10):
    """Many of about this size and colour, where a mask allows it."""
    for _ in range(count):
        x, y = int(rng.uniform(0, _WIDTH)), int(rng.uniform(0, _HEIGHT))
        if where is None or where[y, x]:
            size = tuple(round(axis * rng.uniform(0.7, 1.4)) for axis in axes)
            shade = (np.array(colour) + rng.normal(0, spread, 3)).tolist()
            cv2.ellipse(image, (x, y), size, rng.uniform(0, 180), 0, 360, shade, -1, cv2.LINE_AA)


def _ground(*colour):
    return np.full((*_SIZE, 3), colour, np.float32)


def _landscape(rng):
    """Sky with birds, hills one behind the other, trees."""
    image = _ground(212, 222, 240)
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    horizon = 0.5 * _HEIGHT
    for hill in range(4):
        line = horizon + 60 * hill + 35 * np.sin(x / rng.uniform(80, 300) + rng.uniform(0, 6))
        image[y > line] = np.array([120, 140, 120]) * (1 - 0.14 * hill)
    _ellipses(image, rng, 60, (12, 24), (50, 80, 45), y > horizon + 60)
    _ellipses(image, rng, 60, (20, 11), (60, 60, 70), y < horizon - 40)
    return image + 3 * _smooth(rng, 3)


def _text(rng):
    image = np.full((*_SIZE, 3), 245, np.uint8)
    for y in range(130, _HEIGHT, 150):
        letters = "".join(rng.choice(list("abcdeopqsu  "), 20))
        cv2.putText(image, letters, (20, y), cv2.FONT_HERSHEY_DUPLEX, 4, (20, 20, 25), 10, cv2.LINE_AA)
    return image


def _tissue(rng):
    """Nuclei in pink, with gaps of glass."""
    glass = _smooth(rng, 60) > 0.2
    image = np.where(glass, _ground(243, 240, 244), _ground(215, 150, 190) + 15 * _smooth(rng, 5))
    _ellipses(image, rng, 350, (22, 16), (105, 60, 130), ~glass[..., 0])
    return image


def _blood(rng):
    image = _ground(238, 230, 236)
    _ellipses(image, rng, 110, (32, 31), (222, 150, 160), spread=2)
    return image


def _blobs(rng):
    return np.where(_smooth(rng, 16) > 0.9, _ground(90, 60, 120), _ground(230, 225, 232))


def _stains(rng):
    """Blobs without an edge."""
    return _ground(230, 225, 232) - np.clip(_smooth(rng, 15) - 1, 0, 1.2) * np.array([110, 150, 90])


def _rods(rng):
    image = _ground(236, 230, 238)
    for _ in range(80):
        middle, turn = rng.uniform(0, 1, 2) * (_WIDTH, _HEIGHT), rng.uniform(0, np.pi)
        reach = 26 * np.array([np.cos(turn), np.sin(turn)])
        ends = (tuple((middle + sign * reach).astype(int).tolist()) for sign in (-1, 1))
        cv2.line(image, *ends, (120, 50, 140), 13, cv2.LINE_AA)
    return image


def _bricks(rng):
    image = _ground(210, 205, 200)
    for row, y in enumerate(range(0, _HEIGHT, 60)):
        for x in range(-(row % 2) * 60, _WIDTH, 120):
            shade = (np.array([150, 80, 60]) + rng.normal(0, 12, 3)).tolist()
            cv2.rectangle(image, (x + 4, y + 4), (x + 114, y + 54), shade, -1)
    return image


def _noise(rng):
    return 170 + 35 * _smooth(rng, 12) + _ground(0, 0, 0)


def _slope(rng):
    return _ground(40, 40, 40) + np.linspace(0, 200, _WIDTH)[:, None]


SCENES = {
    "landscape": _landscape, "text": _text, "tissue": _tissue, "blood": _blood, "blobs": _blobs, "stains": _stains,
    "rods": _rods, "bricks": _bricks, "noise": _noise, "slope": _slope,
}  # fmt: skip


def draw_scene(name, seed=0):
    """One of `SCENES`, RGB uint8, a little blurred and noisy as a photograph is."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(SCENES[name](rng).astype(np.float32), (0, 0), 1.2)
    return np.clip(np.rint(image + rng.normal(0, 2.5, image.shape)), 0, 255).astype(np.uint8)
