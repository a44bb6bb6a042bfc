"""How far a measurement hangs on how the image lies, on its size, light and compression."""

import cv2
import numpy as np
import pytest
from PIL import Image

from examples.studies.measurement import changes
from madrnet_timm.morphology import (
    measure,
)

CHANGES = changes()


@pytest.mark.parametrize("change", CHANGES)
def test_hushem_aspect_ratio_is_stable(hushem_heads, change):
    images, heads = hushem_heads
    moved = [
        abs(measure(CHANGES[change](image)).aspect_ratio / heads[name].aspect_ratio - 1)
        for name, image in images.items()
    ]
    assert np.median(moved) < 0.005
    assert np.percentile(moved, 95) < 0.025
    # in Pyriform 050 the nucleus runs out into a loop of the tail, which another angle cuts elsewhere
    assert max(moved) < (0.25 if change == "turned by 45°" else 0.15)
    assert sorted(moved)[-2] < 0.14  # no other neck is cut now and then


POSITIONS = [
    lambda image, mirror=mirror, quarters=quarters: np.ascontiguousarray(
        np.rot90(image[:, ::-1] if mirror else image, quarters)
    )
    for mirror in (False, True)
    for quarters in range(4)
]


def trusted_ratios(image):
    """γ in the eight positions of a square, and those of them that are said to be trusted."""
    heads = [measure(position(image)) for position in POSITIONS]
    return [head.aspect_ratio for head in heads], [head.aspect_ratio for head in heads if head.ok]


def head_with_droplet(seed, paleness):
    """A head, a stem and a droplet of cytoplasm, as pale as the rule for cutting a neck is just about to ask for."""
    rng = np.random.default_rng(seed)
    image = np.full((131, 131, 3), (215, 190, 205), float)
    ys, xs = np.mgrid[:131, :131]
    image += (rng.normal(0, 3, 2) @ np.stack([xs.ravel(), ys.ravel()]) / 131).reshape(131, 131, 1)
    angle = np.radians(rng.uniform(0, 90))
    along = (xs - 60) * np.cos(angle) + (ys - 62) * np.sin(angle)
    across = (ys - 62) * np.cos(angle) - (xs - 60) * np.sin(angle)
    ink = np.array((110, 50, 130.0))
    behind = (((along - 34) / 14) ** 2 + (across / 12) ** 2 <= 1) | ((abs(across) < 7) & (along > 15) & (along < 34))
    image[behind] = (1 - paleness) * ink + paleness * image[0, 0]
    image[(along / 24) ** 2 + (across / 16) ** 2 <= 1] = ink
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1) + rng.normal(0, 3, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("seed", "paleness"), [(0, 0.21), (2, 0.32), (2, 0.33), (4, 0.33), (4, 0.35)])
def test_a_droplet_does_not_count_however_the_image_lies(seed, paleness):
    """Head and droplet of 24 × 16: the droplet is cut off, and the outline trusted, however the image lies."""
    ratios, trusted = trusted_ratios(head_with_droplet(seed, paleness))
    assert all(ratio == pytest.approx(1.5, rel=0.08) for ratio in ratios)
    assert len(trusted) == len(POSITIONS)
    assert max(trusted) < 1.05 * min(trusted)


@pytest.mark.parametrize(
    "name",
    ["Abnormal_Sperm (256)", "Abnormal_Sperm (548)", "Abnormal_Sperm (994)", "Normal_Sperm (133)", "Non-Sperm (726)"],
)
def test_smids_outlines_that_are_trusted_do_not_hang_on_the_position(smids_dir, name):
    image = np.asarray(Image.open(smids_dir / name.partition(" ")[0] / f"{name}.webp").convert("RGB"))
    _, trusted = trusted_ratios(image)
    assert not trusted or max(trusted) < 1.05 * min(trusted)


def test_hardly_an_outline_of_hushem_hangs_on_the_position(hushem_heads):
    """Two necks are a close call: cut in some positions, not in others. They are flagged, and no other."""
    images, heads = hushem_heads
    flagged = {name for name, head in heads.items() if "unstable" in head.flags}
    assert flagged == {"02_Tapered/image_014.BMP", "03_Pyriform/image_043.BMP"}
    for name in flagged:
        ratios, _ = trusted_ratios(images[name])
        assert max(ratios) > 1.05 * min(ratios)
