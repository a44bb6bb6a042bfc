"""Finding heads in drawn fields and in the shared ones."""

import cv2
import numpy as np
import pytest

from examples.studies.fields import Score, count
from madrnet_timm.data.crops import cut_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.errors import InputError
from madrnet_timm.morphology import find_heads, measure, search_field
from tests.conftest import SHARED
from tests.morphology.scenes import SCENES, draw_scene

FIELDS = SHARED / "data" / "fields"
PLACES = [(100, 80, 20), (300, 95, 110), (520, 90, -50), (90, 300, 75), (330, 290, 0), (560, 310, 160), (250, 430, -20)]
"""Of the heads of a simple field, ``(x, y, degrees)``, in reading order."""


def draw(places, size=(640, 512), length=60, ratio=1.6, ground=(228, 224, 230)):
    """Dark ellipses with a paler cap at the front, and a little noise."""
    width, height = size
    image = np.full((2 * height, 2 * width, 3), ground, np.uint8)
    for x, y, degrees in places:
        center, axes = (round(2 * x), round(2 * y)), (round(length), round(length / ratio))
        cv2.ellipse(image, center, axes, -degrees, 0, 360, (110, 20, 150), cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(image, center, axes, -degrees, -60, 60, (190, 110, 200), cv2.FILLED, cv2.LINE_AA)
    image = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 1.2)
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def field():
    return draw_field(seed=3, size=(1000, 800), heads=8, at_border=2)


@pytest.fixture(scope="module")
def places(field):
    return centers(search_field(field.image).heads)


def centers(heads):
    return np.array([head.center for head in heads if not head.touches_border]).reshape(-1, 2)


def same_places(found, expected, tolerance=3.0):
    """Whether each place is near one of the others, one to one."""
    distance = np.linalg.norm(np.array(found)[:, None] - np.array(expected), axis=2)
    return distance.shape[0] == distance.shape[1] and (distance.min(axis=0) < tolerance).all()


def test_reading_order_and_measures():
    found = search_field(draw(PLACES))
    assert found.reason == ""
    assert found.head_length == pytest.approx(60, rel=0.05)
    assert len(found.heads) == len(PLACES)
    for head, (x, y, degrees) in zip(found.heads, PLACES, strict=True):
        assert head.center == pytest.approx((x, y), abs=1)
        assert head.aspect_ratio == pytest.approx(1.6, rel=0.06)
        assert abs((head.angle - degrees + 180) % 360 - 180) < 6
        assert not head.flags & {"touches_border", "touching"}


def test_masks_boxes_and_outlines_lie_in_the_field():
    for head in search_field(draw(PLACES)).heads:
        assert head.mask.shape == head.neck.shape == (512, 640)
        ys, xs = np.nonzero(head.mask)
        assert head.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert head.center == pytest.approx((xs.mean(), ys.mean()), abs=0.5)
        assert head.contour.min(axis=0) == pytest.approx((xs.min(), ys.min()), abs=1)
        assert head.area == pytest.approx(head.mask.sum(), rel=0.03)


def test_values_agree_with_those_of_the_crop(field):
    found = search_field(field.image)
    whole = [head for head in found.heads if not head.touches_border]
    assert len(whole) >= 5
    for head in whole:
        crop = cut_head(field.image, head, round(2.7 * found.head_length))
        alone = measure(crop.image)
        common = np.count_nonzero(alone.mask & crop.head.mask) / np.count_nonzero(alone.mask | crop.head.mask)
        assert common > 0.95
        assert alone.aspect_ratio == pytest.approx(head.aspect_ratio, rel=0.03)
        assert (alone.length, alone.width) == pytest.approx((head.length, head.width), rel=0.02)
        assert abs((alone.angle - head.angle + 180) % 360 - 180) < 3
        assert alone.ok == head.ok


def test_moved_loses_only_what_lies_outside(field):
    head = search_field(field.image).heads[2]
    x0, y0, x1, y1 = head.box
    near = head.moved(10 - x0, 20 - y0, (300, 200))
    assert near.mask.shape == near.neck.shape == (300, 200)
    assert near.box == (10, 20, 10 + x1 - x0, 20 + y1 - y0)
    assert (near.mask[20 : 20 + y1 - y0, 10 : 10 + x1 - x0] == head.mask[y0:y1, x0:x1]).all()
    assert near.mask.sum() == head.mask.sum()
    back = near.moved(x0 - 10, y0 - 20, head.mask.shape)
    assert back.center == pytest.approx(head.center)
    assert back.contour == pytest.approx(head.contour)
    assert (back.mask == head.mask).all()
    middle = (y0 + y1) // 2
    half = head.moved(-x0, -middle, (y1 - y0, x1 - x0))
    assert (half.mask[: y1 - middle] == head.mask[middle:y1, x0:x1]).all()
    assert half.mask.sum() == head.mask[middle:].sum()
    assert not head.moved(5000, 0, (50, 60)).mask.any()


