"""Sessions, protocols, folds from files, the folds that come with the package."""

import csv
import logging

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.folds import (
    LEFT_OUT,
    assign_folds,
    divided_groups,
    divided_records,
    make_folds,
    read_folds,
    session_folds,
    shipped_folds,
)
from madrnet_timm.data.sessions import find_sessions
from madrnet_timm.data.sources import class_names, drop_unused_classes, load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError


def plain(level, seed):
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal([level, level - 40, level - 10], 3, (60, 60, 3)), 0, 255).astype(np.uint8)


def test_sessions_follow_the_background_not_the_single_image():
    # two classes; images 0-11 of each from a dark day, 12-23 from a bright one, and image 5 of "a" bright by chance
    files = [f"{folder}/cell ({number}).png" for folder in "ab" for number in range(24)]
    levels = [230 if number >= 12 or (folder, number) == ("a", 5) else 180 for folder in "ab" for number in range(24)]
    images = [plain(level, seed) for seed, level in enumerate(levels)]
    expected = [int(number >= 12) for _ in "ab" for number in range(24)]
    assert find_sessions(images, files) == expected
    # natural order: "cell (10)" comes behind "cell (9)", whatever the order given
    order = np.random.default_rng(0).permutation(48)
    shuffled = find_sessions([images[i] for i in order], [files[i] for i in order])
    assert shuffled == [expected[i] for i in order]


def test_one_background_is_one_session():
    files = [f"a/{number}.png" for number in range(30)]
    assert set(find_sessions([plain(190 + number % 6, number) for number in range(30)], files)) == {0}


def test_hushem_sessions(hushem_dir):
    """The bright pink backgrounds: no Normal, 33 Tapered, 35 Pyriform, 19 Amorphous."""
    records = load("hushem", hushem_dir)
    labels, sessions = np.array(records["label"]), np.array(records["session"])
    assert np.bincount(labels[sessions == 1], minlength=4).tolist() == [0, 33, 35, 19]
    folds = session_folds(records)
    assert (folds[labels == 0] == LEFT_OUT).all()
    assert (folds[labels > 0] == sessions[labels > 0]).all()
    used = drop_unused_classes(records.select(np.flatnonzero(folds != LEFT_OUT)))
    assert class_names(used) == ["Tapered", "Pyriform", "Amorphous"]
    assert np.bincount(used["label"]).tolist() == [53, 57, 52]


def test_a_single_session_can_not_be_left_out():
    with pytest.raises(InputError, match="one acquisition session only"):
        session_folds(load("synthetic", count=6))


