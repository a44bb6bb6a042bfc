"""The truth about a drawn field agrees with its pixels."""

import numpy as np
import pytest

from madrnet_timm.data.synthetic_field import STAINS, FieldStyle, draw_field
from madrnet_timm.morphology import measure
from madrnet_timm.opencv import cv2

SMALL = FieldStyle(head_length=48)


def angle_between(a, b):
    return abs((a - b + 180) % 360 - 180)


@pytest.fixture(scope="module")
def crowded():
    return draw_field(3, (900, 700), heads=6, touching=2, overlapping=2, at_border=4, style=SMALL)


def test_the_same_seed_gives_the_same_field():
    one, same, other = (draw_field(seed, (400, 320), heads=3, style=SMALL) for seed in (5, 5, 6))
    assert np.array_equal(one.image, same.image)
    assert [head.box for head in one.heads] == [head.box for head in same.heads]
    assert not np.array_equal(one.image, other.image)


def test_as_many_heads_of_each_kind_as_asked_for(crowded):
    assert crowded.image.shape == (700, 900, 3)
    assert crowded.image.dtype == np.uint8
    assert len(crowded.heads) == 6 + 2 * 2 + 2 * 2 + 4
    assert sum(head.touches_border for head in crowded.heads) == 4
    assert sum(head.touching for head in crowded.heads) == 8
    assert not any(head.touching and head.touches_border for head in crowded.heads)


def test_pairs_meet_as_asked_for_and_all_others_keep_apart(crowded):
    common = []
    for number, head in enumerate(crowded.heads):
        near = cv2.dilate(head.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        meets = [other for other in crowded.heads[:number] if (near & other.mask).any()]
        common += [np.count_nonzero(head.mask & other.mask) for other in meets]
        assert all(head.touching and other.touching for other in meets)
    assert len(common) == 4
    assert sum(share <= 3 for share in common) == 2  # pixels: these touch
    assert sum(share > 40 for share in common) == 2


@pytest.mark.parametrize("stain", STAINS)
def test_the_masks_are_what_is_dark(stain):
    """Without clutter the heads are all that is dark but for pale tails; the outline runs where half the light goes."""
    style = FieldStyle(stain, head_length=60, clutter=False, lighting=0)
    field = draw_field(1, (700, 500), heads=8, style=style)
    green = field.image[..., 1].astype(float)
    background = np.median(green)
    masks = np.any([head.mask for head in field.heads], axis=0)
    apart = cv2.distanceTransform((~masks).astype(np.uint8), cv2.DIST_L2, 5)
    lost = background - green
    assert np.percentile(lost[cv2.erode(masks.astype(np.uint8), np.ones((5, 5))) > 0], 1) > 0.14 * background
    assert np.mean(np.abs(lost[apart > 20]) < 0.1 * background) > 0.96
    rim = masks ^ (cv2.erode(masks.astype(np.uint8), np.ones((3, 3))) > 0)
    inside = np.median(lost[cv2.erode(masks.astype(np.uint8), np.ones((5, 5))) > 0])
    assert 0.3 * inside < np.median(lost[rim]) < 0.9 * inside
    assert np.median(lost[(apart > 2) & (apart < 4)]) < 0.1 * inside


def test_box_and_center_are_those_of_the_mask(crowded):
    for head in crowded.heads:
        ys, xs = np.nonzero(head.mask)
        assert head.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert head.center == pytest.approx((xs.mean(), ys.mean()))
        cut = xs.min() == 0 or ys.min() == 0 or xs.max() == 899 or ys.max() == 699
        assert bool(cut) is head.touches_border


def test_axes_are_those_of_the_mask():
    for head in draw_field(2, heads=12).heads:
        points = np.column_stack(np.nonzero(head.mask)).astype(float)
        small, large = np.sqrt(np.linalg.eigvalsh(np.cov(points.T)))
        assert head.length == pytest.approx(4 * large, rel=0.01)
        assert head.width == pytest.approx(4 * small, rel=0.02)
        assert head.aspect_ratio == pytest.approx(head.length / head.width)


@pytest.mark.parametrize("stain", STAINS)
def test_the_measurement_finds_what_was_drawn(stain):
    """Angle, ratio and length of ovals, in crops of a field without clutter."""
    field = draw_field(4, (1280, 1024), heads=14, style=FieldStyle(stain, clutter=False))
    checked = 0
    for head in field.heads:
        x, y = map(round, head.center)
        crop = field.image[max(y - 100, 0) : y + 100, max(x - 100, 0) : x + 100]
        others = sum(other.mask[max(y - 100, 0) : y + 100, max(x - 100, 0) : x + 100].any() for other in field.heads)
        if others > 1 or head.shape not in ("Normal", "Tapered"):
            continue
        found = measure(crop)
        assert found.length == pytest.approx(head.length, rel=0.12)
        assert found.aspect_ratio == pytest.approx(head.aspect_ratio, rel=0.12)
        assert angle_between(found.angle, head.angle) < 12
        checked += 1
    assert checked >= 4


def test_uneven_light_noise_and_clutter_are_as_asked_for():
    def drawn(**style):
        return draw_field(0, (500, 400), heads=2, style=FieldStyle(head_length=48, **style)).image.astype(float)

    plain = drawn(clutter=False, lighting=0, noise=0)
    shaded = drawn(clutter=False, lighting=0.5, noise=0)
    corners = [shaded[y, x].sum() / plain[y, x].sum() for y in (3, -4) for x in (3, -4)]
    assert min(corners) == pytest.approx(0.5, abs=0.05)
    noise = drawn(clutter=False, lighting=0, noise=5) - plain
    assert noise.std() == pytest.approx(5, rel=0.05)
    difference = np.abs(drawn(lighting=0, noise=0) - plain)[..., 1]
    assert 0.01 < np.mean(difference > 15) < 0.3


@pytest.mark.parametrize(("wrong", "says"), [
    ({"style": FieldStyle("pink")}, "stain='pink': expected one of violet, rose, papanicolaou"),
    ({"size": (300, 300), "heads": 20}, "no room for so many heads of 90 px in 300×300 px"),
    ({"size": (80, 80), "heads": 1}, "no room"),
])  # fmt: skip
def test_what_cannot_be_drawn(wrong, says):
    with pytest.raises(ValueError, match=says):
        draw_field(**wrong)
