"""The reader of a table of predictions: what is right is read, everything else is one line."""

import csv
import io
import json
import random
import shutil

import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.files import read_csv, write_csv
from madrnet_timm.inference.field_record import FieldRecord
from madrnet_timm.inference.results import info_path, read_results

LABELS = ["Normal", "Tapered", "Pyriform"]


def valid_pair(folder):
    """A table of three images and the file beside it, as text."""
    rows = []
    for number in range(3):
        rows.append({
            "file": f"slide/head{number}.png", "prediction": LABELS[number], "probability": 0.8, "abstain": number == 2,
            "entropy": 0.6, "out_of_domain": "head_lightness" if number else "",
            **{f"p_{name}": 0.8 if k == number else 0.1 for k, name in enumerate(LABELS)},
            "aspect_ratio": 1.5, "head_length": 41.2, "head_width": 27.1, "angle": -90.5, "area": 900.0,
            "perimeter": 120.5, "solidity": 0.97, "ellipticity": 0.99, "regularity": 0.98, "taper": 0.9,
            "asymmetry": 0.05, "acrosome_fraction": "", "acrosome_contrast": "", "ok": number != 1,
            "flags": "low_contrast" if number == 1 else "", "length_um": 4.12, "width_um": 2.71, "area_um2": 9.0,
            "who_length_um": True, "who_acrosome_fraction": "", "pixel_sha256": f"{number}" * 64,
        })  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    info = {
        "format": 1, "model": "/models/a", "architecture": "madrnet_resnet50", "digest": "a" * 64, "version": "0.1.0",
        "label_names": LABELS, "normal_class": "Normal", "no_head_class": None, "protocol": "5 folds", "accuracy": 0.9,
        "confusion_matrix": [[9, 1, 0], [0, 8, 2], [1, 0, 9]], "held_out": 30, "threshold": 0.7, "um_per_px": 0.1,
        "calibration": {"temperature": 1.2, "threshold": 0.6}, "skipped": ["x.png: empty file"], "directory": "/data",
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    path = folder / "results.csv"
    path.write_text(text.getvalue())
    info_path(path).write_text(json.dumps(info))
    return path, text.getvalue(), info


def test_types_and_values(tmp_path):
    found = read_results(valid_pair(tmp_path)[0])
    row = found.rows[1]
    assert (row["file"], row["prediction"], row["p_Tapered"], row["abstain"], row["ok"]) == (
        "slide/head1.png", "Tapered", 0.8, False, False,
    )  # fmt: skip
    assert (row["acrosome_fraction"], row["who_length_um"], row["who_acrosome_fraction"]) == (None, True, None)
    assert found.info.label_names == tuple(LABELS)
    assert (found.info.threshold, found.info.um_per_px, found.info.held_out) == (0.7, 0.1, 30)
    assert found.info.confusion_matrix[1] == (0, 8, 2)


def test_heads_of_fields(tmp_path):
    """Where they lie, whether they count, and the fields of the file beside the table."""
    path, text, info = valid_pair(tmp_path)
    assert all(
        (row["head"], row["x0"], row["center_x"], row["counted"]) == (None, None, None, True)
        for row in read_results(path).rows
    )  # of an older table
    head, *lines = text.splitlines()
    more = "page,head,x0,y0,x1,y1,center_x,center_y,counted"
    cells = ["2,1,0,10,50,61,25.5,33.1,False", "2,2,70,10,120,61.0,95,33,True", ",,,,,,,,True"]
    path.write_text("\n".join([f"{head},{more}", *map(",".join, zip(lines, cells, strict=True))]))
    field = {"file": "slide.tif", "page": 2, "width": 640, "height": 480, "heads": 2, "at_border": 1}
    field |= {"head_length": 41.5, "crop_side": 115, "um_per_px": 0.1, "um_source": "ImageJ", "pixel_sha256": "0" * 64}
    empty = {"file": "dark.tif", "reason": "no objects of one size"}
    info_path(path).write_text(json.dumps(info | {"fields": [field, empty], "um_source": "ImageJ", "screen": "/m/s"}))
    found = read_results(path)
    assert [(row["page"], row["head"], row["y1"], row["center_x"], row["counted"]) for row in found.rows] == [
        (2, 1, 61, 25.5, False), (2, 2, 61, 95.0, True), (None, None, None, None, True),
    ]  # fmt: skip
    assert found.info.fields == (FieldRecord(**field), FieldRecord(**empty))
    assert (found.info.um_source, found.info.screen) == ("ImageJ", "/m/s")
    assert found.info.fields[0].to_dict() == field | {"reason": ""}
    for cells, words in (("0,1", "head: '0'; .* from 1"), ("1.5,1", "head: '1.5'"), ("1,-3", "x0: '-3'")):
        path.write_text("\n".join([f"{head},head,x0", *(f"{line},{cells}" for line in lines)]))
        with pytest.raises(InputError, match=f"row 1, {words}"):
            read_results(path)


def test_unknown_is_left_out_and_missing_filled(tmp_path):
    path, text, info = valid_pair(tmp_path)
    head, *lines = text.splitlines()
    path.write_text("\n".join([f"{head},comment", *(f"{line},mine" for line in lines)]))
    for name in ("format", "threshold", "directory", "accuracy", "confusion_matrix", "skipped", "label_names"):
        del info[name]
    info_path(path).write_text(json.dumps(info | {"later": {"a": [1]}}))
    found = read_results(path)
    assert "comment" not in found.rows[0]
    assert found.info.threshold == 0.6  # of the calibration, as older tables have it
    assert (found.info.accuracy, found.info.confusion_matrix, found.info.skipped) == (None, (), ())
    assert found.info.label_names == tuple(LABELS)


def test_a_spreadsheet_in_another_language(tmp_path):
    path, text, _ = valid_pair(tmp_path)
    expected = read_results(path).rows
    text = text.replace(",", ";").replace(".", ",").replace(",png", ".png").replace("True", "WAHR")
    path.write_text(text.replace("False", "FALSCH").replace("\n", "\r\n"), encoding="utf-8-sig")
    assert read_results(path).rows == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": "Normal"}, "row 2: the class Normal, whose probability is 0.*, is not what the model said"),
        ({"probability": "0.2"}, "row 2: probability 0.2, but p_Tapered 0.8; expected the same"),
    ],
)
def test_a_class_that_somebody_typed_is_refused(tmp_path, change, words):
    path, _, _ = valid_pair(tmp_path)
    rows = read_csv(path)
    assert rows[1]["prediction"] == "Tapered"
    write_csv(path, [rows[0], rows[1] | change, *rows[2:]])
    with pytest.raises(InputError, match=words):
        read_results(path)


