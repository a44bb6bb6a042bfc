"""Fields of view from the image to the table: found, cut out, classified, written, taken up again."""

import csv
import json
import re
import shutil
import socket
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from madrnet_timm.data.kinds import search
from madrnet_timm.data.pages import Page, pages_of
from madrnet_timm.data.reading import pixel_sha256, read_image
from madrnet_timm.data.scale import SlideScale
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.errors import InputError
from madrnet_timm.hub.crop_scale import crop_side
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.finished import FinishedRows
from madrnet_timm.inference.mirrored import mirrored_probabilities
from madrnet_timm.inference.predict import Options, predict_files, predict_pages
from madrnet_timm.inference.results import read_results
from madrnet_timm.inference.screen import Screen
from madrnet_timm.morphology import measure

from ..conftest import EXAMPLES
from .conftest import Interrupted

HUB = EXAMPLES.parent / "hub"
STYLE = FieldStyle(stain="rose", head_length=60)
SIZE = (900, 640)


def field(seed, heads=5, at_border=1):
    return draw_field(seed, SIZE, heads, at_border=at_border, style=STYLE)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Three drawn fields, a crop, an empty field, a stack of two fields, and what is no image."""
    folder = tmp_path_factory.mktemp("slide")
    for number in range(3):
        Image.fromarray(field(number).image).save(folder / f"f{number}.png", dpi=(254000, 254000))
    Image.fromarray(draw_head("Normal", 1).image).save(folder / "crop.png")
    Image.new("RGB", SIZE, (222, 220, 226)).save(folder / "empty.png")
    first, second = (Image.fromarray(field(number).image) for number in (3, 4))
    first.save(folder / "stack.tif", save_all=True, append_images=[second])
    (folder / "broken.tif").write_bytes(b"II*\0broken")
    return folder


@pytest.fixture(scope="module")
def predicted(madrnet, model_dir, slide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    run = madrnet(
        "predict", slide, "--model", model_dir, "--output", folder / "slide.csv",
        "--crops", folder / "crops", "--overlay", folder / "overlay",
    )  # fmt: skip
    return run, folder


@pytest.fixture(scope="module")
def classifier(model_dir):
    return Classifier(model_dir)


def test_what_is_said(predicted, slide):
    run, _ = predicted
    assert run.returncode == 1  # one file is no image
    lines = run.stderr.splitlines()
    assert lines[0] == "found 7 images with 8 pages: 6 fields of view, 1 crop"
    assert lines[1].startswith("scale: 0.1 µm per pixel (PNG resolution, 254000 dpi), said by 3 images")
    assert sum(line.startswith(f"{slide / 'empty.png'}: no heads found: ") for line in lines) == 1
    assert sum(line.startswith(f"skipped: {slide / 'broken.tif'}: can't read it") for line in lines) == 1
    assert re.search(r"^6 fields: \d+ heads, and \d+ at the border, which do not count$", run.stderr, re.MULTILINE)


def test_what_cannot_be_read_was_taken_for_nothing(classifier, tmp_path):
    whole = draw_field(1, (700, 600), 4, style=STYLE).image
    Image.fromarray(whole).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:20_000])
    found = predict_files([tmp_path / "cut.png", tmp_path / "whole.png"], classifier)
    assert len(found.skipped) == len(found.fields) == 1
    assert found.by_look == {"field": 1}


def test_each_head_is_a_row_at_its_place(predicted, slide, classifier):
    _, folder = predicted
    results = read_results(folder / "slide.csv")
    by_place = {}
    for row in results.rows:
        by_place.setdefault((row["file"].rsplit("/")[-1], row["page"]), []).append(row)
    truth = {(f"f{n}.png", None): field(n) for n in range(3)} | {("stack.tif", n - 2): field(n) for n in (3, 4)}
    assert by_place.keys() == truth.keys() | {("crop.png", None)}
    (crop,) = by_place.pop(("crop.png", None))
    assert (crop["head"], crop["x0"], crop["center_x"], crop["counted"]) == (None, None, None, True)
    errors = []
    for place, rows in by_place.items():
        drawn = truth[place]
        assert [row["head"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["pixel_sha256"] for row in rows} == {pixel_sha256(drawn.image)}
        for head in (head for head in drawn.heads if not head.touches_border):
            near = [r for r in rows if np.hypot(r["center_x"] - head.center[0], r["center_y"] - head.center[1]) < 12]
            assert len(near) == 1, (place, head.center)
            (row,) = near
            box = [row[name] for name in ("x0", "y0", "x1", "y1")]
            assert np.abs(np.subtract(box, head.box)).max() <= 16  # a narrow rear end may be taken for the neck
            assert row["counted"]
            assert "touches_border" not in row["flags"]
            if row["ok"]:
                errors.append(abs(row["aspect_ratio"] / head.aspect_ratio - 1))
                scaled = place[0].startswith("f")
                assert row["length_um"] == (pytest.approx(0.1 * row["head_length"], rel=1e-4) if scaled else None)
    assert len(errors) > 15
    assert np.median(errors) < 0.06
    border = [row for row in results.rows if not row["counted"]]
    assert len(border) >= 3
    for row in border:
        assert "touches_border" in row["flags"].split()
        assert min(row["x0"], row["y0"], SIZE[0] - row["x1"], SIZE[1] - row["y1"]) <= 2


def test_the_record_of_each_field(predicted, classifier):
    _, folder = predicted
    results = read_results(folder / "slide.csv")
    info = results.info
    fields = {(one.file.rsplit("/")[-1], one.page): one for one in info.fields}
    assert len(fields) == 6
    for (name, page), one in fields.items():
        rows = [row for row in results.rows if row["file"].endswith(name) and row["page"] == page]
        assert (one.width, one.height, one.heads) == (*SIZE, len(rows))
        assert one.at_border == sum(not row["counted"] for row in rows)
        if rows:
            assert (one.reason, one.pixel_sha256) == ("", rows[0]["pixel_sha256"])
            assert 45 < one.head_length < 75
            # of the slide, so the same for all
            assert one.crop_side == fields["f0.png", None].crop_side
            assert one.crop_side == pytest.approx(crop_side(one.head_length, classifier.folder.info), rel=0.2)
        scale = (pytest.approx(0.1), "PNG resolution") if name.startswith("f") else (None, "")
        assert (one.um_per_px, one.um_source) == scale
    assert fields["empty.png", None].reason
    assert (info.um_per_px, info.um_source) == (None, "")  # not the same for all
    assert "predict" in info.command


def test_the_class_is_that_of_the_crop(predicted, slide, classifier):
    """The crop that was written, prepared with the measurement of the field, gives the row's probabilities."""
    from madrnet_timm.data.crops import cut_head

    _, folder = predicted
    results = read_results(folder / "slide.csv")
    image = read_image(slide / "f0.png")
    side = next(one.crop_side for one in results.info.fields if one.file.endswith("f0.png"))
    rows = [row for row in results.rows if row["file"].endswith("f0.png")]
    for row, head in zip(rows, search(image, 0.1).heads, strict=True):
        crop = cut_head(image, head, side)
        written = read_image(folder / "crops" / f"f0.png-head{row['head']:02}.png")
        assert np.array_equal(written, crop.image)
        (found,) = classifier.predict([classifier.prepare(crop.image, head=crop.head)])
        assert (found.label, found.abstain) == (row["prediction"], row["abstain"])
        assert found.probabilities["Normal"] == pytest.approx(row["p_Normal"], abs=1e-4)
        assert " ".join(found.out_of_domain) == row["out_of_domain"]


