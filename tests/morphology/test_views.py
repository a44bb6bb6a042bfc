"""What a network is shown of a measured head: upright, on a normal background, with or without its neck."""

import cv2
import numpy as np
import pytest

from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.morphology import (
    align,
    draw_overlay,
    mask_background,
    measure,
    normalize_background,
)
from madrnet_timm.morphology.align import REFERENCE_BACKGROUND

from .drawn import ellipse


def test_align_turns_the_head_upright_with_the_acrosome_up():
    head = draw_head("Normal", 3, tail=False, debris=False)
    view = align(head.image, measure(head.image), 128)
    found = measure(view)
    assert found.angle == pytest.approx(90, abs=2)
    assert found.center == pytest.approx((63.5, 63.5), abs=1.5)
    assert found.length == pytest.approx(head.length * 128 / (0.55 * 131), rel=0.03)
    # the paler acrosome is in the upper half
    green = view[..., 1].astype(float)
    assert green[40:55, 60:68].mean() > green[73:88, 60:68].mean() + 10


def test_views_are_the_same_for_a_turned_image():
    head = draw_head("Tapered", 5, debris=False)
    turned = np.rot90(head.image).copy()
    a, b = (align(normalize_background(i), measure(i), 96).astype(float) for i in (head.image, turned))
    assert np.abs(a - b).mean() < 2.5


def test_normalize_background_keeps_contrast():
    image = ellipse(24, 16, 20)
    out = normalize_background(image)
    assert np.abs(out[:10, :10].reshape(-1, 3).mean(0) - REFERENCE_BACKGROUND).max() < 1.5
    before = image[0, 0].astype(int) - image[65, 65]
    assert np.abs((out[0, 0].astype(int) - out[65, 65]) - before).max() <= 2


def test_mask_background_removes_all_but_the_head():
    head = draw_head("Normal", 1, debris=True)
    found = measure(head.image)
    out = mask_background(head.image, found)
    far = cv2.distanceTransform((~found.mask).astype(np.uint8), cv2.DIST_L2, 3) > 4
    near = cv2.distanceTransform(found.mask.astype(np.uint8), cv2.DIST_L2, 3) > 2
    ground = out[far].astype(float)
    assert np.abs(ground - np.median(ground, axis=0)).max() < 12  # a plane, no tail, no speck
    assert np.array_equal(out[near], head.image[near])


def test_neck_is_the_stem_behind_the_head_up_to_half_of_its_width():
    image = ellipse(24, 16, 0)  # from 41 to 89 along x
    image[62:69, 85:120] = image[65, 65]  # a stem behind it, 7 px wide
    image[64:67, 10:45] = image[65, 65]  # something that runs into its other end
    found = measure(image)
    assert found.angle == pytest.approx(180, abs=2)
    assert not (found.neck & found.mask).any()
    ys, xs = np.nonzero(found.neck)
    assert 84 <= xs.min() <= 90
    assert xs.max() == pytest.approx(89 + 0.5 * found.width, abs=1.5)
    assert (ys.min(), ys.max()) == pytest.approx((62, 68), abs=1)
    out = mask_background(image, found, keep_neck=True)
    assert np.array_equal(out[64:67, 92:103], image[64:67, 92:103])  # the stem
    ground = out[5, 5].astype(int)
    assert np.abs(out[64:67, 110:118] - ground).max() <= 3  # its rest
    assert np.abs(out[64:67, 12:36] - ground).max() <= 3
    assert np.abs(mask_background(image, found)[64:67, 93:103] - ground).max() <= 3


def test_neck_hangs_on_to_the_head_and_is_as_large_at_twice_the_size():
    image = ellipse(24, 16, 0)
    image[61:70, 88:97] = image[65, 65]  # a stem
    image[79:86, 76:78] = 0.7 * image[65, 65] + 0.3 * image[5, 5]  # a thread at its flank
    image[85:92, 72:80] = image[65, 65]  # and what hangs on it, still within reach
    found = measure(image)
    assert found.neck[65, 92:96].all()
    assert not found.neck[84:, 70:82].any()
    large = measure(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    assert large.neck.sum() / 4 == pytest.approx(found.neck.sum(), rel=0.15)


def test_no_head_no_neck():
    assert not measure(np.full((60, 60, 3), 200, np.uint8)).neck.any()


def test_overlay_draws_outline_axes_and_direction():
    head = draw_head("Normal", 2, debris=False)
    found = measure(head.image)
    image = draw_overlay(head.image, found, scale=3)
    assert image.shape[1] == 3 * 131
    green = (image[..., 1] > 150) & (image[..., 0] < 80) & (image[..., 2] < 80)
    ys, xs = np.nonzero(green)
    assert len(ys) > 200
    distance = cv2.distanceTransform((~found.mask).astype(np.uint8), cv2.DIST_L2, 5) + cv2.distanceTransform(
        found.mask.astype(np.uint8), cv2.DIST_L2, 5
    )
    assert distance[np.minimum(ys // 3, 130), xs // 3].max() < 3  # the line lies on the border of the mask
    flat = np.full((64, 64, 3), 200, np.uint8)
    assert draw_overlay(flat, measure(flat)).shape == (3 * 64 + 22, 3 * 64, 3)
