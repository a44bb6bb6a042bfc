"""The gate for images: one conversion for every form, the bit depth, cut-outs, sizes, formats, names."""

import io
import logging
import os
import re
import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from madrnet_timm.data.measuring import measure_dataset, measure_files, single_threaded_opencv
from madrnet_timm.data.reading import decode, image_files, images_below, names_below, read, read_image
from madrnet_timm.data.sources import load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.morphology import measure, pixels

HEAD = draw_head("Tapered", 3, debris=False, tail=False)
GRAY = HEAD.image[..., 1]


def of_bits(bits):
    return np.rint(GRAY * ((2**bits - 1) / 255)).astype(np.uint32 if bits > 16 else np.uint16)


def cut_out(margin, cropped=True):
    """The head with what lies around it within some pixels; the rest is transparent."""
    size = (2 * margin + 1, 2 * margin + 1)
    near = cv2.dilate(measure(HEAD.image).mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size))
    rows, columns = np.nonzero(near)
    image = np.dstack([HEAD.image, 255 * near])
    return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if cropped else image


def saved(array_or_image, kind, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array, **tags):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag[1:])] = value
    return saved(array, "TIFF", tiffinfo=info)


def turned(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(np.ascontiguousarray(HEAD.image[:90]), kind, exif=exif)


def colour_16(kind, bits=16):
    """As OpenCV writes them: Pillow can't."""
    values = np.rint(HEAD.image * ((2**bits - 1) / 255)).astype(np.uint16)
    return bytes(cv2.imencode(kind, values[..., ::-1])[1])


def unsigned(data):
    """A TIFF whose integers are said to have no sign; Pillow does not write such."""
    return data.replace(struct.pack("<HHII", 339, 3, 1, 2), struct.pack("<HHII", 339, 3, 1, 1))


FILES = {
    "turned.jpg": turned("JPEG"),
    "turned.png": turned("PNG"),
    "12 bits.tif": tiff(of_bits(12)),
    "16 bits.png": saved(of_bits(16), "PNG"),
    "16 bits turned.tif": tiff(of_bits(16), t274=6),
    "32 bits.tif": unsigned(saved(of_bits(32).view(np.int32), "TIFF")),
    "fraction.tif": saved((GRAY / 255).astype(np.float32), "TIFF"),
    "colour.tif": colour_16(".tif"),
    "colour.png": colour_16(".png"),
    "12 bits of colour.tif": colour_16(".tif", 12),
    "12 bits of colour.png": colour_16(".png", 12),
    "cut-out.png": saved(cut_out(6), "PNG"),
    "gray and alpha.png": saved(np.ascontiguousarray(cut_out(6)[..., [1, 3]]), "PNG"),
    "palette.png": saved(Image.fromarray(HEAD.image).quantize(64), "PNG"),
    "two levels.png": saved(Image.fromarray(GRAY > 128), "PNG"),
    "cmyk.jpg": saved(Image.fromarray(HEAD.image).convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_image(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    expected = read_image(path)
    assert expected.dtype == np.uint8
    assert expected.shape[2] == 3
    forms = {"bytes": FILES[name], "str": str(path), "Pillow": Image.open(path), "again": expected}
    if "colour" not in name:  # once it is loaded, Pillow holds half of each value
        loaded = Image.open(path)
        loaded.load()
        forms["loaded"] = loaded
    if loaded_values(path) is not None:
        forms["array"] = loaded_values(path)
    for form, value in forms.items():
        assert np.array_equal(read_image(value), expected), form
    found = measure(Image.open(path))
    assert found.mask.shape == expected.shape[:2]
    assert found.to_dict() == measure(expected).to_dict()


def loaded_values(path):
    """An array that holds all that is in the file."""
    if path.name.startswith(("12 bits.", "16 bits.", "fraction", "cut-out", "gray and")):
        return np.asarray(Image.open(path))
    return of_bits(32) if path.name.startswith("32") else None


@pytest.mark.parametrize("name", [name for name in FILES if "bits" in name or "fraction" in name or "colour." in name])
def test_deep_images_are_as_bright_as_they_were(name):
    truth = HEAD.image if "colour" in name else np.repeat(GRAY[..., None], 3, axis=2)
    found = decode(FILES[name], name)
    if "turned" in name:
        truth = np.rot90(truth, -1)
    assert np.abs(found.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16, 24, 32])
def test_the_highest_value_tells_the_depth(bits):
    assert np.abs(read_image(of_bits(bits)).astype(int) - GRAY[..., None]).max() <= 1


@pytest.mark.parametrize(
    "tags",
    [
        {"t281": 16383},
        {"t270": '<OME><Image><Pixels Type="uint16" SignificantBits="14"/></Image></OME>'},
        {"t51123": '{"BitDepth": 14, "Binning": 1}'},
    ],
)
def test_tags_tell_the_depth_of_a_dark_image(tags):
    dark = (of_bits(14) // 5).astype(np.uint16)  # would fit in 12 bits
    assert dark.max() < 4096
    assert np.abs(decode(tiff(dark, **tags), "x").astype(float) - GRAY[..., None] / 5).max() <= 1
    assert decode(tiff(dark), "x").max() > 100  # by the tags 30
    wrong = tiff(of_bits(16), **tags)  # tags that the values belie
    assert np.abs(decode(wrong, "x").astype(int) - GRAY[..., None]).max() <= 1


def test_a_dark_graymap_of_known_depth_stays_dark():
    data = b"P5 %d %d 4095\n" % GRAY.shape[::-1] + (of_bits(12) // 16).astype(">u2").tobytes()
    assert np.abs(decode(data, "x.pgm").astype(float) - GRAY[..., None] / 16).max() <= 1


def test_a_guessed_depth_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(pixels, "_said", set())
    with caplog.at_level(logging.WARNING):
        for name in ("cells/a.tif", "cells/b.tif"):
            decode(tiff(of_bits(12)), name)
        decode(saved(of_bits(16), "PNG"), "c.png")
        decode(saved(GRAY, "PNG"), "d.png")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("cells/a.tif: 12 bits in 16: taken as 12 bits, 0 to 4095")


@pytest.mark.parametrize("margin", [4, 8])
@pytest.mark.parametrize("cropped", [True, False])
def test_cut_outs_are_measured(margin, cropped):
    """A transparent surround gets the colour of the background that was left, and more room than the head."""
    truth = measure(HEAD.image)
    image = cut_out(margin, cropped)
    assert not cropped or (image[..., 3] > 0).mean() > 0.6  # the head outweighs what is around it
    found = measure(read_image(image))
    assert found.ok
    assert found.aspect_ratio == pytest.approx(truth.aspect_ratio, rel=0.03)
    assert found.length == pytest.approx(truth.length, rel=0.03)


def test_a_cut_out_with_a_crop_s_background_keeps_its_scale():
    """Networks see a part of the longer side: a cut-out that is as loose as a crop may not be widened."""
    height, width = GRAY.shape
    disc = np.zeros_like(GRAY)
    cv2.ellipse(disc, (width // 2, height // 2), (2 * width // 5, 2 * height // 5), 0, 0, 360, 255, -1)
    image = np.dstack([HEAD.image, disc])
    assert (disc > 0).mean() > 0.4
    assert read_image(image).shape == HEAD.image.shape
    tight = cut_out(4)
    assert read_image(tight).shape[0] > 1.9 * tight.shape[0]


def test_transparency_that_hides_nothing_or_everything():
    opaque = np.dstack([HEAD.image, np.full(HEAD.image.shape[:2], 255, np.uint8)])
    assert np.array_equal(read_image(opaque), HEAD.image)
    opaque[..., 3] = 0
    assert (read_image(opaque) == 255).all()


def png_header(width, height):
    """A PNG that says its size and holds no pixel."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_the_size_is_looked_at_before_decoding():
    with pytest.raises(InputError, match=r"x\.png: 9000×9000 pixels are more than 80 million"):
        decode(png_header(9000, 9000), "x.png")
    with pytest.raises(InputError, match=r"9000×9000 pixels are more than 80 million"):
        read_image(Image.open(io.BytesIO(png_header(9000, 9000))))
    with pytest.raises(InputError, match=r"x\.png: 2000×900 pixels look like a whole field of view"):
        decode(png_header(2000, 900), "x.png", crop=True)
    with pytest.raises(InputError, match=r"2000×900 pixels look like a whole field of view"):
        read_image(Image.open(io.BytesIO(png_header(2000, 900))), crop=True)
    with pytest.raises(InputError, match=r"can't read it as an image"):
        decode(png_header(2000, 900), "x.png")


def test_a_damaged_tiff_is_told_in_our_line_alone(capfd):
    data = bytearray(
        saved(np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8), "TIFF", compression="tiff_lzw")
    )
    data[2000:2400] = bytes((7 * byte + 13) % 256 for byte in data[2000:2400])
    with pytest.raises(InputError, match=r"x\.tif: can't read it as an image"):
        decode(bytes(data), "x.tif")
    assert capfd.readouterr() == ("", "")


def test_decoding_in_threads_leaves_the_warning_filters_alone():
    before = list(warnings.filters)
    good, bomb = saved(GRAY, "PNG"), png_header(9200, 9200)

    def try_both(number):
        decode(good, "good")
        with pytest.raises(InputError, match="more than 80 million"):
            decode(bomb, f"bomb {number}")
        return True

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(try_both, range(400))) == 400
    finally:
        sys.setswitchinterval(switch)
    assert warnings.filters == before


def test_no_format_starts_a_program(tmp_path, monkeypatch):
    """An EPS by another name would start Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.png").write_bytes(eps)
    assert Image.open(tmp_path / "x.png").format == "EPS"  # what Pillow makes of it
    with pytest.raises(InputError, match=r"x\.png: can't read it as an image"):
        read_image(tmp_path / "x.png")
    assert not (tmp_path / "started").exists()


def test_an_image_in_another_format_than_its_name_says(tmp_path):
    (tmp_path / "x.bmp").write_bytes(saved(HEAD.image, "PNG"))
    assert np.array_equal(read_image(tmp_path / "x.bmp"), HEAD.image)


@pytest.fixture
def heads(tmp_path):
    for number in range(3):
        Image.fromarray(draw_head("Normal", number).image).save(tmp_path / f"{number}.png")
    return tmp_path


def test_opencv_has_its_threads_back(heads):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        found = measure_files(image_files([heads]))
        assert (len(found.rows), found.failures, cv2.getNumThreads()) == (3, [], 2)
        measure_dataset(load("synthetic", count=1).select_columns(["image", "file"]), processes=1)
        assert cv2.getNumThreads() == 2
        entered, leave = threading.Event(), threading.Event()

        def other():
            with single_threaded_opencv():
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        with single_threaded_opencv():
            thread.start()
            assert entered.wait(10)
        assert cv2.getNumThreads() == 1  # the other is still in it
        leave.set()
        thread.join()
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_an_image_named_twice_counts_once(heads, monkeypatch):
    monkeypatch.chdir(heads)
    (heads / "link.png").symlink_to("0.png")
    found = image_files(["0.png", heads / "0.png", "./1.png", "*.png", heads, f"../{heads.name}/2.png"])
    assert [str(path) for path in found] == ["0.png", "1.png", "2.png"]


def test_what_is_made_of_a_link_is_named_after_the_link(heads):
    (heads / "links").mkdir()
    for number in range(2):
        (heads / "links" / f"cell{number}.png").symlink_to(heads / f"{number}.png")
    links = sorted((heads / "links").iterdir())
    assert names_below([*links, heads / "0.png"]) == ["links/cell0.png.png", "links/cell1.png.png", "0.png.png"]
    measure_files(links, overlay=heads / "drawn", processes=1)
    assert sorted(path.name for path in (heads / "drawn").iterdir()) == ["cell0.png.png", "cell1.png.png"]


def test_a_link_to_a_file_that_is_gone_is_not_passed_over(heads, tmp_path):
    (heads / "gone.png").symlink_to(tmp_path / "moved.png")
    (heads / "round.png").symlink_to(heads / "round.png")
    (heads / "folder.png").symlink_to(tmp_path.parent)
    for found in (image_files([heads]), image_files([heads / "*.png"]), images_below(heads)):
        assert {"gone.png", "round.png"} == {path.name for path in found} - {f"{number}.png" for number in range(9)}
    with pytest.raises(InputError, match=r"gone\.png: a link to a file that is not there"):
        read(heads / "gone.png")
    with pytest.raises(InputError, match=r"round\.png: can't be read \(Too many levels"):
        read(heads / "round.png")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "an empty name"),
        ("a\0b.png", r"a\\x00b.png: .*null"),
        ("x" * 5000, r"^x{150}\.\.\.x{100}: can't be read \(File name too long\)"),
        ("caf\udce9.png", r"caf\\xe9.png: no such file"),
        ("/dev/null", "/dev/null: neither a file nor a folder"),
        ("none*.png", "no image there"),
    ],
)
def test_odd_names_are_one_line(name, words):
    with pytest.raises(InputError, match=words) as error:
        image_files([name])
    assert len(str(error.value)) < 500
    assert "\0" not in str(error.value)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\0b.png", r"a\\x00b.png: not the name of a file"),
        ("x" * 5000, "can't be read"),
        ("caf\udce9.png", r"caf\\xe9.png: no such file"),
        ("/dev/zero", "/dev/zero: not a file"),
        (".", "not a file"),
    ],
)
def test_odd_names_given_to_the_gate(name, words):
    with pytest.raises(InputError, match=words):
        read_image(name)


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "x.png").open("wb") as opened:
        opened.truncate(2**31)  # with holes
    with pytest.raises(InputError, match=r"x\.png: 2\.0 GB"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("side", [10_000, 14_000])  # Pillow warns of the first and refuses the second
def test_too_many_pixels_are_told_in_one_line(side, madrnet, tmp_path):
    Image.new("1", (side, side)).save(tmp_path / "x.png")
    run = madrnet("measure", tmp_path / "x.png")
    assert run.returncode == 1
    assert "Warning" not in run.stderr
    (told,) = (line for line in run.stderr.splitlines() if "million" in line)
    assert re.fullmatch(r"skipped: .*x\.png: .*more than 80 million.*; cut it into parts .*", told)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_searching_survives_what_comes_and_goes(heads):
    assert images_below(heads / "..") != []
    images_below(Path("/proc/self"))


def test_names_have_room_for_what_is_added_to_them(tmp_path):
    names = ["a" * 250, "a" * 249 + "b", "é" * 125, "short"]
    for number, name in enumerate(names_below([tmp_path / name for name in names])):
        assert len(os.fsencode(name)) <= 255 - len("-page0001-head001")
        assert name.startswith(names[number][:40])
    assert len(set(names_below([tmp_path / name for name in names]))) == 4
    assert names_below([tmp_path / "short"]) == ["short.png"]
