"""Pages of files, and the scale that a file states."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from madrnet_timm.data.pages import kinds_of, pages_of, read_page, read_single
from madrnet_timm.data.stated_scale import stated_scale
from madrnet_timm.errors import InputError

RNG = np.random.default_rng(0)


def said_of(page):
    """A page, or why it can't be read."""
    try:
        return read_page(page)
    except InputError as error:
        return str(error)


def colours(number, dtype=np.uint8):
    return [RNG.integers(0, np.iinfo(dtype).max + 1, (60, 80, 3)).astype(dtype) for _ in range(number)]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_each_page_of_a_tiff_is_an_image(tmp_path, compression):
    images = colours(4)
    first, *others = map(Image.fromarray, images)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others, compression=compression)
    pages = pages_of([tmp_path / "stack.tif"])
    assert [(page.number, page.size) for page in pages] == [(n, (80, 60)) for n in (1, 2, 3, 4)]
    assert str(pages[2]) == f"{tmp_path / 'stack.tif'}, page 3"
    for number in (2, 0, 3, 1):
        assert np.array_equal(read_page(pages[number]), images[number])
    first.save(tmp_path / "stack.gif", save_all=True, append_images=others)
    assert [page.number for page in pages_of([tmp_path / "stack.gif"])] == [None]