def test_crops_and_overlays_are_written(predicted):
    _, folder = predicted
    results = read_results(folder / "slide.csv")
    of_fields = [row for row in results.rows if row["head"]]
    assert len(list((folder / "crops").iterdir())) == len(of_fields)
    assert (folder / "crops" / "stack.tif-page0002-head01.png").is_file()
    names = {path.name for path in (folder / "overlay").iterdir()}
    pages = {"stack.tif-page0001.png", "stack.tif-page0002.png"}
    assert names == {"f0.png.png", "f1.png.png", "f2.png.png", "empty.png.png", "crop.png.png"} | pages
    with Image.open(folder / "overlay" / "f0.png.png") as drawn:
        assert drawn.width == SIZE[0]
        assert drawn.height > SIZE[1]  # a legend


def test_a_crop_has_an_overlay_too(predicted):
    _, folder = predicted
    assert (folder / "overlay" / "crop.png.png").exists()
    assert not (folder / "crops" / "crop.png.png").exists()


def test_python_gives_the_same(predicted, slide, classifier):
    results = read_results(predicted[1] / "slide.csv")
    rows = [row for row in results.rows if row["file"].endswith("f1.png")]
    found = classifier.field(slide / "f1.png")
    assert (found.um_per_px, found.um_source, found.reason) == (pytest.approx(0.1), "PNG resolution", "")
    assert [one.head.box for one in found] == [tuple(row[n] for n in ("x0", "y0", "x1", "y1")) for row in rows]
    assert len(found.counted) == sum(row["counted"] for row in rows)
    assert found[0].head.mask.shape == SIZE[::-1]
    assert found[0].head.length_um == pytest.approx(rows[0]["length_um"], rel=1e-4)
    pixels = classifier.field(read_image(slide / "f1.png"))
    assert [one.label for one in pixels] == [one.label for one in found]
    assert (pixels.um_per_px, pixels.um_source) == (None, "")
    empty = classifier.field(slide / "empty.png")
    assert (list(empty), empty.crop_side) == ([], None)
    assert empty.reason
    with pytest.raises(InputError, match="2 pages; give one of them"):
        classifier.field(slide / "stack.tif")
    with pytest.raises(InputError, match="2 pages; give one of them"):
        classifier([slide / "stack.tif"])
    with pytest.raises(InputError, match="expected a field of at least 300"):
        classifier.field(slide / "crop.png")


