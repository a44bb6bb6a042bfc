"""What `madrnet predict` and `measure` write: digits, thresholds, interruptions, full disks, odd names."""

import csv
import json
import logging
import os
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from madrnet_timm.data.measuring import measure_files
from madrnet_timm.data.pages import Page, pages_of
from madrnet_timm.data.scale import SlideScale
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.files import write_csv
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.field_record import FieldRecord
from madrnet_timm.inference.finished import FinishedRows, StoredRows, finished_path, work_digest
from madrnet_timm.inference.predict import Options, predict_files, predict_pages
from madrnet_timm.inference.predicted import Outcome
from madrnet_timm.inference.results import info_path, read_results, write_results

from .conftest import Interrupted

MADE_BY = {"the model": "abc", "--um-per-px": None}


@pytest.fixture(scope="module")
def classifier(model_dir):
    return Classifier(model_dir)


@pytest.fixture(scope="module")
def heads(crops):
    return sorted(crops.glob("head*.png"))


@contextmanager
def files_of_at_most(size):
    """The disk takes no more: a real error of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_six_digits_and_a_threshold_for_excel(madrnet, classifier, heads, tmp_path):
    output = tmp_path / "r.csv"
    rows = predict_files(heads, classifier).rows
    threshold = round(sorted(row["probability"] for row in rows)[len(rows) // 2], 3)
    options = ("--excel", "--threshold", str(threshold).replace(".", ","), "--um-per-px", "0,1")
    run = madrnet("predict", *heads, "--model", classifier.folder.path, "--output", output, *options)
    assert run.returncode == 0, run.stderr
    assert output.read_bytes().startswith(b"\xef\xbb\xbffile,page,head,")
    with output.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    numbers = [cell for row in rows for name, cell in row.items() if name not in ("file", "pixel_sha256")]
    digits = [cell.strip("-").partition("e")[0].replace(".", "").lstrip("0") for cell in numbers if "." in cell]
    assert max(map(len, digits)) == 6
    assert rows[0]["length_um"][:1].isdigit()
    results = read_results(output)
    assert results.info.threshold == threshold
    assert [row["abstain"] for row in results.rows] == [row["probability"] < threshold for row in results.rows]
    assert {row["abstain"] for row in results.rows} == {True, False}


def test_an_interrupted_prediction_is_taken_up(classifier, heads, tmp_path):
    pages, options = pages_of(heads), Options(SlideScale(), batch_size=3)
    expected = predict_files(heads, classifier, batch_size=3)
    part = finished_path(tmp_path / "r.csv")
    with pytest.raises(KeyboardInterrupt):
        predict_pages(pages, Interrupted(classifier.folder.path), options, FinishedRows(part, MADE_BY, SlideScale()))
    assert len(part.read_text().splitlines()) == 1 + 2 * 3
    part.write_bytes(part.read_bytes() + b'{"file": "cut o')  # killed while it wrote

    class Counted(Classifier):
        seen = 0

        def predict(self, prepared):
            self.seen += len(prepared)
            return super().predict(prepared)

    again, finished = Counted(classifier.folder.path), FinishedRows(part, MADE_BY, SlideScale(), resume=True)
    assert sum(page in finished for page in pages) == 6
    found = predict_pages(pages, again, options, finished)
    assert (list(found.rows), len(found.rows), found.skipped) == (expected.rows, len(heads), [])
    assert again.seen == len(heads) - 6
    assert len([json.loads(line) for line in part.read_text().splitlines()]) == 1 + len(heads)
    finished.remove()
    assert not part.exists()


def test_only_the_same_prediction_is_taken_up(tmp_path, heads):
    part = tmp_path / "r.csv.part"
    begun = FinishedRows(part, MADE_BY, SlideScale())
    moved = tmp_path / "moved.png"
    moved.write_bytes(b"x")
    field = FieldRecord("x.tif", 2, 640, 480, 2, 1, 41.5, 115, reason="dark")
    kept = {
        Page(heads[0]): Outcome(({"file": str(heads[0]), "ok": True, "length": 0.1},)),
        Page(moved): Outcome(skipped="moved.png: no image"),
        Page(heads[2], 2): Outcome(({"file": str(heads[2]), "head": 1}, {"file": str(heads[2]), "head": 2}), field),
    }
    for page, outcome in kept.items():
        begun.add(page, outcome)
    found = FinishedRows(part, MADE_BY, SlideScale(), resume=True)
    for again in (begun, found):
        assert list(again.outcomes(list(kept))) == list(kept.values())
        assert list(again.outcomes(list(kept)[::-1])) == list(kept.values())[::-1]
    assert len(StoredRows(found, list(kept))) == len(list(StoredRows(found, list(kept)))) == 3
    assert Page(moved) in found
    moved.write_bytes(b"other bytes")
    assert [page in found for page in (Page(moved), Page(heads[1]), Page(heads[2]), Page(heads[2], 2))] == [
        False, False, False, True,
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"begun with --um-per-px None, not 0.1; give the same model and options"):
        FinishedRows(part, MADE_BY | {"--um-per-px": 0.1}, SlideScale(), resume=True)
    for content in (b"[]\n", b"{}\n[1]\n", b"\xff\n", b"{\n", b"{}\n" + b"[" * 5000 + b"\n", b'{}\n{"file": "a"}\n'):
        part.write_bytes(content)
        with pytest.raises(InputError, match=r"r.csv.part: damaged; delete it"):
            FinishedRows(part, {}, SlideScale(), resume=True)
    before = part.read_bytes()
    FinishedRows(part, MADE_BY, SlideScale())  # nothing is lost before there is something new
    assert part.read_bytes() == before


def test_resume_of_the_command(madrnet, crops, model_dir, tmp_path):
    args = ("predict", crops, "--model", model_dir, "--output", tmp_path / "r.csv", "--resume")
    run = madrnet(*args)
    assert run.returncode == 1
    assert f"{tmp_path / 'r.csv'}: nothing is begun there; starting anew" in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.csv.json"]
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]
    again = madrnet(*args)
    assert again.returncode == 1
    assert "images are done already; the table is kept" in again.stderr
    skipped = [line for line in run.stderr.splitlines() if line.startswith("skipped: ")]
    assert skipped == [line for line in again.stderr.splitlines() if line.startswith("skipped: ")] != []
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())] == before
    other = madrnet(*args, "--threshold", "0.9")
    assert "r.csv: made of other images or with other options, or changed since; starting anew" in other.stderr
    (tmp_path / "r.csv.part").write_text('{"the model": "another"}\n')
    run = madrnet(*args)
    assert run.returncode == 2
    assert "r.csv.part: begun with the model another, not" in run.stderr


def test_where_no_row_comes_of_it_an_older_table_is_named(madrnet, crops, model_dir, tmp_path):
    table, broken = tmp_path / "r.csv", crops / "broken.png"
    for command in (["predict", broken, "--model", model_dir], ["measure", broken]):
        run = madrnet(*command, "--output", table)
        assert run.returncode == 1
        assert f"{table}: not written, as it would have no row\n" in run.stderr
    table.write_text("old\n")
    run = madrnet("measure", broken, "--output", table)
    assert f"{table}: not written, as it would have no row; the file of this name is an older one\n" in run.stderr
    assert table.read_text() == "old\n"


def test_a_command_with_a_name_that_is_not_in_utf8(madrnet, model_dir, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    Image.fromarray(draw_head("Normal", 1).image).save(tmp_path / "new.png")
    os.rename(tmp_path / "new.png", name)
    run = madrnet("predict", name, "--model", model_dir, "--output", tmp_path / "r.csv")
    assert run.returncode == 0, run.stderr
    assert "caf\\udce9.png" in read_results(tmp_path / "r.csv").info.command


def test_another_work(heads, tmp_path):
    image = tmp_path / heads[0].name
    image.write_bytes(heads[0].read_bytes())
    pages = pages_of([image, heads[1]])
    work = work_digest(MADE_BY, pages, SlideScale())
    assert work_digest(MADE_BY, pages_of([image, heads[1]]), SlideScale()) == work
    assert work_digest(MADE_BY | {"the threshold": 0.123}, pages, SlideScale()) != work
    assert work_digest(MADE_BY, pages[:1], SlideScale()) != work
    os.utime(image, (0, 0))
    assert work_digest(MADE_BY, pages, SlideScale()) != work


def test_a_full_disk_leaves_the_old_pair_and_the_rows(classifier, heads, tmp_path, caplog):
    found = predict_files(heads[:3], classifier)
    path = tmp_path / "r.csv"
    write_results(path, replace(found, rows=found.rows[:1]), classifier)
    before = path.read_bytes(), info_path(path).read_bytes()
    with files_of_at_most(1000):
        with pytest.raises(InputError, match=r"r.csv: can't be written"):
            write_results(path, found, classifier)
        finished = FinishedRows(tmp_path / "r.csv.part", MADE_BY, SlideScale())
        again = predict_pages(pages_of(heads[:3]), classifier, Options(SlideScale()), finished)
        assert list(again.rows) == found.rows
    assert "no more rows can be kept there" in caplog.text
    assert (path.read_bytes(), info_path(path).read_bytes()) == before
    finished.remove()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.csv", "r.csv.json"]


def test_odd_names_do_not_lose_a_batch(madrnet, model_dir, tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    names = [b"caf\xe9.png", b"a\rb.png", b"=1+1.png", b"-x.png", "头é.png".encode(), b"x" * 251 + b".png"]
    for number, name in enumerate(names):
        Image.fromarray(draw_head("Normal", number).image).save(folder / "new.png")
        os.rename(folder / "new.png", os.fsencode(folder) + b"/" + name)
    (folder / os.fsdecode(b"no\xff.png")).write_bytes(b"no image")
    run = madrnet("predict", folder, "--model", model_dir, "--output", tmp_path / "r.csv")
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("skipped") == 1
    results = read_results(tmp_path / "r.csv")
    assert {os.fsencode(Path(row["file"]).name) for row in results.rows} == set(names)
    assert all(results.image_paths(row["file"]) for row in results.rows)
    assert "no\\xff.png: can't read it" in results.info.skipped[0]
    overlay = tmp_path / "overlay"
    run = madrnet("measure", folder, "--overlay", overlay, "--output", tmp_path / "m.csv")
    assert run.returncode == 1, run.stderr
    assert len(list(overlay.iterdir())) == len(names)
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 1 + len(names)


def test_an_overlay_that_finds_no_place_costs_no_row(heads, tmp_path):
    folder = tmp_path / "crops" / "sub"
    folder.mkdir(parents=True)
    paths = [Path(heads[0]), folder / "head.png"]
    paths[1].write_bytes(heads[1].read_bytes())
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "sub").write_bytes(b"")
    (tmp_path / "crops" / "head.png").write_bytes(heads[0].read_bytes())
    found = measure_files([tmp_path / "crops" / "head.png", paths[1]], None, tmp_path / "overlay")
    assert [row["file"] for row in found.rows] == [str(tmp_path / "crops" / "head.png"), str(paths[1])]
    assert len(found.failures) == 1
    assert "overlay/sub/head.png.png: can't be written" in found.failures[0]


@pytest.mark.parametrize(
    ("given", "meant"), [(10, "0.1"), (1, "0.1"), (0.001, "0.1"), (0.25, "0.083"), (11.5, "0.087")]
)
def test_a_scale_that_does_not_fit_is_refused(heads, given, meant):
    with pytest.raises(InputError, match=f"those of human sperm have 3 to 7; did you mean {meant}[?]") as error:
        SlideScale.of(pages_of(heads), given)
    assert "\n" not in str(error.value)


def test_a_scale_that_fits_or_of_few_heads(heads, tmp_path, caplog):
    (tmp_path / "none.png").write_bytes(b"")
    for scale in (None, 0.08, 0.1, 0.12):
        SlideScale.of(pages_of([tmp_path / "none.png", *heads]), scale)
    SlideScale.of(pages_of([tmp_path / "none.png"]), 10)
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        SlideScale.of(pages_of(heads[:4]), 10)
        assert "did you mean 0.1?" in caplog.text
        caplog.clear()
        # possible, but fields may be taken for empty
        SlideScale.of(pages_of(heads), 0.2)
        assert "those of human sperm have 3 to 7; did you mean 0.083?" in caplog.text
        caplog.clear()
        SlideScale.of(pages_of(heads[:4]), 0.2)
    assert not caplog.messages


def test_stored_tables_keep_their_digits(tmp_path):
    write_csv(tmp_path / "t.csv", [{"a": 0.12345678901234567}])
    assert "0.12345678901234566" in (tmp_path / "t.csv").read_text()