@pytest.mark.parametrize("gray", [True, False], ids=["gray", "colour"])
def test_sixteen_bits_of_each_page(tmp_path, gray):
    """The upper 8 bits alone would do for none of 12 bits, which is what a camera's images mostly have."""
    images = [image // 16 for image in colours(3, np.uint16)]
    images = [image[..., 1] if gray else image for image in images]
    assert cv2.imwritemulti(str(tmp_path / "deep.tif"), images)
    pages = pages_of([tmp_path / "deep.tif"])
    assert len(pages) == 3
    for number in (1, 2, 0):
        expected = np.rint(images[number] / (4095 / 255)).astype(int)
        found = read_page(pages[number]).astype(int)
        assert np.abs(found[..., 0] - expected if gray else found[..., ::-1] - expected).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
def test_each_page_is_turned_as_its_file_says(tmp_path, mode, turn):
    (colour,) = colours(1)
    image = colour if mode == "RGB" else colour[..., 0].astype(np.uint16) * 257 if mode == "I;16" else colour[..., 0]
    page = Image.fromarray(image)
    page.save(tmp_path / "s.tif", save_all=True, append_images=[page], tiffinfo={274: turn})
    expected = image if turn < 5 else image.swapaxes(0, 1)
    expected = expected[:: -1 if turn in (3, 4, 7, 8) else 1, :: -1 if turn in (2, 3, 6, 7) else 1]
    for found in map(read_page, pages_of([tmp_path / "s.tif"])):
        assert np.array_equal(found if mode == "RGB" else found[..., 0], expected // (257 if mode == "I;16" else 1))


def test_smaller_copies_and_masks_of_other_pages_are_left_out(tmp_path, caplog):
    images = colours(3)
    first, second, copy = map(Image.fromarray, images)
    sizes = {"resolution_unit": 3, "x_resolution": 1e5, "y_resolution": 1e5}
    copy.encoderinfo = {"tiffinfo": {254: 1}, "resolution_unit": 3, "x_resolution": 5e4, "y_resolution": 5e4}
    second.encoderinfo = {"resolution_unit": 3, "x_resolution": 2e5, "y_resolution": 2e5}
    path = tmp_path / "s.tif"
    first.save(path, save_all=True, append_images=[copy, second], **sizes)
    pages = pages_of([path])
    assert [(page.number, page.stated.um_per_px) for page in pages] == [(1, 0.1), (3, 0.05)]
    assert "1 pages of TIFF files are smaller copies or masks of other pages; left out" in caplog.text
    assert all(np.array_equal(read_page(p), i) for p, i in zip(pages, images[:2], strict=True))


def tagged(path, tags, cm=(None, None), sizes=((80, 60), (80, 60))):
    """A TIFF of two pages, with what stands in tag 254 of each, and pixels per cm."""
    pages = [Image.new("RGB", size) for size in sizes]
    options = [
        {"tiffinfo": {254: tag}, "resolution_unit": 1 if scale is None else 3}
        | {"x_resolution": scale or 1, "y_resolution": scale or 1}
        for tag, scale in zip(tags, cm, strict=True)
    ]
    pages[1].encoderinfo = options[1]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options[0])
    return pages_of([path])


def test_pages_of_which_none_is_whole_are_taken_as_they_are(tmp_path, caplog):
    pages = tagged(tmp_path / "s.tif", (1, 1), (1e5, None))
    assert [(page.number, page.size, page.stated.um_per_px) for page in pages] == [(n, (80, 60), 0.1) for n in (1, 2)]
    Image.new("RGB", (80, 60)).save(tmp_path / "one.tif", tiffinfo={254: 1}, dpi=(254000, 254000))
    (page,) = pages_of([tmp_path / "one.tif"])
    assert (page.number, page.size, page.stated.um_per_px) == (None, (80, 60), pytest.approx(0.1))
    assert "left out" not in caplog.text


def test_a_single_page_is_not_the_smaller_copy_before_it(tmp_path):
    small, whole = (Image.fromarray(image) for image in colours(2))
    whole.encoderinfo = {"tiffinfo": {254: 0}}
    small.save(tmp_path / "s.tif", save_all=True, append_images=[whole], tiffinfo={254: 1})
    assert np.array_equal(read_single(tmp_path / "s.tif"), np.asarray(whole))
    assert np.array_equal(read_single(whole), np.asarray(whole))
    small.save(tmp_path / "two.tif", save_all=True, append_images=[whole])
    with pytest.raises(InputError, match=r"two.tif: 2 pages; give one of them, as an array or as Pillow's image"):
        read_single(tmp_path / "two.tif")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.tif")
    with pytest.raises(InputError, match=r"p.tif: not a file; expected an image"):
        read_single(tmp_path / "p.tif")


def test_a_page_has_not_the_scale_of_a_smaller_copy(tmp_path):
    (page,) = tagged(tmp_path / "s.tif", (1, 0), (2.5e4, None), ((40, 30), (80, 60)))
    assert (page.number, page.size, page.stated) == (2, (80, 60), None)


@pytest.mark.parametrize("tag", ["full", b"\0\0\0\0"])
def test_a_kind_of_page_that_is_no_number(tmp_path, tag):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[254], info.tagtype[254] = tag, 2 if isinstance(tag, str) else 7
    page = Image.new("RGB", (80, 60))
    page.save(tmp_path / "s.tif", save_all=True, append_images=[page], tiffinfo=info)
    assert [page.size for page in pages_of([tmp_path / "s.tif"])] == [(80, 60), (80, 60)]


def test_a_stack_that_is_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "s.tif"
    for images in (colours(2), colours(3)):
        first, *others = map(Image.fromarray, images)
        first.save(path, save_all=True, append_images=others)
        assert [np.array_equal(read_page(p), i) for p, i in zip(pages_of([path]), images, strict=True)]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_stack_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path, compression):
    """The pages before the damage are images; the first one behind it is said, and none is taken for another."""
    images = colours(4)
    first, *others = map(Image.fromarray, images)
    first.save(tmp_path / "s.tif", save_all=True, append_images=others, compression=compression)
    whole = (tmp_path / "s.tif").read_bytes()
    for share in (0.3, 0.55, 0.8):
        (tmp_path / "cut.tif").write_bytes(whole[: int(share * len(whole))])
        outcomes = []
        for number, page in enumerate(pages_of([tmp_path / "cut.tif"])):
            assert page.number == number + 1
            outcome = said_of(page)
            outcomes.append(isinstance(outcome, np.ndarray) and np.array_equal(outcome, images[number]))
            if not outcomes[-1]:
                assert f"cut.tif, page {number + 1}: can't read it as an image" in outcome
                assert "\n" not in outcome
        whole_pages = outcomes.count(True)
        assert 1 <= whole_pages < 4
        assert outcomes == [True] * whole_pages + [False] * (len(outcomes) - whole_pages)
        assert len(outcomes) > whole_pages


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "none.tif").write_bytes(b"II*\0nothing")
    pages = pages_of([tmp_path / "none.tif", tmp_path / "gone.tif"])
    assert [page.size for page in pages] == [(0, 0), (0, 0)]
    for page in pages:
        with pytest.raises(InputError, match=r"(none|gone)\.tif: ") as error:
            read_page(page)
        assert "\n" not in str(error.value)


