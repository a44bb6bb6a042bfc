"""Shape along the axis, and the acrosome: its end and its share."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.morphology import (
    measure,
)

from .drawn import ellipse


def test_shape_of_drawn_heads():
    """Known by construction: an ellipse is one, a pyriform head tapers, a head of three bumps is neither."""
    found = {shape: [measure(draw_head(shape, seed, debris=False).image) for seed in range(12)] for shape in SHAPES}

    def mean(shape, name):
        return np.mean([getattr(head, name) for head in found[shape]])

    assert mean("Normal", "ellipticity") > 0.95
    assert mean("Normal", "regularity") == pytest.approx(1, abs=0.03)
    assert mean("Normal", "taper") == pytest.approx(1, abs=0.08)
    assert mean("Normal", "asymmetry") < 0.05
    assert mean("Pyriform", "taper") < 0.75
    assert mean("Amorphous", "ellipticity") < mean("Normal", "ellipticity") - 0.02
    assert mean("Amorphous", "asymmetry") > 2 * mean("Normal", "asymmetry")


def test_ellipticity_is_the_overlap_with_the_ellipse_of_the_moments():
    from madrnet_timm.morphology.shape import _ellipse_overlap

    mask = np.zeros((200, 300), dtype=bool)
    mask[60:140, 40:260] = True  # a rectangle of 220 × 80: ellipse of half axes 220/√3, 80/√3
    x = np.linspace(-1, 1, 4001)
    height = np.sqrt(np.clip(1 - 3 * x**2, 0, None)) / np.sqrt(3)  # half the ellipse's width, unit square
    area = np.trapezoid(2 * height, x)
    # a square of side 2 and a circle of radius 2/√3, scaled alike in each direction: the overlap stays
    radius = 2 / np.sqrt(3)
    y = np.linspace(-1, 1, 4001)
    inside = np.trapezoid(2 * np.minimum(np.sqrt(radius**2 - y**2), 1), y)
    assert area == pytest.approx(np.pi / 3, rel=1e-3)
    assert _ellipse_overlap(mask) == pytest.approx(inside / (4 + np.pi * radius**2 - inside), rel=0.01)


@pytest.mark.parametrize("change", ["mirror", "turn", "scale"])
def test_shape_does_not_depend_on_the_view(change):
    names = ("ellipticity", "regularity", "taper", "asymmetry", "acrosome_fraction", "acrosome_contrast")
    for seed in range(6):
        image = draw_head("Pyriform", seed, debris=False).image
        other = {
            "mirror": image[:, ::-1],
            "turn": np.rot90(image),
            "scale": cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        }[change]
        a, b = measure(image), measure(np.ascontiguousarray(other))
        for name in names:
            assert getattr(a, name) == pytest.approx(getattr(b, name), abs=0.04), (seed, name)


def test_acrosome_of_drawn_heads():
    """The pale cap lies at the end that the angle points to, and its share follows where it was drawn."""
    heads = [draw_head("Normal", seed, debris=False) for seed in range(20)]
    found = [measure(head.image) for head in heads]
    assert all(0.25 < head.acrosome_fraction < 0.65 for head in found)
    assert all(head.acrosome_contrast > 0.1 for head in found)
    for head in found:
        assert len(head.stain_profile) == 10
        assert np.mean(head.stain_profile[:3]) < np.mean(head.stain_profile[-3:])


def test_acrosome_share_of_a_drawn_head():
    """A cap of half of the nucleus' density over 40 % of the area."""
    for share in (0.3, 0.4, 0.5):
        image = ellipse(25, 16, 90).astype(float)
        ys = np.arange(131)[:, None] - 65
        inside = image[..., 1] < 160
        cut = np.sort(np.broadcast_to(ys, (131, 131))[inside])[int(share * inside.sum())]
        cap = np.broadcast_to(ys < cut, (131, 131))
        image[cap] = 0.45 * image[cap] + 0.55 * image[0, 0]
        found = measure(cv2.GaussianBlur(image, (0, 0), 0.8).astype(np.uint8))
        assert found.acrosome_fraction == pytest.approx(share, abs=0.03)
        assert found.angle == pytest.approx(90, abs=2)


def test_a_faint_tail_tells_the_end():
    """The rear third takes a little less dye than the rest, as an acrosome would; a tail of a quarter of it goes on."""
    image = ellipse(26, 14, 90).astype(np.float32)
    image[75:] += 0.06 * (image[0, 0] - image[75:])
    image[90:131, 63:68] = image[0, 0] - 0.25 * (image[0, 0] - image[65, 65])
    for quarters in range(4):
        turned = np.ascontiguousarray(np.rot90(cv2.GaussianBlur(image, (0, 0), 1), quarters)).astype(np.uint8)
        assert abs((measure(turned).angle - 90 - 90 * quarters + 180) % 360 - 180) < 5


def test_hushem_acrosome_end(hushem_heads):
    """The direction against that told by eye (to 10°) on all Normal, Tapered and Pyriform heads."""
    _, heads = hushem_heads
    with Path(__file__).with_name("hushem_acrosome.csv").open(newline="") as opened:
        told = {row["file"]: float(row["degrees"]) for row in csv.DictReader(opened)}
    assert len(told) == 164
    right = [abs((heads[name].angle - angle + 180) % 360 - 180) < 90 for name, angle in told.items()]
    assert np.mean(right) >= 0.98


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("Abnormal_Sperm (475)", 40), ("Abnormal_Sperm (556)", 270), ("Abnormal_Sperm (759)", 220),
        ("Abnormal_Sperm (880)", 290), ("Abnormal_Sperm (352)", 230), ("Abnormal_Sperm (491)", 210),
        ("Normal_Sperm (769)", 180), ("Normal_Sperm (874)", 290),
    ],
)  # fmt: skip
def test_smids_acrosome_end(smids_dir, name, degrees):
    """Heads of which the wrong end, or half, was once taken; the direction away from the tail, by eye."""
    found = measure(Image.open(smids_dir / name.partition(" ")[0] / f"{name}.webp").convert("RGB"))
    assert abs((found.angle - degrees + 180) % 360 - 180) < 30