@pytest.mark.parametrize(("heads", "um_per_px"), [(3, None), (3, 0.1), (7, 0.1), (7, 0.14)])
def test_python_cuts_a_field_alone_as_the_command_does(classifier, tmp_path, heads, um_per_px):
    path = tmp_path / "field.png"
    Image.fromarray(draw_field(5, SIZE, heads, style=STYLE).image).save(path)
    found = classifier.field(path, um_per_px)
    pages = pages_of([path])
    told = predict_pages(pages, classifier, Options(SlideScale.of(pages, um_per_px)))
    assert found.crop_side == told.fields[0].crop_side
    if heads < 5 and um_per_px is not None:  # too few to go by: WHO's 3.7 to 4.7 µm
        assert (
            found.crop_side
            == crop_side(42, classifier.folder.info)
            != crop_side(found.head_length, classifier.folder.info)
        )
    for one, row in zip(found, told.rows, strict=True):
        assert one.probabilities == pytest.approx({name: row[f"p_{name}"] for name in classifier.label_names}, abs=1e-5)


def test_a_field_is_no_crop(classifier, slide):
    with pytest.raises(InputError, match=r"whole field of view.*Classifier\.field"):
        classifier([slide / "f0.png"])
    small = draw_field(1, (420, 400), 4, style=FieldStyle(stain="rose", head_length=45)).image
    with pytest.raises(InputError, match=r"looks like a field of view \(\d heads.*Classifier.field"):
        classifier([small])
    found = classifier.field(small)
    assert len(found) >= 3
    # but the image of a data set is a crop, whatever it looks like
    names = classifier.label_names
    expected = classifier.answers([classifier.prepare(small, head=measure(small)).mirrored])
    assert mirrored_probabilities(classifier.folder.path, [small], names) == pytest.approx(expected, abs=1e-6)


def test_kinds_can_be_ordered(verb, slide, model_dir):
    run = verb("predict", slide / "f0.png", slide / "crop.png", "--model", model_dir, "--input", "crop")
    assert (run.returncode, len(run.stdout.splitlines())) == (1, 2)
    assert "f0.png: 900×640 pixels look like a whole field of view" in run.stderr
    run = verb("predict", slide / "crop.png", "--model", model_dir, "--input", "field")
    assert (run.returncode, run.stdout) == (1, "")
    assert "pixels; expected a field of at least 300×300" in run.stderr


def test_measure_takes_fields(verb, slide, tmp_path):
    output, overlay = tmp_path / "m.csv", tmp_path / "overlay"
    run = verb("measure", slide, "--output", output, "--overlay", overlay)
    assert run.returncode == 1, run.stderr
    assert "taken for: 6 fields of view, 1 crop" in run.stderr
    assert f"{slide / 'empty.png'}: no heads found: " in run.stderr
    rows = list(csv.DictReader(output.open(newline="")))
    heads = search(read_image(slide / "f2.png")).heads
    own = [row for row in rows if row["file"].endswith("f2.png")]
    assert [int(row["x0"]) for row in own] == [head.box[0] for head in heads]
    assert float(own[0]["length_um"]) == pytest.approx(0.1 * heads[0].length, rel=1e-4)
    assert [row["page"] for row in rows if row["file"].endswith("stack.tif")].count("2") >= 5
    assert len(list(overlay.iterdir())) == 7
    assert {row["counted"] for row in rows} == {"True", "False"}