def test_image_level_protocol_divides_groups(hushem_dir):
    records = load("hushem", hushem_dir)
    folds, groups = assign_folds("hushem", records, "image-level"), np.array(records["group"])
    assert any(len(set(folds[groups == group])) > 1 for group in set(groups))
    for label in range(4):
        sizes = np.bincount(folds[np.array(records["label"]) == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shipped_folds_of_hushem_are_those_of_the_rule(hushem_dir, seed):
    records = load("hushem", hushem_dir)
    assert np.array_equal(shipped_folds("hushem", records, seed), make_folds(records, 5, seed))
    assert np.array_equal(assign_folds("hushem", records, seed=seed), make_folds(records, 5, seed))
    assert shipped_folds("hushem", records, 3) is None
    assert shipped_folds("synthetic", records, 0) is None
    other = load("synthetic", count=6)
    assert shipped_folds("hushem", other, 0) is None


@pytest.fixture
def records():
    return load("synthetic", count=4)


def write(path, rows):
    with path.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_folds_from_a_file(tmp_path, records):
    rows = [{"file": file, "fold": index % 3} for index, file in enumerate(records["file"])]
    expected = [index % 3 for index in range(len(records))]
    assert read_folds(write(tmp_path / "a.csv", rows), records).tolist() == expected
    # another encoding of the images: the suffix does not matter
    other = [row | {"file": row["file"].replace(".png", ".bmp")} for row in rows]
    assert read_folds(write(tmp_path / "b.csv", other), records).tolist() == expected
    published = [{"image": row["file"], "fold": row["fold"]} for row in rows]  # as SHMC-Net's division comes
    assert read_folds(write(tmp_path / "i.csv", published), records).tolist() == expected
    by_pixels = [{"pixel_sha256": value, "fold": f} for value, f in zip(records["pixel_sha256"], expected, strict=True)]
    assert read_folds(write(tmp_path / "c.csv", by_pixels), records).tolist() == expected
    files = [f"images.npy/{index}" for index in range(len(records))]  # of arrays: no suffixes
    arrays = records.remove_columns("file").add_column("file", files)
    rows = [{"file": file, "fold": fold} for file, fold in zip(files, expected, strict=True)]
    assert read_folds(write(tmp_path / "f.csv", rows), arrays).tolist() == expected
    for file in ("images.npy/99", ""):
        with pytest.raises(InputError, match=r"line 2: .* expected names like images\.npy/0"):
            read_folds(write(tmp_path / "g.csv", [{"file": file, "fold": 0}]), arrays)
    rows = [{"file": file, "fold": fold} for file, fold in zip(records["file"], expected, strict=True)]
    left_out = [row | {"fold": -1} for row in rows[:2]] + rows[2:]
    assert read_folds(write(tmp_path / "e.csv", left_out), records).tolist() == [LEFT_OUT] * 2 + expected[2:]
    assert read_folds(write(tmp_path / "d.csv", rows[2:]), records).tolist() == [LEFT_OUT] * 2 + expected[2:]
    more = [*rows, {"file": "Normal/777.bmp", "fold": 1}]  # which had another label elsewhere, and was left out before
    assert read_folds(write(tmp_path / "h.csv", more), records, ["Normal/777.png"]).tolist() == expected


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"file": "Normal/000.png"}], "expected a CSV with the columns file"),
        (
            [{"file": "Normal/999.png", "fold": 0}],
            "line 2: 'Normal/999.png' is not in the data set; expected names like Normal/000.png",
        ),
        ([{"file": "Normal/000.png", "fold": "x"}], "line 2: fold 'x', expected a number"),
        ([{"file": "Normal/000.png", "fold": "9" * 20}], "line 2: fold '99999999999999999999', expected a number"),
        ([{"file": "Normal/000.png", "fold": 0}] * 2, "line 3: Normal/000.png occurs twice"),
        ([{"file": "Normal/000.png", "fold": 1}, {"file": "Normal/001.png", "fold": 3}], "folds .1, 3.; expected"),
    ],
)
def test_a_file_of_folds_that_does_not_fit(tmp_path, records, rows, words):
    with pytest.raises(InputError, match=words):
        read_folds(write(tmp_path / "folds.csv", rows), records)


def test_contradicting_folds_of_the_same_pixels(tmp_path, records):
    value = records["pixel_sha256"][0]
    path = write(tmp_path / "folds.csv", [{"pixel_sha256": value, "fold": fold} for fold in (0, 1)])
    with pytest.raises(InputError, match=r"line 3: .* occurs twice"):
        read_folds(path, records)


def test_a_file_that_divides_cells_is_said(tmp_path, caplog):
    """Two images of one cell (a copy with other bytes), on both sides of an image-by-image division."""
    for label, name in enumerate("ab"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            head = draw_head("Normal" if label else "Tapered", 10 * label + number // 2, debris=False).image
            head[0, 0] = number  # the same cell, other pixels
            Image.fromarray(head).save(tmp_path / "data" / name / f"{number}.png")
    files = [f"{name}/{number}.png" for name in "ab" for number in range(4)]
    for name, divided in (("apart", 4), ("together", 0)):
        rows = [{"file": file, "fold": i % 2 if divided else i // 2 % 2} for i, file in enumerate(files)]
        path = write(tmp_path / f"{name}.csv", rows)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            records, folds, _ = divided_records("folder", tmp_path / "data", folds=path)
        assert divided_groups(records["group"], folds.tolist()) == divided
        said = [message for message in caplog.messages if "cells have images in several folds" in message]
        assert said == [f"{path}: {divided} cells have images in several folds: accuracy will flatter"] * bool(divided)


def test_options_of_the_folds_that_contradict_each_other(tmp_path, records):
    path = write(tmp_path / "folds.csv", [{"file": file, "fold": i % 2} for i, file in enumerate(records["file"])])
    with pytest.raises(InputError, match="the file is the protocol"):
        assign_folds("synthetic", records, "session", path)
    with pytest.raises(InputError, match="as many folds as sessions"):
        assign_folds("synthetic", records, "session", 3)
