"""The command ``madrnet``, run as a user runs it."""

import csv

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.synthetic import draw_head


@pytest.fixture
def heads(tmp_path):
    """Two drawn heads of known axes in a folder, one in a folder below."""
    folder = tmp_path / "crops"
    (folder / "more").mkdir(parents=True)
    truth = {}
    for number, name in enumerate(["a.png", "b.png", "more/c.png"]):
        head = draw_head("Normal", seed=number, debris=False)
        Image.fromarray(head.image).save(folder / name)
        truth[name] = head
    return folder, truth


def test_measure_writes_a_table_with_the_known_axes(madrnet, heads, tmp_path):
    folder, truth = heads
    output, overlays = tmp_path / "heads.csv", tmp_path / "overlays"
    run = madrnet("measure", folder, "--um-per-px", 0.1, "--output", output, "--overlay", overlays)
    assert run.returncode == 0, run.stderr
    with output.open(newline="") as opened:
        rows = {row["file"].removeprefix(f"{folder}/"): row for row in csv.DictReader(opened)}
    assert rows.keys() == truth.keys()
    for name, head in truth.items():
        row = rows[name]
        assert float(row["aspect_ratio"]) == pytest.approx(head.aspect_ratio, rel=0.03)
        assert float(row["head_length"]) == pytest.approx(head.length, rel=0.04)
        assert float(row["length_um"]) == pytest.approx(0.1 * float(row["head_length"]))
        assert float(row["area_um2"]) == pytest.approx(0.01 * float(row["area"]))
        assert row["who_aspect_ratio"] == str(1.3 <= float(row["aspect_ratio"]) <= 1.8)
        with Image.open(overlays / f"{name}.png") as overlay:
            assert overlay.width == 3 * head.image.shape[1]
            assert overlay.height > 3 * head.image.shape[0]


def test_measure_without_output_prints_csv_and_without_scale_no_micrometres(madrnet, heads):
    folder, _ = heads
    run = madrnet("measure", folder / "a.png")
    assert run.returncode == 0
    header = run.stdout.splitlines()[0].split(",")
    assert "aspect_ratio" in header
    assert not [name for name in header if "_um" in name]
    assert len(run.stdout.splitlines()) == 2


def test_measure_parquet_is_the_same_table(madrnet, heads, tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder, _ = heads
    assert madrnet("measure", folder, "--output", tmp_path / "heads.parquet").returncode == 0
    rows = parquet.read_table(tmp_path / "heads.parquet").to_pylist()
    printed = list(csv.DictReader(madrnet("measure", folder).stdout.splitlines()))
    assert [row["file"] for row in rows] == [row["file"] for row in printed]
    assert [row["area"] for row in rows] == pytest.approx([float(row["area"]) for row in printed], rel=1e-5)  # rounded
    assert rows[0]["ok"] is True


def test_unreadable_images_are_listed_and_skipped(madrnet, heads):
    folder, _ = heads
    (folder / "broken.png").write_bytes(b"not an image")
    run = madrnet("measure", folder)
    assert run.returncode == 1
    assert len(run.stdout.splitlines()) == 4
    assert run.stderr.splitlines()[0] == "found 4 images"  # before anything is read
    assert "broken.png: can't read it as an image" in run.stderr
    assert "Traceback" not in run.stderr


def test_statistics_without_what_can_not_be_read(madrnet, heads):
    folder, _ = heads
    (folder / "more" / "broken.png").write_bytes(b"")
    (folder / "less").mkdir()
    (folder / "a.png").rename(folder / "less" / "a.png")
    (folder / "less").rename(folder / "less_than_normal")
    words = ["data", "stats", "--dataset", "folder", "--data-dir", folder]
    run = madrnet(*words)
    assert run.returncode == 2
    assert "broken.png: can't read it as an image (empty file); replace or remove the file, or leave it" in run.stderr
    run = madrnet(*words, "--skip-unreadable")
    assert run.returncode == 0, run.stderr
    assert "left out 1 of 3 images that can't be read" in run.stderr
    assert "images beside the class folders are left out (1): b.png" in run.stderr
    assert run.stdout.splitlines()[0].split() == ["class", "less_than_normal", "more"]
    assert run.stdout.splitlines()[1].split() == ["images", "1", "1"]


def test_many_images_by_several_processes_in_order(madrnet, fresh_python, tmp_path):
    """Called by a program without a guard ``if __name__ == "__main__"``, too."""
    names = [f"{number:03}.png" for number in range(70)]
    for number, name in enumerate(names):
        Image.fromarray(draw_head("Tapered", seed=number).image).save(tmp_path / name)
    script = tmp_path / "mine.py"
    script.write_text("import sys\nfrom madrnet_timm.cli import main\nmain(sys.argv[1:])\n")
    several = fresh_python(script, "measure", tmp_path, "--processes", 2)
    assert several.returncode == 0, several.stderr
    assert [row["file"][-7:] for row in csv.DictReader(several.stdout.splitlines())] == names
    assert several.stdout == madrnet("measure", tmp_path, "--processes", 1).stdout


def test_no_head_gives_empty_cells(madrnet, tmp_path):
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "flat.png")
    run = madrnet("measure", tmp_path)
    (row,) = csv.DictReader(run.stdout.splitlines())
    assert run.returncode == 0
    assert (row["ok"], row["flags"], row["aspect_ratio"], row["who_aspect_ratio"]) == ("False", "no_head", "", "")