def test_fields_are_taken_up_page_by_page(slide, classifier, tmp_path):
    paths = [slide / name for name in ("stack.tif", "f0.png", "empty.png", "broken.tif")]
    pages = pages_of(paths)
    options = Options(SlideScale.of(pages), batch_size=8)
    expected = predict_pages(pages, classifier, options)
    part = tmp_path / "r.csv.part"
    with pytest.raises(KeyboardInterrupt):
        predict_pages(pages, Interrupted(classifier.folder.path), options, FinishedRows(part, {"by": 1}, options.slide))
    finished = FinishedRows(part, {"by": 1}, options.slide, resume=True)
    assert Page(slide / "stack.tif", 1, SIZE) in finished
    assert len(finished) < len(pages)
    longer = {group: [2 * length for length in lengths] for group, lengths in options.slide.groups.items()}
    assert longer
    other = FinishedRows(part, {"by": 1}, SlideScale(groups=longer), resume=True)  # as more fields may bring it
    assert Page(slide / "stack.tif", 1, SIZE) not in other
    found = predict_pages(pages, classifier, options, finished)
    assert list(found.rows) == list(expected.rows)
    assert (found.fields, found.skipped) == (expected.fields, expected.skipped)
    assert (found.abstained, found.outside) == (expected.abstained, expected.outside)


def test_memory_does_not_grow_with_the_number_of_fields(classifier, tmp_path):
    """Ten times as many fields hold no more than a few bytes more for each: less than one of its rows."""
    image = draw_field(0, (300, 300), 1, style=FieldStyle(stain="rose", head_length=60)).image
    Image.fromarray(image).save(tmp_path / "field.png")

    def peak(count):
        pages = []
        for number in range(count):
            path = tmp_path / f"{number}.png"
            if not path.exists():
                shutil.copy(tmp_path / "field.png", path)
            pages.append(Page(path, None, (300, 300)))
        finished = FinishedRows(tmp_path / f"{count}.part", {"by": 1}, SlideScale())
        options = Options(SlideScale(), "field", 16)
        predict_pages(pages[:2], classifier, options, FinishedRows(tmp_path / "warm.part", {"by": 1}, SlideScale()))
        tracemalloc.start()
        try:
            found = predict_pages(pages, classifier, options, finished)
            assert len(found.rows) == count
            assert sum(1 for _ in found.rows) == count
            return tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    few, few_peak = peak(16)
    many, many_peak = peak(96)
    assert many - few < 80 * 2500  # a record of each field; a row alone takes twice as much
    assert many_peak - few_peak < 8 * image.nbytes  # of eighty more; some are always under way


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_slide_without_a_head_is_a_table_without_rows(verb, slide, predicted, model_dir, tmp_path, suffix):
    output = tmp_path / f"r{suffix}"
    run = verb("predict", slide / "empty.png", "--um-per-px", "0.1", "--model", model_dir, "--output", output)
    assert run.returncode == 0, run.stderr
    assert "1 fields: 0 heads" not in run.stderr
    assert "1 field: 0 heads, and 0 at the border" in run.stderr
    results = read_results(output)
    assert (results.rows, len(results.info.fields)) == ([], 1)
    assert results.info.fields[0].reason in run.stderr
    columns = parquet.read_schema(output).names if suffix == ".parquet" else output.read_text().rstrip().split(",")
    assert columns == (predicted[1] / "slide.csv").read_text().splitlines()[0].split(",")
    run = verb("report", output, "--output", tmp_path / "report.html")
    assert run.returncode == 2
    assert "no head was found in its fields (1); nothing to report" in run.stderr


