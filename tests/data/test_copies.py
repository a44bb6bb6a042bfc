"""Mirrored and turned copies of drawn and of real heads end up in one group, different heads do not."""

import cv2
import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.copies import copied_pairs, without_corners
from madrnet_timm.data.groups import find_groups
from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.morphology import measure


def compressed(image, quality=85):
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def turned(image, degrees, **options):
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC, **options))


def cropped(image):
    height, width = image.shape[:2]
    return image[: -height // 16, width // 12 :]


CHANGES = {
    "mirrored, without loss": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "mirrored": lambda image: compressed(image[:, ::-1]),
    "upside down": lambda image: compressed(image[::-1], 75),
    "turned by 90°": lambda image: compressed(np.rot90(image)),
    "turned by 180°": lambda image: compressed(np.rot90(image, 2), 75),
    "turned by 270°, smaller, brighter": lambda image: compressed(
        cv2.convertScaleAbs(cv2.resize(np.rot90(image, 3), None, fx=0.75, fy=0.75), alpha=1.1)
    ),
    "turned by 37°, black corners": lambda image: compressed(turned(image, 37)),
    "turned by 152°, whole, black corners": lambda image: compressed(turned(image, 152, expand=True)),
    "turned by 45°, white corners": lambda image: turned(image, 45, fillcolor=(255, 255, 255)),
    "mirrored, turned by 70°": lambda image: compressed(turned(image[:, ::-1], 70)),
    "mirrored, cropped, larger": lambda image: compressed(cv2.resize(cropped(image[:, ::-1]), None, fx=1.3, fy=1.3)),
}


def pairs(images):
    images = [without_corners(image) for image in images]
    return copied_pairs(images, [measure(image) for image in images])


@pytest.fixture(scope="module")
def drawn():
    return [draw_head(SHAPES[seed % 4], seed).image for seed in range(20)]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_of_drawn_heads(drawn, change):
    count = len(drawn)
    found = pairs([*drawn, *(CHANGES[change](image) for image in drawn)])
    assert found <= {(i, i + count) for i in range(count)}
    assert len(found) >= 0.9 * count


@pytest.mark.parametrize(
    "change",
    ["mirrored", "turned by 90°", "turned by 37°, black corners", "mirrored, turned by 70°"],
)
def test_copies_of_hushem(hushem_dir, change):
    """Among them heads whose measurement moves with the position: nine tenths are found, and nothing else."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(hushem_dir.rglob("*.BMP"))[::11]]
    count = len(images)
    assert count == 20
    found = pairs([*images, *(CHANGES[change](image) for image in images)])
    assert found <= {(i, i + count) for i in range(count)}
    assert len(found) >= 18


def test_twenty_heads_in_four_positions_are_twenty_groups(drawn):
    positions = ["mirrored", "turned by 90°", "turned by 37°, black corners"]
    images = [*drawn, *(CHANGES[position](image) for position in positions for image in drawn)]
    assert find_groups(images, [str(i) for i in range(80)]) == 4 * list(range(20))


def test_debris_is_compared_as_it_lies():
    """Without a head to turn upright, mirrored and quarter-turned copies are found all the same."""
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.normal(190, 25, (90, 90, 3)), (0, 0), 6) for _ in range(4)]
    images = [np.clip(image, 0, 255).astype(np.uint8) for image in images]
    assert {(0, 4), (1, 5), (2, 6)} == pairs(
        [*images, images[0][::-1].copy(), np.rot90(images[1]).copy(), images[2].transpose(1, 0, 2).copy()]
    )


def test_what_lies_the_same_way_is_left_to_the_other_rules(drawn):
    assert pairs([drawn[0], drawn[0].copy(), compressed(drawn[0])]) == set()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_flat_images_have_no_copies(count):
    assert pairs([np.full((40, 50, 3), 180, np.uint8)] * count) == set()


def test_flat_surroundings_tell_nothing():
    """Heads of one shape cut out onto one colour are alike, but no copies; mirrored and turned ones are found."""
    heads = [draw_head("Tapered", seed, debris=False) for seed in range(16)]
    images = [np.where(head.mask[..., None], head.image, np.uint8(190)) for head in heads]
    copies = [np.ascontiguousarray(image[:, ::-1]) for image in images[:4]]
    copies += [turned(image, 37, fillcolor=(190, 190, 190)) for image in images[4:8]]
    assert pairs([*images, *copies]) == {(i, 16 + i) for i in range(8)}