def test_images_are_found_from_elsewhere(tmp_path, monkeypatch):
    path, _, info = valid_pair(tmp_path)
    (tmp_path / "where" / "slide").mkdir(parents=True)
    (tmp_path / "where" / "slide" / "head0.png").write_bytes(b"")
    info_path(path).write_text(json.dumps(info | {"directory": str(tmp_path / "where")}))
    found = read_results(path)
    assert found.image_paths("slide/head0.png") == [tmp_path / "where" / "slide" / "head0.png"]
    for name in ("slide/head1.png", "x" * 300, "a\0b", ""):
        assert found.image_paths(name) == []
    # moved with the table, so that the end of a name is found beside it
    (tmp_path / "slide").mkdir()
    (tmp_path / "slide" / "head0.png").write_bytes(b"")
    assert found.image_paths("/once/upon/slide/head0.png") == [tmp_path / "slide" / "head0.png"]
    assert found.image_paths("../upon/slide/head0.png") == [tmp_path / "slide" / "head0.png"]
    assert len(found.image_paths("slide/head0.png")) == 2


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("label_names", ["Normal", "Normal", "Pyriform"], "label_names = .*; expected names of the classes, each"),
        ("label_names", ["Normal", "", "Pyriform"], "label_names = .*; expected a list of texts of 1 to"),
        ("label_names", ["Normal", "Tapered"], "the two do not belong together"),
        ("normal_class", "normal", "normal_class = 'normal'; expected one of Normal, Tapered, Pyriform"),
        ("threshold", float("nan"), "threshold = nan; expected a number from 0 to 1"),
        ("threshold", 1.5, "threshold = 1.5; expected a number from 0 to 1"),
        ("um_per_px", 0, "um_per_px = 0; expected micrometres per pixel, more than 0"),
        ("um_per_px", -1, "um_per_px"),
        ("accuracy", "<script>", "accuracy"),
        ("held_out", "<script>alert(1)</script>", "held_out = '<script>.*; expected a whole number"),
        ("confusion_matrix", [[1, 2]], "3 rows of 3 counts, one for each label"),
        ("digest", "abc", "digest"),
        ("skipped", [1], "skipped"),
        ("format", 2, "made by a later version"),
        ("fields", {}, "fields = {}; expected a list of objects"),
        ("fields", [{}], r"fields\[0\]: file is missing"),
        ("fields", [{"file": "a", "heads": -1}], r"fields\[0\]: heads = -1; expected a whole number"),
        ("screen_digest", "abc", "screen_digest = 'abc'; expected a sha256"),
        ("created", 5, "created = 5; expected a text"),
    ],
)
def test_wrong_info_is_one_line(tmp_path, key, value, words):
    path, _, info = valid_pair(tmp_path)
    info_path(path).write_text(json.dumps(info | {key: value}))
    with pytest.raises(InputError, match=words) as error:
        read_results(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0.8", "nan", "row 1, probability: 'nan'; expected a number from 0 to 1"),
        ("0.8", "1.7", "row 1, probability"),
        ("0.8,0.1,0.1", "0.3,0.1,0.1", "add up to 0.5"),
        ("0.8,0.1,0.1", "inf,0.1,0.1", "row 1, p_Normal"),
        ("1.5", "0.2", "row 1, aspect_ratio"),
        ("41.2", "inf", "row 1, head_length"),
        ("False", "maybe", "row 1, abstain: 'maybe'; expected True or False"),
        ("slide/head0.png,Normal", "slide/head0.png,Other", "row 1, prediction: 'Other'; expected one of"),
        ("slide/head0.png", "", "row 1, file"),
        ("ok,", "fine,", "has no column ok"),
        ("prediction,", "class,", "holds no predictions"),
        ("0" * 64, "zz", "row 1, pixel_sha256"),
    ],
)
def test_wrong_cells_are_one_line(tmp_path, old, new, words):
    path, text, _ = valid_pair(tmp_path)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as error:
        read_results(path)
    assert "\n" not in str(error.value)