def test_what_is_not_installed_is_one_line(fresh_python, heads):
    folder, _ = heads
    script = "import sys; sys.modules['datasets'] = None; from madrnet_timm.cli import main; main(sys.argv[1:])"
    run = fresh_python("-c", script, "data", "stats", "--dataset", "folder", "--data-dir", folder)
    assert run.returncode == 2
    assert run.stderr == "error: datasets is not installed; pip install 'madrnet-timm[train]'\n"


def test_what_a_training_needs_is_looked_for_before_it_begins(fresh_python, tmp_path):
    """What is used at its end, too. All verbs explain themselves without any of it."""
    script = """
import sys
from madrnet_timm import cli
for name in ("accelerate", "datasets", "evaluate", "filelock", "matplotlib", "scipy", "sklearn"):
    sys.modules[name] = None
cli.parser()
del sys.modules["accelerate"]
cli.main(sys.argv[1:])
"""
    for verb in ("train", "cross-validate", "quickstart"):
        run = fresh_python("-c", script, verb, "--output", tmp_path / "run")
        assert run.returncode == 2
        assert run.stderr == "error: datasets is not installed; pip install 'madrnet-timm[train]'\n"
        assert run.stdout == ""
        assert not (tmp_path / "run").exists()


def test_an_unknown_option_names_the_help_of_its_verb(madrnet):
    run = madrnet("distill", "runs/a", "--no-such", "more")
    assert run.returncode == 2
    assert run.stderr == "error: unrecognized arguments: --no-such more; madrnet distill --help explains all\n"


def test_a_misspelt_value_is_one_line_that_names_the_others(madrnet):
    run = madrnet("train", "--augmentation", "wild")
    assert run.returncode == 2
    assert "argument --augmentation: invalid choice: 'wild' (choose from" in run.stderr
    assert "medium" in run.stderr
    assert run.stderr.endswith("madrnet train --help explains all\n")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["measure", "nowhere.png"], "nowhere.png: no such file"),
        (["measure", "{crops}", "--um-per-px", "0"], "--um-per-px 0: expected micrometres"),
        (["measure", "{crops}", "--output", "heads.xlsx"], "ends in .csv or .parquet"),
        (["measure", "{crops}", "--output", "no/such/folder.csv"], "no folder no/such"),
        (["measure", "{crops}", "--processes", "0"], "--processes 0"),
    ],
)
def test_mistakes_are_one_line(madrnet, heads, args, words):
    folder, _ = heads
    run = madrnet(*(arg.format(crops=folder) for arg in args))
    assert run.returncode == 2
    assert words in run.stderr
    assert run.stderr.count("\n") == 1
    assert run.stdout == ""
