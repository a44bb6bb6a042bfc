"""Few labelled heads: draws, counts, the command, and what is stored."""

import csv
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from examples.studies.few_labels import (
    Images,
    accuracy,
    counted,
    draw,
    frozen_features,
    normal_or_not,
    part_of,
    per_draw,
)
from madrnet_timm.data.normalization import normalized
from madrnet_timm.data.sources import class_names, load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.controls import linear_model, shape_features
from madrnet_timm.hub.model_folder import ModelFolder
from tests.inference.conftest import write_model
from tests.tools.counting import stored

SCRIPT = "studies/few_labels.py"


@pytest.fixture(scope="module")
def records():
    """Two classes; cells of one, two or three images, one of them with both labels."""
    from datasets import ClassLabel, Dataset, Features, Value

    groups = [0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9]
    rows = {
        "label": [0] * 8 + [1] * 7 + [0],
        "group": groups,
        "file": [f"{k}.png" for k in range(16)],
        "pixel_sha256": [f"{(7 * k) % 16:02d}" for k in range(16)],
    }
    features = {"label": ClassLabel(names=["a", "b"]), "group": Value("int32")}
    return Dataset.from_dict(rows, Features(features | {"file": Value("string"), "pixel_sha256": Value("string")}))


@pytest.mark.parametrize("seed", range(5))
def test_no_cell_lies_on_both_sides(records, seed):
    groups, labels = np.array(records["group"]), np.array(records["label"])
    found = draw(records, 3, seed)
    assert Counter(labels[found.labelled].tolist()) == {0: 3, 1: 3}
    assert len(set(groups[found.labelled])) == 6
    others = [k for k in range(16) if groups[k] not in groups[found.labelled]]
    assert sorted(found.measured) == others
    assert set(draw(records, 2, seed).labelled) < set(found.labelled)


def test_a_draw_goes_by_the_pixels(records):
    turned = records.select(range(15, -1, -1))
    for seed in range(3):
        files = [{rows["file"][k] for k in draw(rows, 2, seed).labelled} for rows in (records, turned)]
        assert files[0] == files[1]
    assert sorted(part_of(records, 5)["file"]) == sorted(part_of(turned, 5)["file"])
    assert part_of(records, 99)["file"] == records["file"]
    assert len({tuple(draw(records, 2, seed).labelled) for seed in range(5)}) > 1


def test_too_many_heads(records):
    with pytest.raises(InputError, match=r"--heads 6: the class [ab] has fewer cells"):
        draw(records, 6, 0)


def test_figures_by_counting():
    truth = ["Normal"] * 4 + ["bent"] * 2 + ["debris"] * 4
    said = ["Normal", "Normal", "Normal", "bent", "bent", "debris", "debris", "debris", "Normal", "bent"]
    rows = counted(10, 2, "embedding", truth, said)
    assert sum(row["images"] for row in rows) == 10
    assert accuracy(rows) == pytest.approx(60)
    assert normal_or_not(rows, "Normal", "debris") == pytest.approx(100 * (3 / 4 + 2 / 2) / 2)
    found = per_draw(rows + counted(10, 3, "embedding", ["bent"], ["bent"]), accuracy)
    assert found == {("embedding", 10): {2: pytest.approx(60), 3: 100}}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "heads"
    for label, name in enumerate(("Normal", "Tapered")):
        (folder / name).mkdir(parents=True)
        for index in range(7):
            Image.fromarray(draw_head(name, 10 * label + index).image).save(folder / name / f"{index}.png")
    return folder


def test_frozen_features(heads, tmp_path):
    """The embedding is what the network gives without its classifier; the other what its backbone gives, averaged."""
    folder = ModelFolder(write_model(tmp_path / "model"))
    images = Images(load("folder", heads), folder)
    backbone, embedding = frozen_features(images)
    network = folder.load()
    batch = normalized(images.views, images.config["mean"], images.config["std"])
    with torch.inference_mode():
        own = network.backbone.forward_intermediates(batch, intermediates_only=True)[-1].mean(dim=(2, 3))
        logits = network.classifier(torch.from_numpy(embedding).float())
        torch.testing.assert_close(logits, network(batch), rtol=1e-3, atol=1e-3)
    assert np.abs(backbone - own.numpy()).max() < 1e-3


def test_the_command(example, heads, tmp_path):
    """Every way has its rows; what is done is not done again; misuse is a line."""
    out, work = tmp_path / "out.csv", tmp_path / "work"
    base = ("--model", write_model(tmp_path / "model"), "--dataset", "folder", "--data-dir", heads)
    base += ("--heads", 5, "--draws", 2, "--output", out, "--epochs", 1)
    for more, words in (
        (("--fine-tune", 1), "name a folder for them (--work)"),
        (("--heads", 4), "expected at least 5 heads"),
        (("--heads", 7), "no image is left to measure on"),
        (("--fine-tune", 3, "--work", work), "--draws 2: expected at least as many"),
    ):
        run = example(SCRIPT, *base, *more)
        assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
        assert words in run.stderr
    run = example(SCRIPT, *base, "--fine-tune", 1, "--work", work)
    assert run.returncode == 0, run.stderr
    with out.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    images = Counter()
    for row in rows:
        images[row["way"], row["draw"]] += int(row["images"])
    linear = ("shape and stain", "embedding", "backbone", "backbone, shape and stain")
    assert images == {(way, seed): 4 for way in linear for seed in "01"} | {("fine-tuned", "0"): 4}
    model = work / "fine-tuned-5-0" / "run" / "model" / "model.safetensors"
    assert {p.parent.name for p in (work / "fine-tuned-5-0" / "heads").glob("*/*.png")} == {"Normal", "Tapered"}
    before = model.stat().st_mtime_ns, out.read_bytes()
    run = example(SCRIPT, *base, "--fine-tune", 1, "--work", work)
    assert run.returncode == 0, run.stderr
    assert (model.stat().st_mtime_ns, out.read_bytes()) == before
    Image.fromarray(draw_head("Tapered", 99).image).save(heads / "Tapered" / "7.png")
    run = example(SCRIPT, *base)
    (heads / "Tapered" / "7.png").unlink()
    assert (run.returncode, "out.csv: was made of other images" in run.stderr) == (2, True)
    out.write_text("seed,fold\n0,0\n")
    run = example(SCRIPT, *base)
    assert (run.returncode, "out.csv: no table of this command" in run.stderr) == (2, True)


def test_stored_counts_of_shape_and_stain(hushem_dir):
    """docs/results/few-labels-hushem.csv, the way that needs no network, from the images."""
    records = load("hushem", hushem_dir)
    names, labels, features = class_names(records), np.array(records["label"]), shape_features(records)
    known = [row for row in stored("few-labels-hushem") if row["way"] == "shape and stain"]
    for heads, seed in sorted({(int(row["heads"]), int(row["draw"])) for row in known if int(row["draw"]) < 3}):
        drawn = draw(records, heads, seed)
        said = linear_model().fit(features[drawn.labelled], labels[drawn.labelled]).predict(features[drawn.measured])
        truth = [names[k] for k in labels[drawn.measured]]
        rows = counted(heads, seed, "shape and stain", truth, [names[k] for k in said])
        of_draw = [row for row in known if (int(row["heads"]), int(row["draw"])) == (heads, seed)]
        assert sum(row["images"] for row in rows) == sum(int(row["images"]) for row in of_draw)
        assert accuracy(rows) == pytest.approx(accuracy(of_draw), abs=1.5)  # another processor rounds otherwise