def _mutated(rng, data):
    """Bytes with one thing changed: cut, swapped, doubled, replaced by what should not stand there."""
    odd = [
        b"NaN", b"Infinity", b"-1", b"1e999", b"null", b"[]", b"{}", b'"', b"\xff\xfe", b"\x00", b"\r", b"\n\n", b";",
        b",", b"true", b"'=", b"9" * 5000, b"[" * 5000, b"<script>", b"\\ud800", b"\xed\xa0\x80", b"",
    ]  # fmt: skip
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + rng.choice([0, 1, 5, 50]))
    kind = rng.randrange(4)
    if kind == 0:
        return data[:a]
    if kind == 1:
        return data[:a] + data[a:b] * 2 + data[b:]
    return data[:a] + rng.choice(odd) + data[b if kind == 2 else a :]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_damaged_pairs_are_read_or_refused(tmp_path, kind):
    rng = random.Random(0)
    path, _, _ = valid_pair(tmp_path)
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        from madrnet_timm.files import write_table

        rows = read_results(path).rows
        path = tmp_path / "results.parquet"
        write_table(path, rows)
        shutil.copy(tmp_path / "results.csv.json", info_path(path))
        assert read_results(path).rows == rows
    table, beside = path.read_bytes(), info_path(path).read_bytes()
    read, refused = 0, []
    for number in range(150):
        path.write_bytes(_mutated(rng, table) if number % 2 else table)
        info_path(path).write_bytes(beside if number % 2 else _mutated(rng, beside))
        try:
            found = read_results(path)
        except InputError as error:
            refused.append(str(error))
        else:
            assert all(0 <= row["probability"] <= 1 for row in found.rows)
            read += 1
    assert read > 10
    assert len(refused) > 50
    assert not any("\n" in message for message in refused)
    "".join(refused).encode()