def test_what_images_are_taken_for(tmp_path):
    for name, size in {"crop": (131, 131), "field": (1280, 1024), "either": (500, 400)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    pages = pages_of([tmp_path / f"{name}.png" for name in ("crop", "field", "either")])
    told = "1 field of view, 1 crop, 1 to be told by what they show (--input crop or field decides otherwise)"
    assert kinds_of(pages) == told
    assert kinds_of(pages, "field") == "3 fields of view"
    assert kinds_of(pages, "crop") == kinds_of(pages[:1]) == ""
    Image.new("RGB", (299, 299)).save(tmp_path / "small.png")
    small = pages_of([tmp_path / "small.png", tmp_path / "crop.png"])
    assert kinds_of(small) == "2 crops (a field has at least 300 pixels each way)"
    assert kinds_of(small, "crop") == ""


OME = '<OME><Image><Pixels SizeX="80" {} DimensionOrder="XYZCT"/></Image></OME>'


def ome(x, y=None, unit=""):
    unit = unit and f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    return OME.format(f'PhysicalSizeX="{x}" PhysicalSizeY="{y or x}" {unit}')


CM = {"resolution_unit": 3, "x_resolution": 1e5, "y_resolution": 1e5}
IMAGEJ = {"resolution_unit": 1, "x_resolution": 12.5, "y_resolution": 12.5}


@pytest.mark.parametrize(
    ("options", "um_per_px", "source", "words"),
    [
        ({"description": ome(0.1)}, 0.1, "OME-XML", "PhysicalSizeX 0.1"),
        ({"description": ome(64.5, unit="nm")}, 0.0645, "OME-XML", "PhysicalSizeX 64.5"),
        ({"description": ome(0.1, unit="&#181;m"), "dpi": (72, 72)}, 0.1, "OME-XML", "PhysicalSizeX 0.1"),
        ({"description": ome(0.1, unit="µm").encode()}, 0.1, "OME-XML", "PhysicalSizeX 0.1"),
        ({"description": "ImageJ=1.53t\nunit=micron\n"} | IMAGEJ, 0.08, "ImageJ", "12.5 pixels per micron"),
        ({"description": "ImageJ=1.53t\nunit=\\u00B5m\n"} | IMAGEJ, 0.08, "ImageJ", "12.5 pixels per µm"),
        (CM, 0.1, "TIFF resolution", "100000 pixels per cm"),
        ({"dpi": (254000, 254000)}, 0.1, "TIFF resolution", "254000 dpi"),
    ],
)  # fmt: skip
def test_a_file_states_its_scale(tmp_path, options, um_per_px, source, words):
    Image.new("RGB", (80, 60)).save(tmp_path / "x.tif", **options)
    (page,) = pages_of([tmp_path / "x.tif"])
    assert page.stated is not None
    assert page.stated.um_per_px == pytest.approx(um_per_px)
    assert (page.stated.source, page.stated.words, page.stated.problem) == (source, words, "")


def test_a_scale_that_cannot_be_is_no_scale(tmp_path):
    def stated(**options):
        Image.new("RGB", (80, 60)).save(tmp_path / "x.tif", **options)
        return pages_of([tmp_path / "x.tif"])[0].stated

    assert stated() is None
    assert stated(description=OME.format("")) is None
    assert stated(description=ome("nan")) is None
    assert stated(description=ome(0)) is None
    assert stated(description=ome(0.1, unit="pixel")) is None
    assert stated(description="ImageJ=1.53t\n", **IMAGEJ) is None
    assert stated(**IMAGEJ) is None  # a ratio alone
    assert stated(dpi=(72, 72)).problem == "no microscope shows heads at that scale"
    assert "not square (0.1 by 0.2 µm)" in stated(description=ome(0.1, 0.2)).problem


def test_the_resolution_of_other_formats(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "x.png", dpi=(254000, 254000))
    Image.new("RGB", (80, 60)).save(tmp_path / "x.jpg", dpi=(96, 96))
    png, jpg = (page.stated for page in pages_of([tmp_path / "x.png", tmp_path / "x.jpg"]))
    assert (png.um_per_px, png.source, png.problem) == (pytest.approx(0.1), "PNG resolution", "")
    assert (jpg.words, bool(jpg.problem)) == ("96 dpi", True)
    assert stated_scale(Image.new("RGB", (80, 60))) is None
