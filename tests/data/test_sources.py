"""Records: reading, hashing, class ids, the cache."""

import hashlib
import io
from pathlib import Path

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.measuring import measure_dataset
from madrnet_timm.data.pipelines import PIPELINES, prepare
from madrnet_timm.data.reading import decode, pixel_sha256
from madrnet_timm.data.records import cached_rows
from madrnet_timm.data.sources import class_names, drop_conflicts, images_of, load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.morphology import align, measure


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


HEAD = Image.fromarray(draw_head("Normal", 1, size=60).image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_pixel_hash_survives_lossless_formats(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixel_sha256(decode(encoded(HEAD, kind, **options), "x")) == pixel_sha256(np.asarray(HEAD))


def test_pixel_hash_tells_shapes_apart():
    image = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    assert pixel_sha256(image) != pixel_sha256(image.reshape(16, 8, 3))
    assert pixel_sha256(image) == hashlib.sha256(b"8 16 " + image.tobytes()).hexdigest()


def test_other_modes_become_rgb():
    gray = np.linspace(0, 255, 100).astype(np.uint8).reshape(10, 10)
    assert np.array_equal(decode(encoded(Image.fromarray(gray), "PNG"), "x"), np.repeat(gray[..., None], 3, 2))
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    assert np.array_equal(decode(encoded(deep, "PNG"), "x")[..., 0], gray)
    clear = Image.new("RGBA", (9, 9), (10, 20, 30, 0))
    assert (decode(encoded(clear, "PNG"), "x") == 255).all()
    palette = HEAD.convert("P")
    assert np.array_equal(decode(encoded(palette, "PNG"), "x"), np.asarray(palette.convert("RGB")))


def test_exif_orientation_is_honoured():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (0, 0, 10, 20))
    out = decode(encoded(image, "PNG", exif=exif), "x")
    assert out.shape == (40, 20, 3)
    assert (out[:10, :, 0] == 255).all()


@pytest.mark.parametrize("data", [b"", b"GIF89a", encoded(HEAD, "PNG")[:500], encoded(HEAD, "BMP")[:500]])
def test_broken_files_are_named(data):
    with pytest.raises(InputError, match=r"scan/7\.png: can't read it"):
        decode(data, "scan/7.png")


def write(folder, name, image):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_folder_records(tmp_path):
    for index in range(3):
        write(tmp_path, f"b/{index}.png", draw_head("Tapered", index).image)
        write(tmp_path, f"A/deep/{index}.bmp", draw_head("Normal", 10 + index).image)
    (tmp_path / "b" / "notes.txt").write_text("not an image")
    records = load("folder", tmp_path)
    assert class_names(records) == ["A", "b"]
    assert records["file"] == ["A/deep/0.bmp", "A/deep/1.bmp", "A/deep/2.bmp", "b/0.png", "b/1.png", "b/2.png"]
    assert records["label"] == [0, 0, 0, 1, 1, 1]
    assert records["sha256"][3] == hashlib.sha256((tmp_path / "b/0.png").read_bytes()).hexdigest()
    for image, value in zip(images_of(records), records["pixel_sha256"], strict=True):
        assert pixel_sha256(image) == value
    truth = [draw_head("Tapered", index).aspect_ratio for index in range(3)]
    assert records["aspect_ratio"][3:] == pytest.approx(truth, rel=0.03)


def test_a_changed_file_is_not_taken_from_the_cache(tmp_path):
    for name, shape in (("a", "Normal"), ("b", "Tapered")):
        write(tmp_path, f"{name}/0.png", draw_head(shape, 1).image)
    before = load("folder", tmp_path)
    write(tmp_path, "a/0.png", draw_head("Normal", 2).image)
    after = load("folder", tmp_path)
    assert before["pixel_sha256"][0] != after["pixel_sha256"][0]
    assert before["pixel_sha256"][1] == after["pixel_sha256"][1]
    assert load("folder", tmp_path)._fingerprint == after._fingerprint


def test_conflicting_labels_are_left_out(tmp_path):
    same = draw_head("Normal", 0).image
    for name, image in (("a/0.png", same), ("a/1.png", draw_head("Normal", 1).image), ("b/0.bmp", same)):
        write(tmp_path, name, image)
    rest, dropped = drop_conflicts(load("folder", tmp_path))
    assert dropped == ["a/0.png", "b/0.bmp"]
    assert rest["file"] == ["a/1.png"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_pipelines_give_a_square_of_the_size(pipeline):
    for image in (draw_head("Normal", 0).image, np.zeros((50, 90, 3), np.uint8)):
        out = prepare(image, pipeline, 64, crop_pct=0.9)
        assert out.shape == (64, 64, 3)
        assert out.dtype == np.uint8


def test_raw_pipeline_keeps_the_middle():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 200
    out = prepare(image, "raw", 50, crop_pct=1.0)
    assert (out[:, :24] == 0).all()
    assert (out[:, 26:] == 200).all()


def test_aligned_pipelines_do_not_depend_on_the_direction():
    head = draw_head("Pyriform", 4, debris=False, tail=False)
    for pipeline in ("aligned", "aligned-normalized", "head-only", "head-and-neck"):
        a, b = (prepare(i, pipeline, 64).astype(float) for i in (head.image, np.rot90(head.image, 2).copy()))
        assert np.abs(a - b).mean() < 3


def test_head_and_neck_shows_what_lies_behind_the_head_and_no_background():
    head = draw_head("Pyriform", 4, debris=False, tail=False)
    found = measure(head.image)
    assert found.neck.sum() > 20
    alone, with_neck = (prepare(head.image, p, 112).astype(int) for p in ("head-only", "head-and-neck"))
    differs = np.abs(alone - with_neck).max(axis=2) > 8
    assert differs.sum() > 20
    assert np.nonzero(differs)[0].min() > 56  # the acrosome is up: behind is below
    where = align(np.repeat(255 * found.neck[..., None].astype(np.uint8), 3, axis=2), found, 112)[..., 0] > 0
    assert not (differs & ~cv2.dilate(where.astype(np.uint8), np.ones((7, 7))).astype(bool)).any()


def test_arrays_are_a_data_set(tmp_path):
    heads = [draw_head(shape, seed, size=64).image for seed in range(3) for shape in ("Normal", "Tapered")]
    np.save(tmp_path / "images.npy", np.stack(heads))
    np.save(tmp_path / "labels.npy", np.array(["round", "long"] * 3))
    records = load("npy", tmp_path)
    assert class_names(records) == ["long", "round"]
    assert records["label"] == [1, 0] * 3
    assert records["file"][5] == "images.npy/000005"
    for image, head in zip(images_of(records), heads, strict=True):
        assert np.array_equal(image, head)
    np.save(tmp_path / "images.npy", np.stack(heads)[..., 1])  # gray
    np.save(tmp_path / "labels.npy", np.array([3, 7] * 3))
    gray = load("npy", tmp_path)
    assert class_names(gray) == ["3", "7"]
    assert np.array_equal(next(images_of(gray)), np.repeat(heads[0][..., 1:2], 3, axis=2))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (None, np.zeros(3, int), "images.npy: can't be read"),
        (np.zeros((3, 20, 20)), np.arange(3), "float64 of shape"),
        (np.zeros((3, 20, 20, 4), np.uint8), np.arange(3), "expected uint8"),
        (np.zeros((3, 7, 20), np.uint8), np.arange(3), "8×8 or more"),
        (np.zeros((3, 20, 20), np.uint8), np.arange(4), "expected 3 integers or names"),
        (np.zeros((3, 20, 20), np.uint8), np.zeros(3), "expected 3 integers or names"),
        (np.zeros((3, 20, 20), np.uint8), np.zeros(3, int), "only one class"),
        (np.zeros((3, 20, 20), np.uint8), np.array([{}, 1, 2], dtype=object), "labels.npy: can't be read"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, images, labels, words):
    if images is not None:
        np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels, allow_pickle=True)
    with pytest.raises(InputError, match=words):
        load("npy", tmp_path)


def test_records_hold_profiles_and_no_path_of_this_machine(tmp_path):
    for name, shape in (("a", "Normal"), ("b", "Pyriform")):
        write(tmp_path, f"{name}/0.png", draw_head(shape, 1).image)
    records = load("folder", tmp_path)
    head = measure(next(images_of(records)))
    assert records["stain_profile"][0] == pytest.approx(head.stain_profile, rel=1e-6)
    assert records["width_profile"][0] == pytest.approx(head.width_profile, rel=1e-6)
    assert max(records["width_profile"][1]) == 1
    assert records["width_profile"][1][-1] < records["width_profile"][1][1]  # pyriform: narrow towards the tail
    records.to_parquet(tmp_path / "records.parquet")
    records.save_to_disk(tmp_path / "saved")
    for path in [tmp_path / "records.parquet", *(tmp_path / "saved").rglob("*")]:
        assert not path.is_file() or str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_measure_dataset_is_measure(processes):
    records = load("synthetic", count=20).select_columns(["image", "file"])
    measured = measure_dataset(records, um_per_px=0.1, processes=processes)
    assert measured["file"] == records["file"]
    for image, row in zip(images_of(records), measured, strict=True):
        head = measure(image, um_per_px=0.1)
        assert row["aspect_ratio"] == head.aspect_ratio
        assert row["length_um"] == head.length_um
        assert row["who_aspect_ratio"] == head.who_checks()["aspect_ratio"]
        assert row["flags"] == " ".join(sorted(head.flags))
    assert measured[0]["image"].size == (131, 131)


def test_the_first_load_and_a_later_one_are_one_to_the_cache(tmp_path):
    """What is computed of records is kept under a hash of theirs."""
    from datasets.fingerprint import Hasher

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
        first, later = load("synthetic", count=2), load("synthetic", count=2)
    assert Hasher.hash(first) == Hasher.hash(later)
    assert Hasher.hash(first.select([0, 3])) == Hasher.hash(later.select([0, 3])) != Hasher.hash(first)


@pytest.mark.parametrize(
    ("broken", "error"), [(lambda: 1 // 0, ZeroDivisionError), (lambda: Path("/no").read_text(), OSError)]
)
def test_a_bug_or_a_failed_read_is_no_full_cache(broken, error):
    with pytest.raises(error):
        cached_rows("broken", broken)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_class_names_that_no_model_can_have(tmp_path, name):
    np.save(tmp_path / "images.npy", np.zeros((4, 20, 20), np.uint8))
    np.save(tmp_path / "labels.npy", np.array(["Normal", name] * 2))
    with pytest.raises(InputError, match="expected a name of 1 to 200 printable characters"):
        load("npy", tmp_path)


def test_a_field_of_view_is_nothing_to_learn_from(tmp_path):
    """Nor could the model be asked about it."""
    for name in ("Normal", "Tapered"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(draw_head(name, number).image).save(tmp_path / name / f"{number}.png")
    Image.new("RGB", (1200, 900)).save(tmp_path / "Normal" / "field.png")
    with pytest.raises(InputError, match=r"field.png: 1200×900 pixels look like a whole field of view"):
        load("folder", tmp_path)
    assert len(load("folder", tmp_path, skip_unreadable=True)) == 4