@pytest.mark.parametrize("stain", ["violet", "rose", "papanicolaou"])
def test_drawn_fields(stain):
    """With tails, round cells, debris, touching pairs: nearly all heads, nothing else."""
    score = Score()
    for seed in range(2):
        drawn = draw_field(seed, (1280, 1024), heads=7, touching=1, at_border=1, style=FieldStyle(stain=stain))
        labels = np.zeros(drawn.image.shape[:2], np.uint8)
        for number, head in enumerate(drawn.heads, 1):
            labels[head.mask] = number
        count(score, stain, labels, search_field(drawn.image).heads)
    assert score.outlined == 18
    assert score.found >= 17
    assert score.extra == 0
    assert score.parted >= 3


def test_scale_is_found_from_the_image(field, places):
    for factor in (0.5, 1.6):
        other = cv2.resize(field.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        found = search_field(other)
        assert same_places(centers(found.heads) / factor, places)
        assert found.head_length == pytest.approx(factor * search_field(field.image).head_length, rel=0.05)


def test_turned_and_mirrored(field, places):
    height, width = field.image.shape[:2]
    turned = centers(search_field(np.rot90(field.image).copy()).heads)
    assert same_places([(width - 1 - y, x) for x, y in turned], places)
    mirrored = centers(search_field(field.image[:, ::-1].copy()).heads)
    assert same_places([(width - 1 - x, y) for x, y in mirrored], places)
    upside_down = centers(search_field(field.image[::-1].copy()).heads)
    assert same_places([(x, height - 1 - y) for x, y in upside_down], places)


def test_light_and_gray(field, places):
    """Gray, darker, unevenly lit, with a black surround."""
    height, width = field.image.shape[:2]
    assert same_places(centers(find_heads(cv2.cvtColor(field.image, cv2.COLOR_RGB2GRAY))), places)
    assert same_places(centers(find_heads((field.image * 0.6).astype(np.uint8))), places)
    slope = np.linspace(0.6, 1, width)[:, None]
    assert same_places(centers(find_heads((field.image * slope).astype(np.uint8))), places)
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    radius = 0.45 * np.hypot(width, height)
    seen = np.hypot(x, y) < radius
    heads = find_heads(np.where(seen[..., None], field.image, 3).astype(np.uint8))
    inner = [place for place in places if np.hypot(place[0] - width / 2, place[1] - height / 2) < radius - 60]
    assert len(inner) >= 5
    for head in heads:
        if np.hypot(head.center[0] - width / 2, head.center[1] - height / 2) > radius - 20:
            assert "touches_border" in head.flags
    for place in inner:
        assert np.linalg.norm(centers(heads) - place, axis=1).min() < 3
    assert len(centers(heads)) <= len(places)


def test_captions_and_scale_bars_are_no_heads(field, places):
    image = field.image.copy()
    width = image.shape[1]
    cv2.rectangle(image, (width - 240, 20), (width - 20, 34), (0, 0, 0), cv2.FILLED)
    cv2.rectangle(image, (20, 20), (110, 80), (20, 20, 20), cv2.FILLED)
    cv2.putText(image, "HEAD 100x oil", (150, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 6, cv2.LINE_AA)
    covered = [y < 100 and (x < 130 or 140 < x < 560 or x > width - 260) for x, y in places]
    expected = [place for place, hidden in zip(places, covered, strict=True) if not hidden]
    found = [place for place in centers(find_heads(image)) if np.linalg.norm(places - place, axis=1).min() < 40]
    assert same_places(found, expected, 5)
    assert len(centers(find_heads(image))) == len(found)


def test_heads_at_the_border_are_flagged():
    found = find_heads(draw([*PLACES, (8, 180, 40), (420, 505, 90)]))
    flagged = [head for head in found if head.touches_border]
    assert len(found) == 9
    assert [head.box[0] for head in flagged][:1] == [0]
    assert flagged[1].box[3] == 512
    assert not any(head.ok for head in flagged)


def test_heads_that_cannot_be_parted_are_flagged():
    """Two heads crossed over each other at a right angle, and others of the same size."""
    found = find_heads(draw([*PLACES, (430, 420, 45), (430, 420, 135)], ratio=2))
    clump = [head for head in found if np.hypot(head.center[0] - 430, head.center[1] - 420) < 15]
    assert len(found) == 8
    assert len(clump) == 1
    assert "touching" in clump[0].flags
    assert not clump[0].ok
    assert not any("touching" in head.flags for head in found if head is not clump[0])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_image_it_is_read(seed):
    """Blots of random size and noise: heads or a reason, never an error."""
    rng = np.random.default_rng(seed)
    image = np.full((300 + 50 * seed, 420), 220, np.uint8)
    for _ in range(60):
        x, y, a, b, angle = rng.integers(0, 420), rng.integers(0, 400), *rng.integers(1, 90, 2), rng.integers(0, 180)
        shade = int(rng.integers(0, 255))
        cv2.ellipse(image, (int(x), int(y)), (int(a), int(b)), int(angle), 0, 360, shade, int(rng.integers(-1, 4)) or 1)
    found = search_field(image)
    assert bool(found.heads) != bool(found.reason)


def test_a_known_scale_leaves_out_other_sizes():
    image = draw(PLACES)
    for x, y in ((200, 190), (430, 180), (430, 420), (600, 450)):  # more and larger than the heads
        cv2.ellipse(image, (x, y), (60, 38), 30, 0, 360, (110, 20, 150), cv2.FILLED, cv2.LINE_AA)
    found = search_field(image, um_per_px=4.2 / 60)
    assert found.head_length == pytest.approx(60, rel=0.1)
    assert all(head.um_per_px == 4.2 / 60 for head in found.heads)


def test_a_scale_at_which_no_head_is_human_is_named():
    found = search_field(draw(PLACES), um_per_px=9 / 60)
    assert (found.heads, found.head_length) == ([], None)
    of_itself = search_field(draw(PLACES))
    length = f"({len(of_itself.heads)}) are {of_itself.head_length * 9 / 60:.3g} µm long, and heads 2.8 to 7; check"
    assert f"by the scale of 0.15 µm per pixel its objects in the shape of heads {length}" in found.reason
    empty = np.full((400, 500, 3), 225, np.uint8)
    assert search_field(empty, um_per_px=0.15).reason == search_field(empty).reason


def refused():
    rng = np.random.default_rng(0)
    field = draw(PLACES)
    empty = np.clip(rng.normal(225, 2, (400, 500, 3)), 0, 255).astype(np.uint8)
    cells = draw([(x, y, 0) for x, y, _ in PLACES], ratio=1)
    return {
        "empty": (empty, "nothing is stained"),
        "white": (np.full((400, 500), 255, np.uint8), "nothing is stained"),
        "unstained": (225 - ((225 - field.astype(float)) * 0.1).astype(np.uint8), "nothing is stained"),
        "fluorescence": (255 - field, "bright objects on a dark background"),
        "out of focus": (cv2.GaussianBlur(field, (0, 0), 12), "out of focus"),
        "too small": (
            np.tile(cv2.resize(field, (0, 0), fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA), (3, 3, 1)),
            "25",
        ),
        "noise": (rng.integers(0, 256, (400, 500, 3), dtype=np.uint8), ""),
        "round cells": (cells, "round"),
        "squares": (np.kron(np.indices((10, 12)).sum(0) % 3 > 0, np.ones((50, 50))).astype(np.uint8) * 200 + 30, ""),
    }


@pytest.mark.parametrize("kind", list(refused()))
def test_where_nothing_can_be_found_it_says_why(kind):
    image, words = refused()[kind]
    found = search_field(image)
    assert found.heads == []
    assert found.head_length is None
    assert words in found.reason
    assert "\n" not in found.reason
    with pytest.warns(UserWarning, match="no heads found: "):
        assert find_heads(image) == []


@pytest.mark.parametrize("scene", list(SCENES))
def test_what_is_no_smear_is_refused(scene):
    found = search_field(draw_scene(scene))
    assert found.heads == []
    assert len(found.reason) > 20


def test_one_head_in_a_small_image():
    found = search_field(draw([(160, 150, 35)], size=(320, 300), length=90))
    assert len(found.heads) == 1
    assert found.heads[0].length == pytest.approx(90, rel=0.05)
    assert found.heads[0].center == pytest.approx((160, 150), abs=1.5)


def test_what_is_no_field_is_refused():
    with pytest.raises(InputError, match="expected a field of at least 300×300"):
        find_heads(np.full((131, 400, 3), 200, np.uint8))
    with pytest.raises(ValueError, match="um_per_px"):
        find_heads(draw(PLACES), um_per_px=0)


@pytest.mark.skipif(not FIELDS.is_dir(), reason="needs the shared fields")
def test_hand_outlined_fields():
    score = Score()
    for path in sorted((FIELDS / "images").glob("*.jpg"))[::5]:
        labels = cv2.imread(str(FIELDS / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        count(score, path.stem, labels, search_field(cv2.imread(str(path))[..., ::-1]).heads)
    assert score.outlined > 80
    assert score.found >= 0.98 * score.outlined
    assert score.extra <= 0.03 * score.outlined
    assert np.mean(score.overlaps) > 0.87


@pytest.mark.skipif(not FIELDS.is_dir(), reason="needs the shared fields")
def test_papanicolaou_fields():
    """Counted by eye; the green cells are no heads."""
    counts = []
    for path in sorted((FIELDS / "papanicolaou").glob("*.jpg")):
        image = cv2.imread(str(path))[..., ::-1]
        heads = find_heads(image)
        counts.append(len(heads))
        for head in heads:
            red, green, blue = image[head.mask].mean(axis=0)
            assert green < min(red, blue)
    assert counts == [6, 4, 5, 4]