def test_a_screen(classifier, model_dir, slide, tmp_path, madrnet):
    config = json.loads((model_dir / "config.json").read_text())
    config["madrnet"]["no_head_class"], config["madrnet"]["normal_class"] = "Amorphous", "Normal"
    shutil.copytree(model_dir, tmp_path / "screen")
    (tmp_path / "screen" / "config.json").write_text(json.dumps(config))
    screen = Screen.of(tmp_path / "screen", classifier)
    with pytest.raises(InputError, match="has no class for what is no sperm, only Normal, Tapered"):
        Screen.of(model_dir, classifier)
    with pytest.raises(InputError, match="has a class for what is no sperm itself, Amorphous; leave --screen out"):
        Screen.of(tmp_path / "screen", screen.classifier)
    output = tmp_path / "r.csv"
    run = madrnet(
        "predict", slide / "f0.png", slide / "f1.png", "--model", model_dir, "--screen", tmp_path / "screen",
        "--output", output,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    results = read_results(output)
    # the screen is the same network, so it says of each head what the model says
    for row in results.rows:
        assert row["no_sperm"] == pytest.approx(row["p_Amorphous"], abs=1e-4)
        assert ("no_sperm" in row["flags"].split()) == (row["prediction"] == "Amorphous")
    number = sum(row["prediction"] == "Amorphous" for row in results.rows)
    assert f"{number} are no sperm by --screen" in run.stderr
    assert results.info.screen == str(tmp_path / "screen")
    assert results.info.screen_digest == ModelFolder(tmp_path / "screen").digest()
    pages = pages_of([slide / "f0.png"])
    found = predict_pages(pages, classifier, Options(SlideScale.of(pages, None), screen=screen))
    assert tuple(found.columns) == tuple(next(iter(found.rows)))


@pytest.mark.parametrize("name", ["madrnet_tf_efficientnet_lite0.smids", "madrnet_efficientnet_b0.hushem"])
def test_published_models_take_fields(name, slide):
    """Heads are as large in their crops as in the images that they know."""
    if not (HUB / name / "model.safetensors").is_file():
        pytest.skip("needs the published weights")
    found = predict_files([slide / "f0.png"], Classifier(HUB / name))
    assert len(found.rows) >= 5
    assert not any("relative_length" in row["out_of_domain"] for row in found.rows if row["ok"])


TWO_PROCESSES = """
import os, runpy, sys
from madrnet_timm.errors import InputError
from madrnet_timm.inference.field_images import FieldImages

port, bad = sys.argv[1:3]
sys.argv[1:3] = []
os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
child = os.fork()
os.environ["RANK"] = str(int(child == 0))
write = FieldImages.write


def refuse(self, page, *rest):
    if child == 0 and bad and str(page).endswith(bad):
        raise InputError(f"{page}: no room for its crops")
    write(self, page, *rest)


FieldImages.write = refuse
try:
    runpy.run_module("madrnet_timm.commands.predict", run_name="__main__")
finally:
    if child:
        print("the other ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_two_processes_give_the_table_of_one(predicted, slide, model_dir, fresh_python, tmp_path):
    """As a launcher starts them: one fails and both end, by one message; with --resume both go on and join the rows."""
    words = [
        slide, "--model", model_dir, "--output", tmp_path / "slide.csv", "--batch-size", 6,
        "--crops", tmp_path / "crops", "--overlay", tmp_path / "overlay",
    ]  # fmt: skip

    def run(bad, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return fresh_python("-c", TWO_PROCESSES, port, bad, *options)

    failed = run("f2.png", *words)
    assert (failed.returncode, failed.stdout) == (2, "the other ended with 2\n")
    said = [line for line in failed.stderr.splitlines() if "f2.png" in line or "error" in line]
    assert said == [f"error: {slide / 'f2.png'}: no room for its crops"]
    kept = [tmp_path / "slide.csv.part", tmp_path / "slide.csv.part-1"]
    assert sorted(path for path in tmp_path.iterdir() if path.is_file()) == kept

    again = run("", *words, "--resume")
    assert (again.returncode, again.stdout) == (1, "the other ended with 0\n")
    assert "slide.csv: 6 of 8 images are done already" in again.stderr
    one, folder = predicted
    assert again.stderr.splitlines()[-3:] == one.stderr.splitlines()[-3:]
    assert sorted(path for path in tmp_path.iterdir() if path.is_file()) == [
        tmp_path / "slide.csv", tmp_path / "slide.csv.json",
    ]  # fmt: skip
    expected, found = (read_results(where / "slide.csv") for where in (folder, tmp_path))
    for row, other in zip(expected.rows, found.rows, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert other[name] == (pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value)
    assert found.info.fields == expected.info.fields
    assert found.info.skipped == expected.info.skipped
    for kind in ("crops", "overlay"):
        images = sorted(path.name for path in (folder / kind).iterdir())
        assert images == sorted(path.name for path in (tmp_path / kind).iterdir())
        for name in images:
            assert (tmp_path / kind / name).read_bytes() == (folder / kind / name).read_bytes()

    refused = run("", slide, "--model", model_dir)
    assert (refused.returncode, refused.stdout) == (2, "the other ended with 2\n")
    assert refused.stderr.splitlines()[1:] == [
        "error: --output: missing; several processes join their rows in a table, name it"
    ]
