"""The head measurement against drawn ellipses, drawn heads and the real pictures."""

import cv2
import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.morphology import align, mask_background, measure, normalize_background
from madrnet_timm.morphology.align import REFERENCE_BACKGROUND


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


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
@pytest.mark.parametrize(("half_length", "half_width"), [(24, 20), (24, 16), (26, 17.3), (25, 12), (28, 11)])
def test_ellipse_of_known_axes(half_length, half_width, angle):
    found = measure(ellipse(half_length, half_width, angle))
    assert found.aspect_ratio == pytest.approx(half_length / half_width, rel=0.02)
    assert found.length == pytest.approx(2 * half_length, rel=0.02)
    assert found.width == pytest.approx(2 * half_width, rel=0.03)
    assert found.area == pytest.approx(np.pi * half_length * half_width, rel=0.04)
    assert found.center == pytest.approx((65, 65), abs=0.2)
    assert (found.angle - angle + 90) % 180 - 90 == pytest.approx(0, abs=1)
    assert found.ok


@pytest.mark.parametrize("size", [64, 100, 131, 262])
def test_scale_of_the_picture_does_not_matter(size):
    unit = size / 131
    found = measure(ellipse(25 * unit, 15 * unit, 30, size))
    assert found.aspect_ratio == pytest.approx(25 / 15, rel=0.02)
    assert found.length == pytest.approx(50 * unit, rel=0.03)


@pytest.mark.parametrize("size", [131, 524, 1048])
def test_a_head_at_the_border_is_flagged(size):
    unit = size / 131
    found = measure(ellipse(25 * unit, 16 * unit, 20, size, center=(size * 0.17, size / 2)))
    assert "touches_border" in found.flags
    assert not found.ok


def test_micrometres():
    found = measure(ellipse(24, 16, 0), um_per_px=0.1)
    assert found.length_um == pytest.approx(4.8, rel=0.02)
    assert found.width_um == pytest.approx(3.2, rel=0.03)
    assert measure(ellipse(24, 16, 0)).length_um is None


@pytest.mark.parametrize("shape", ["Normal", "Tapered", "Pyriform"])
def test_drawn_heads(shape):
    """Mask and acrosome of heads with tail, gradient, noise and debris."""
    for seed in range(40):
        head = draw_head(shape, seed)
        found = measure(head.image)
        overlap = (head.mask & found.mask).sum() / (head.mask | found.mask).sum()
        assert overlap > (0.85 if shape == "Pyriform" else 0.93), seed
        assert abs((found.angle - head.angle + 180) % 360 - 180) < 5, seed
        if shape != "Pyriform":
            assert found.aspect_ratio == pytest.approx(head.aspect_ratio, rel=0.03), seed


@pytest.mark.parametrize("shape", [(8, 8), (9, 40), (131, 131, 3), (40, 9, 1), (300, 17, 3)])
@pytest.mark.parametrize("kind", ["black", "white", "noise", "checks"])
def test_never_raises(shape, kind):
    rng = np.random.default_rng(0)
    image = {
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "checks": np.broadcast_to((255 * (np.indices(shape).sum(0) // 4 % 2)).astype(np.uint8), shape).copy(),
    }[kind]
    found = measure(image)
    assert found.mask.shape == shape[:2]
    if kind in ("black", "white"):
        assert found.flags == {"no_head"}
        assert found.aspect_ratio is None
        assert not found.ok
    align(
        image if image.ndim == 3 and image.shape[2] == 3 else np.repeat(image.reshape(*shape[:2], 1), 3, 2), found, 32
    )


@pytest.mark.parametrize(
    "image", [np.zeros((7, 20), np.uint8), np.zeros((20, 20)), np.zeros((20, 20, 4), np.uint8), np.zeros(20, np.uint8)]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="expected uint8"):
        measure(image)


def test_hushem_aspect_ratio(hushem_dir):
    """Normal heads lie in the paper's range of γ, tapered ones outside; every γ can be trusted."""
    inside, total = {}, {}
    for folder in ("01_Normal", "02_Tapered"):
        found = [measure(Image.open(path)) for path in sorted((hushem_dir / folder).iterdir())]
        total[folder] = len(found)
        inside[folder] = sum(1.2 <= f.aspect_ratio <= 1.8 for f in found)
        assert all(f.ok for f in found)
    assert total == {"01_Normal": 54, "02_Tapered": 53}
    assert inside["01_Normal"] >= 53
    assert inside["02_Tapered"] <= 1


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


def test_views_are_the_same_for_a_turned_picture():
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
