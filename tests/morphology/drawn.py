"""Images drawn by formulas, for the tests of the head measurement."""

import cv2
import numpy as np


def ellipse(half_length, half_width, angle, size=131, center=None):
    """An anti-aliased dark ellipse on pink, by supersampling the inequality itself."""
    k = 8
    cx, cy = center or ((size - 1) / 2, (size - 1) / 2)
    ys, xs = (np.mgrid[0 : size * k, 0 : size * k] + 0.5) / k - 0.5
    c, s = np.cos(np.radians(angle)), -np.sin(np.radians(angle))
    along, across = (xs - cx) * c + (ys - cy) * s, -(xs - cx) * s + (ys - cy) * c
    inside = (along / half_length) ** 2 + (across / half_width) ** 2 <= 1
    cover = inside.reshape(size, k, size, k).mean((1, 3))[..., None]
    image = (1 - cover) * np.array([215, 165, 200]) + cover * np.array([110, 50, 130])
    return np.rint(image).astype(np.uint8)


def blurred(half_length, half_width, sigma, rounded):
    """An ellipse of even stain, or one whose thickness is that of an ellipsoid, blurred by ``sigma`` pixels."""
    ys, xs = (np.mgrid[0:524, 0:524] + 0.5) / 4 - 0.5 - 65
    inside = np.clip(1 - (xs / half_length) ** 2 - (ys / half_width) ** 2, 0, None)
    density = 1.2 * (np.sqrt(inside) if rounded else (inside > 0).astype(float))
    light = cv2.GaussianBlur(210 * np.exp(-density), (0, 0), 4 * sigma)
    return np.rint(cv2.resize(light, (131, 131), interpolation=cv2.INTER_AREA)).astype(np.uint8)
