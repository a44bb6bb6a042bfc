"""Where the outline lies, and what belongs to the head."""

import cv2
import numpy as np
import pytest

from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.morphology import (
    measure,
)

from .drawn import blurred, ellipse


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("02_Tapered/image_025", 2.5),
        ("02_Tapered/image_028", 2.7),
        ("03_Pyriform/image_005", 2.0),
        ("03_Pyriform/image_043", 1.5),
        ("03_Pyriform/image_050", 2.0),
    ],
)
def test_cytoplasm_is_cut_off(hushem_heads, name, ratio):
    """Heads with a sleeve, a droplet or a cloud of cytoplasm, which once were measured with it (γ up to 4.5)."""
    head = hushem_heads[1][f"{name}.BMP"]
    assert "cut_neck" in head.flags
    assert head.aspect_ratio == pytest.approx(ratio, rel=0.05)


def test_debris_is_flagged_irregular():
    rng = np.random.default_rng(1)
    image = np.full((131, 131, 3), (215, 190, 205), np.uint8)
    for _ in range(9):
        x, y = (int(v) for v in rng.integers(45, 86, size=2))
        cv2.circle(image, (x, y), 6, (120, 60, 150), -1)
    cv2.line(image, (30, 65), (100, 60), (120, 60, 150), 8)
    assert "irregular" in measure(image).flags
    assert not any("irregular" in measure(draw_head(shape, 3).image).flags for shape in SHAPES)


@pytest.mark.parametrize("rounded", [False, True])
def test_outline_of_a_blurred_body_is_where_the_body_ends(rounded):
    """A slab's outline lies up to a third of the blur outside, that of a rounded body as much inside."""
    found = measure(blurred(25, 16, 1.0, rounded))
    assert found.length == pytest.approx(50, rel=0.04)
    assert found.width == pytest.approx(32, rel=0.05)
    assert found.aspect_ratio == pytest.approx(25 / 16, rel=0.03)


def test_touching_heads_are_parted_and_the_one_in_the_middle_is_measured():
    image = np.minimum(ellipse(24, 15, 90), ellipse(24, 15, 30, center=(96, 65)))
    found = measure(image)
    assert found.center == pytest.approx((65, 65), abs=2)
    assert found.aspect_ratio == pytest.approx(1.6, rel=0.06)
    assert "two_heads" in found.flags


def test_a_head_with_a_waist_in_the_middle_is_measured_whole():
    """Two lobes lie nearer to the middle together than alone; in a crop around one of them it is touched by another."""
    lobes = [ellipse(17, 13, 90, center=(65, y)) for y in (52, 79)]
    image = np.minimum(*lobes)
    found = measure(image)
    assert found.center == pytest.approx((65, 65.5), abs=1)
    assert found.box[3] - found.box[1] == pytest.approx(61, abs=3)
    assert "two_heads" in found.flags
    moved = np.full_like(image, image[0, 0])
    moved[:118] = image[13:]
    found = measure(moved)
    assert found.center == pytest.approx((65, 66), abs=1)
    assert found.box[3] - found.box[1] < 40


def test_resolution_follows_from_the_head_not_from_the_image():
    image = ellipse(24, 16, 20)
    wide = cv2.copyMakeBorder(image, 130, 130, 130, 130, cv2.BORDER_REPLICATE)
    a, b = measure(image), measure(wide)
    assert b.length == pytest.approx(a.length, rel=0.01)
    assert b.width == pytest.approx(a.width, rel=0.01)


def test_a_known_head_in_a_field():
    from madrnet_timm.morphology.head import measure_object

    field = np.minimum(ellipse(24, 15, 90, 400, (80, 300)), ellipse(24, 15, 30, 400, (111, 300)))
    own, other = (
        ellipse(12, 8, angle, 400, center)[..., 1] < 100 for angle, center in ((90, (80, 300)), (30, (111, 300)))
    )
    found = measure_object(field, own, others=other | (np.arange(400) > 96))
    assert found.mask.shape == (400, 400)
    assert found.center == pytest.approx((80, 300), abs=1.5)
    assert found.length == pytest.approx(48, rel=0.04)
    assert measure_object(field, np.zeros((400, 400), bool)).flags == {"no_head"}
    assert measure_object(field, own, ground=(165.0, 1.0)).center is not None


def test_neighbour_is_flagged():
    image = draw_head("Normal", 1, debris=False).image
    assert "two_heads" not in measure(image).flags
    wide = np.hstack([image, image[:, -1:].repeat(20, axis=1)])
    wide[5:40, -38:-8] = image[48:83, 50:80]  # the middle of the head once more, at the border
    assert "two_heads" in measure(wide).flags
