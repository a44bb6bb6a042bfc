"""Prepared images and their random changes."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from madrnet_timm.data.images import AUGMENTATIONS, ImageDataset, _AffineOnBackground
from madrnet_timm.data.normalization import normalized
from madrnet_timm.data.pipelines import prepare
from madrnet_timm.data.sources import images_of, load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.morphology import measure
from madrnet_timm.training.recipe import Recipe


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    records = load("synthetic", count=2)
    images = ImageDataset(records, "aligned", 48, augmentation="strong")
    images.set_epoch(4)
    a = images[3]["image"]
    state = torch.get_rng_state()
    _ = images[5]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images[3]["image"], a)
    images.set_epoch(5)
    assert not torch.equal(images[3]["image"], a)


def test_mixed_views_are_drawn_at_random_for_each_image_and_epoch():
    records = load("synthetic", count=3)
    names = ("head-only", "aligned-normalized", "raw")
    mixed = ImageDataset(records, names[0], 48, mixed=[(name, 1.0) for name in names[1:]])
    views = [[prepare(image, name, 48) for name in names] for image in images_of(records)]
    drawn = []
    for epoch in range(50):
        mixed.set_epoch(epoch)
        for index, own in enumerate(views):
            image = mixed[index]["image"].permute(1, 2, 0).numpy()
            (which,) = [number for number, view in enumerate(own) if np.array_equal(view, image)]
            assert np.array_equal(mixed[index]["image"].permute(1, 2, 0).numpy(), image)
            drawn.append(which)
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    assert np.abs(shares - 1 / 3).max() < 4 * np.sqrt(2 / 9 / len(drawn))  # four standard deviations
    alone = ImageDataset(records, "head-only", 48)
    assert all(np.array_equal(alone[i]["image"].permute(1, 2, 0).numpy(), own[0]) for i, own in enumerate(views))


def test_of_mixed_views_only_the_image_as_it_lies_is_turned_by_any_angle():
    """By the bright corner of a drawn wedge: an aligned head never lies upside down, the whole image does."""
    records = load("synthetic", count=1)
    mixed = ImageDataset(records, "aligned", 48, augmentation="light", mixed=[("raw", 1.0)])
    wedge = torch.zeros(3, 48, 48, dtype=torch.uint8)
    wedge[:, 4:20, 20:28] = 255  # above the middle
    for view, upside_down in ((0, False), (1, True)):
        mixed.views[view][0] = wedge
        lower = []
        for epoch in range(200):
            mixed.set_epoch(epoch)
            if mixed._drawn_view(0) == view:
                image = mixed[0]["image"].float()
                lower.append(bool(image[:, 24:].sum() > image[:, :24].sum()))
        assert len(lower) > 60
        assert (0.3 < np.mean(lower) < 0.7) if upside_down else not any(lower)


def test_turning_is_torchvisions_on_the_images_own_border():
    y, x = np.mgrid[:60, :80]
    image = np.stack([60 + 2 * x, 120 + 2 * y, 100 + 40 * np.sin(x / 5)]).clip(0, 255).astype(np.uint8)
    image[:, [0, -1]], image[:, :, 0], image[:, :, -1] = 200, 200, 200  # the border's median
    image = torch.from_numpy(image)
    transform = _AffineOnBackground(180)
    for angle, shift, scale in ((30.0, (3.0, -5.0), 1.1), (-90.0, (0.0, 0.0), 0.9), (0.0, (0.0, 0.0), 1.0)):
        params = {"angle": angle, "translate": shift, "scale": scale, "shear": (0.0, 0.0)}
        own = transform.transform(image, params)
        bilinear = v2.InterpolationMode.BILINEAR
        expected = v2.functional.affine(image, **params, interpolation=bilinear, fill=[200.0] * 3)
        assert own.shape == image.shape
        assert own.dtype == torch.uint8
        away = (own.float() - expected.float()).abs()
        assert away.median() <= 1
        assert (away <= 6).float().mean() > 0.95  # torchvision blends the rim of the image otherwise
    assert torch.equal(own, image)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_change_stretches_a_head(name):
    """The aspect ratio as measured before and after, on drawn heads; the image itself does change."""
    changes = []
    for seed in range(12):
        image = draw_head("Tapered" if seed % 2 else "Normal", seed, tail=False, debris=False).image
        torch.manual_seed(seed)
        changed = AUGMENTATIONS[name](torch.from_numpy(image).permute(2, 0, 1).contiguous())
        assert changed.shape == (3, *image.shape[:2])
        assert changed.dtype == torch.uint8
        after = changed.permute(1, 2, 0).numpy()
        assert (name == "none") == np.array_equal(after, image)
        changes.append(measure(after).aspect_ratio / measure(image).aspect_ratio - 1)
    assert np.median(np.abs(changes)) < 0.01
    assert max(np.abs(changes)) < 0.05


def test_normalized():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))
    before = images.clone()
    own = normalized(images, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    expected = (images.double() / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    torch.testing.assert_close(own.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(images, before)


def test_a_recipe_offers_all_augmentations():
    """It names them itself, so that reading one needs no PyTorch."""
    (option,) = (field for field in fields(Recipe) if field.name == "augmentation")
    assert option.metadata["choices"] == tuple(AUGMENTATIONS)
