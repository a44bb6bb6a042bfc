"""Finding heads in drawn fields and in the shared ones."""

import cv2
import numpy as np
import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.morphology import find_heads, search_field

GROUND, NUCLEUS, ACROSOME = (228, 224, 230), (110, 20, 150), (190, 110, 200)


def draw(heads, size=(640, 512), length=60, seed=0):
    """A field with heads of γ = 1.6 at ``(x, y, degrees)``, a paler cap at the front, and a little noise."""
    width, height = size
    image = np.full((2 * height, 2 * width, 3), GROUND, np.uint8)
    for x, y, degrees in heads:
        axes = (round(length), round(length / 1.6))
        cv2.ellipse(image, (round(2 * x), round(2 * y)), axes, -degrees, 0, 360, NUCLEUS, cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(image, (round(2 * x), round(2 * y)), axes, -degrees, -60, 60, ACROSOME, cv2.FILLED, cv2.LINE_AA)
    image = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 1.2)
    noise = np.random.default_rng(seed).normal(0, 2, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


HEADS = [(100, 80, 20), (300, 95, 110), (520, 90, -50), (90, 300, 75), (330, 290, 0), (560, 310, 160), (250, 430, -20)]


def test_drawn_heads_are_found_in_reading_order_with_their_measures():
    found = search_field(draw(HEADS))
    assert found.reason == ""
    assert found.head_length == pytest.approx(60, rel=0.05)
    assert len(found.heads) == len(HEADS)
    for head, (x, y, degrees) in zip(found.heads, HEADS, strict=True):
        assert head.center == pytest.approx((x, y), abs=1)
        assert head.aspect_ratio == pytest.approx(1.6, rel=0.06)
        assert abs((head.angle - degrees + 180) % 360 - 180) < 6
        x0, y0, x1, y1 = head.box
        assert head.mask.shape == (512, 640)
        assert head.mask[y0:y1, x0:x1].sum() == head.mask.sum()
        assert not head.flags & {"touches_border", "touching"}


def test_a_field_without_stained_objects_says_why():
    empty = np.random.default_rng(0).normal(225, 2, (400, 500, 3)).clip(0, 255).astype(np.uint8)
    found = search_field(empty)
    assert found.heads == []
    assert found.head_length is None
    assert found.reason
    with pytest.warns(UserWarning, match="no heads found"):
        assert find_heads(empty) == []


def test_what_is_no_field_is_refused():
    with pytest.raises(InputError, match="expected a field of at least 300×300"):
        find_heads(np.full((131, 400, 3), 200, np.uint8))
    with pytest.raises(ValueError, match="um_per_px"):
        find_heads(draw(HEADS), um_per_px=0)
