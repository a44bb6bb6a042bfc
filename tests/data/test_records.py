"""What is kept of users' images, and images that can't be read."""

import logging
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data import sources
from madrnet_timm.data.reading import pixel_sha256
from madrnet_timm.data.sources import class_names, images_of, load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError


@pytest.fixture
def heads(tmp_path):
    """Three images of each of two classes."""
    for label, shape in enumerate(("Normal", "Tapered")):
        folder = tmp_path / "heads" / shape
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(draw_head(shape, 10 * label + number).image).save(folder / f"patient-{number}.png")
    return tmp_path / "heads"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_no_image_and_no_name_is_copied_to_the_cache(heads, cache):
    records = load("folder", heads)
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert len(kept) == 1
    images = list(heads.rglob("*.png"))
    inside = [path.read_bytes()[200:232] for path in images]
    for path in kept:
        data = path.read_bytes()
        assert b"patient" not in data
        assert b"Tapered" not in data
        assert not any(part in data for part in inside)
        assert len(data) < sum(image.stat().st_size for image in images) / 2
    assert records.cache_files == []


def test_what_was_measured_is_not_measured_again(heads, cache, monkeypatch):
    first = load("folder", heads)

    def measured_again(image):
        raise AssertionError

    monkeypatch.setattr(sources, "measure", measured_again)
    later = load("folder", heads)
    assert later[:] == first[:]
    (heads / "Normal" / "patient-0.png").rename(heads / "Normal" / "patient-9.png")  # names tell sessions
    with pytest.raises(AssertionError):
        load("folder", heads)


def test_a_cache_that_is_damaged_or_can_not_be_written(heads, cache, monkeypatch, caplog):
    first = load("folder", heads)
    for path in cache.rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    assert load("folder", heads)[:] == first[:]
    place = cache.with_name("file")
    place.write_text("x")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
    assert load("folder", heads)[:] == first[:]
    assert "can't keep what was measured (Not a directory)" in caplog.text


def test_all_unreadable_images_are_listed_at_once(heads, cache, caplog):
    whole = load("folder", heads)
    paths = [heads / "Normal" / "patient-1.png", heads / "Tapered" / "patient-0.png"]
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:500])
    with pytest.raises(InputError) as error:
        load("folder", heads)
    lines = str(error.value).splitlines()
    assert lines[0] == "2 of 6 images can't be read:"
    assert [line.split(": ")[0].strip() for line in lines[1:-1]] == [str(path) for path in paths]
    assert lines[-1] == "Leave them out with --skip-unreadable, or mend them"
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        rest = load("folder", heads, skip_unreadable=True)
        assert rest["file"] == [whole["file"][index] for index in (0, 2, 4, 5)]
        assert rest["label"] == [0, 0, 1, 1]
        assert rest["aspect_ratio"] == [whole["aspect_ratio"][index] for index in (0, 2, 4, 5)]
        assert [pixel_sha256(image) for image in images_of(rest)] == rest["pixel_sha256"]
        (said,) = [record.getMessage() for record in caplog.records]
        assert said.startswith("left out 2 of 6 images that can't be read:")
        assert all(str(path) in said for path in paths)
    with pytest.raises(InputError, match="2 of 6"):  # also from the cache
        load("folder", heads)
    for path in (heads / "Tapered").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="of the class Tapered no image can be read"):
        load("folder", heads, skip_unreadable=True)


def test_a_long_list_of_unreadable_images_is_cut(heads, cache):
    for number in range(40):
        (heads / "Normal" / f"{number}.png").write_bytes(b"x")
    with pytest.raises(InputError, match="40 of 46 images can't be read") as error:
        load("folder", heads)
    assert "and 20 more" in str(error.value)
    assert len(str(error.value).splitlines()) == 23


def test_images_beside_the_class_folders_are_named(heads, cache, caplog):
    for name in ("a.png", "b.TIF", "c.png", "d.png", ".hidden.png", "notes.txt"):
        (heads / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert len(load("folder", heads)) == 6
    assert f"{heads}: images beside the class folders are left out (4): a.png, b.TIF, c.png, ..." in caplog.text
    flat = heads / "Normal"
    with pytest.raises(InputError, match="Normal: holds no folders, but 3 images; expected one folder"):
        load("folder", flat)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes")
def test_names_that_are_not_utf_8(heads, cache):
    (heads / "Normal" / "patient-0.png").rename(heads / "Normal" / "caf\udce9\n.png")
    (heads / "Tapered").rename(heads / "\udce4hnlich")
    records = load("folder", heads)
    assert records["file"][0] == r"Normal/caf\xe9\x0a.png"
    assert class_names(records) == ["Normal", r"\xe4hnlich"]
    assert len(records[0]["image"].tobytes()) > 0


def test_arrays_and_drawn_heads_are_kept_whole(cache, tmp_path):
    images = np.stack([draw_head("Normal", number, size=64).image for number in range(4)])
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 0, 1]))
    assert all(np.array_equal(a, b) for a, b in zip(images_of(load("npy", tmp_path)), images, strict=True))
    first, later = (list(images_of(load("synthetic", count=1))) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, later, strict=True))
    assert Path(cache, "madrnet_timm").is_dir()
