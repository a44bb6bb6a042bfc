"""The scale of a slide, and the crops that are cut by it."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.crops import cut_head
from madrnet_timm.data.kinds import examine, kind_by_size
from madrnet_timm.data.pages import Page, pages_of
from madrnet_timm.data.scale import SlideScale, searched_field
from madrnet_timm.data.stated_scale import StatedScale
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.errors import InputError
from madrnet_timm.hub.crop_scale import crop_side, relative_length
from madrnet_timm.hub.model_info import ModelInfo
from madrnet_timm.morphology import FieldSearch, measure, search_field

FIELD = draw_field(3, (640, 480), heads=6, at_border=1, style=FieldStyle(head_length=60, clutter=False))


@pytest.fixture(scope="module")
def search():
    return search_field(FIELD.image)


def heads_of(*lengths):
    """A search that found heads of these lengths."""
    head = measure(draw_head("Normal", 1).image)
    return FieldSearch([replace(head, length=length) for length in lengths], float(np.median(lengths)))


def test_a_crop_has_its_head_in_the_middle_and_its_measurement(search):
    assert len(search.heads) >= 6
    for head in search.heads:
        crop = cut_head(FIELD.image, head, 121)
        assert crop.image.shape == (121, 121, 3)
        x, y = crop.origin
        assert crop.head.center == pytest.approx((head.center[0] - x, head.center[1] - y))
        assert crop.head.center == pytest.approx((60, 60), abs=0.51)
        assert (crop.head.aspect_ratio, crop.head.flags) == (head.aspect_ratio, head.flags)
        if not head.touches_border:
            assert crop.head.mask.sum() == head.mask.sum()
            again = measure(crop.image)
            assert again.aspect_ratio == pytest.approx(head.aspect_ratio, rel=0.1)
            left, top, right, bottom = crop.head.box
            assert crop.head.mask[top:bottom, left:right].sum() == crop.head.mask.sum()


def test_beyond_the_field_lies_background(search):
    head = next(head for head in search.heads if head.touches_border)
    crop = cut_head(FIELD.image, head, 201)
    (x, y), (height, width) = crop.origin, FIELD.image.shape[:2]
    beyond = np.ones((201, 201), bool)
    beyond[max(-y, 0) : height - y, max(-x, 0) : width - x] = False
    assert 0.1 < beyond.mean() < 0.9
    assert len(np.unique(crop.image[beyond], axis=0)) == 1
    background = np.median(FIELD.image.reshape(-1, 3), axis=0)
    assert np.abs(crop.image[beyond][0] - background).max() < 15
    assert not crop.head.mask[beyond].any()
    with pytest.raises(ValueError, match="there is no head"):
        cut_head(FIELD.image, measure(np.full((99, 99, 3), 200, np.uint8)), 50)


def test_how_large_heads_are_for_a_model():
    assert relative_length(ModelInfo(dataset="hushem")) == 0.362
    assert relative_length(ModelInfo(dataset="hushem", relative_length=0.5)) == 0.5
    assert relative_length(ModelInfo(domain={"relative_length": (0.2, 0.6)})) == pytest.approx(0.4)
    assert relative_length(ModelInfo(domain={"relative_length": (-0.6, 0.6)})) == 0.362
    assert crop_side(47.4, ModelInfo(dataset="hushem")) == 131


def test_known_data_sets_have_the_heads_that_are_stated(hushem_dir, smids_dir):
    from madrnet_timm.data.reading import images_below, read_image

    for name, folder in (("hushem", hushem_dir), ("smids", smids_dir)):
        paths = [path for path in images_below(folder) if "Non-Sperm" not in str(path)]
        lengths = []
        for path in paths[:: len(paths) // 100]:
            image = read_image(path)
            head = measure(image)
            lengths += [head.length / max(image.shape[:2])] if head.ok else []
        assert np.median(lengths) == pytest.approx(relative_length(ModelInfo(dataset=name)), rel=0.06)


def test_the_slide_tells_the_length_of_its_heads():
    page = Page(Path("slide/a.jpg"), None, (1280, 1024))
    slide = SlideScale(groups={(Path("slide"), (1280, 1024)): [80.0, 90, 90, 90, 100]})
    assert slide.head_length(page, heads_of(75, 80, 82)) == 90  # a few short heads
    assert slide.head_length(page, heads_of(40, 41, 42)) == 41  # another magnification
    assert slide.head_length(page, heads_of(40)) == 90  # one small head says nothing
    assert slide.head_length(page, FieldSearch([])) is None
    assert slide.head_length(Page(Path("slide/b.jpg"), None, (640, 480)), heads_of(40)) == 40
    assert SlideScale(0.1).head_length(page, heads_of(70, 70), 0.1) == pytest.approx(42)
    assert SlideScale(0.1).head_length(page, heads_of(50, 50, 50, 50, 50), 0.1) == 50


def test_a_look_at_some_fields_finds_it(tmp_path):
    for number in range(3):
        Image.fromarray(draw_field(number, (640, 480), 5, style=FieldStyle(head_length=60)).image).save(
            tmp_path / f"{number}.png", dpi=(254000, 254000)
        )
    Image.fromarray(draw_head("Normal", 1).image).save(tmp_path / "crop.png")
    pages = pages_of(sorted(tmp_path.iterdir()))
    slide = SlideScale.of(pages)
    ((key, lengths),) = slide.groups.items()
    assert key == (tmp_path, (640, 480))
    assert len(lengths) > 8
    assert 50 < np.median(lengths) < 70
    fields = [page for page in pages if page.size == (640, 480)]
    for page in fields:
        assert slide.um_per_px(page) == (pytest.approx(0.1), "PNG resolution")
    (said,) = slide.sayings(pages)
    assert said == "scale: 0.1 µm per pixel (PNG resolution, 254000 dpi), said by 3 images; --um-per-px overrules it"
    assert SlideScale.of(pages, 0.08).sayings(pages) == []
    with pytest.raises(InputError, match=r"--um-per-px 1: heads would be .* did you mean 0\.1\?"):
        SlideScale.of(pages, 1)


def test_a_stated_scale_that_does_not_fit_the_heads_is_not_believed(tmp_path):
    Image.fromarray(FIELD.image).save(tmp_path / "a.png", dpi=(30000, 30000))
    pages = pages_of([tmp_path / "a.png"])
    assert pages[0].stated.problem == ""
    slide = SlideScale.of(pages)
    value, source = slide.um_per_px(pages[0])
    assert value is None
    assert source.startswith("PNG resolution, 30000 dpi: not believed, heads would be 4")
    assert slide.sayings(pages)[0].endswith("µm long, said by 1 image; lengths are in pixels, give --um-per-px")
    one = searched_field(tmp_path / "a.png")
    assert (one.um_per_px, "not believed" in one.um_source, one.found.heads[0].length_um) == (None, True, None)
    Image.fromarray(FIELD.image).save(tmp_path / "b.png", dpi=(254000, 254000))
    one = searched_field(str(tmp_path / "b.png"))
    assert (one.um_per_px, one.um_source) == (pytest.approx(0.1), "PNG resolution")
    assert one.found.heads[0].length_um == pytest.approx(0.1 * one.found.heads[0].length)
    given = searched_field(tmp_path / "b.png", 0.09)
    assert (given.um_per_px, given.um_source) == (0.09, "given")


def test_crops_have_stated_scales_too(caplog):
    slide = SlideScale(doubted={0.3: 15.0})
    page = Page(Path("a.tif"), None, (131, 131), StatedScale(0.3, "ImageJ", "3.3 pixels per µm"))
    assert slide.um_per_px(page) == (None, "ImageJ, 3.3 pixels per µm: not believed, heads would be 15 µm long")
    assert slide.um_per_px(Page(Path("b.tif"), None, (131, 131))) == (None, "")
    with caplog.at_level(logging.WARNING):
        SlideScale(0.3).check({0.3: [50.0]})
    assert "did you mean" in caplog.text  # of one head


@pytest.mark.parametrize(
    ("size", "kind"), [((801, 20), "field"), ((800, 299), "crop"), ((800, 300), "auto"), ((131, 131), "crop")]
)
def test_kinds_by_size(size, kind):
    assert kind_by_size(*size) == kind_by_size(*size[::-1]) == kind
    assert kind_by_size(*size, "crop") == "crop"


def test_kinds_by_what_is_shown():
    field = draw_field(1, (420, 400), 4, style=FieldStyle(head_length=45)).image
    crop = np.asarray(Image.fromarray(draw_head("Normal", 2).image).resize((420, 420), Image.Resampling.BICUBIC))
    assert isinstance(examine(field), FieldSearch)
    assert not isinstance(examine(crop), FieldSearch)
    assert examine(crop).length == pytest.approx(measure(crop).length)
    assert not isinstance(examine(field, "crop"), FieldSearch)
    assert isinstance(examine(crop, "field"), FieldSearch)
    blank = np.full((400, 400, 3), 220, np.uint8)
    assert examine(blank).flags == {"no_head"}
    with pytest.raises(InputError, match=r"x\.png: 200×250 pixels; expected a field of at least 300×300"):
        examine(np.full((250, 200, 3), 220, np.uint8), "field", name="x.png")
    with pytest.raises(InputError, match="look like a whole field of view"):
        examine(np.full((900, 900, 3), 220, np.uint8), "crop")


def test_lengths_are_told_without_an_exponent():
    stated = StatedScale(24.0, "TIFF resolution", "1058 dpi")
    scale = SlideScale(doubted={24.0: 1450.4})
    assert scale.um_per_px(Page(Path("x.tif"), stated=stated)) == (
        None,
        "TIFF resolution, 1058 dpi: not believed, heads would be 1450 µm long",
    )
