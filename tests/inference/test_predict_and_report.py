"""`madrnet predict`, `report`, `explain`, `export` and `tsne` as a user runs them, and the same from Python."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from madrnet_timm.data.reading import pixel_sha256
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.calibration import tempered
from madrnet_timm.evaluation.domain import outside_ranges
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.hub.model_info import ModelInfo
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.decision import decision_rule
from madrnet_timm.inference.explain import attention_figure, attention_overlays, embed, title_of, tsne
from madrnet_timm.inference.predict import predict_files
from madrnet_timm.inference.results import read_results, write_results
from madrnet_timm.morphology import measure


@pytest.fixture(scope="module")
def predicted(madrnet, model_dir, crops, tmp_path_factory):
    output = tmp_path_factory.mktemp("results") / "results.csv"
    run = madrnet("predict", crops, "--model", model_dir, "--output", output, "--um-per-px", 0.1)
    return run, output


def test_predict_is_the_model_on_the_prepared_image(predicted, model_dir, crops):
    run, output = predicted
    assert run.returncode == 1  # a file is skipped
    with output.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["file"] for row in rows] == [str(p) for p in sorted(crops.glob("head*.png"))] + [
        str(crops / "other_stain.png")
    ]
    classifier = Classifier(model_dir)
    model = timm.create_model(f"local-dir:{model_dir}", pretrained=True).eval()
    for row in rows[:4]:
        image = np.asarray(Image.open(row["file"]))
        with torch.inference_mode():
            raw = model(classifier.tensors([image])).softmax(1).numpy()
        expected = tempered(raw, 1.5)[0]
        found = [float(row[f"p_{name}"]) for name in classifier.label_names]
        assert found == pytest.approx(expected, abs=1e-5)
        assert row["prediction"] == classifier.label_names[int(expected.argmax())]
        assert float(row["probability"]) == pytest.approx(expected.max(), abs=1e-5)
        assert row["abstain"] == str(bool(expected.max() < 0.4))
        lowest = np.where(np.arange(4) == expected.argmax(), 0, [0.2, 0.3, 0.15, 0.1])
        inside = [classifier.label_names[k] for k in np.argsort(-expected) if expected[k] >= lowest[k]]
        assert row["prediction_set"] == " / ".join(inside)
        assert float(row["entropy"]) == pytest.approx(-sum(p * math.log(p) for p in expected), abs=1e-4)
        head = measure(image, 0.1)
        assert float(row["aspect_ratio"]) == pytest.approx(head.aspect_ratio, rel=1e-5)
        assert float(row["length_um"]) == pytest.approx(0.1 * head.length)
        assert row["pixel_sha256"] == pixel_sha256(image)


def test_predict_lists_what_it_skips(predicted):
    run, output = predicted
    assert "broken.png: can't read it as an image" in run.stderr
    assert "found 15 images: 1 field of view, 13 crops\n" in run.stderr
    assert "field.png: no heads found: " in run.stderr
    assert "Traceback" not in run.stderr
    info = json.loads(output.with_name("results.csv.json").read_text())
    assert len(info["skipped"]) == 1
    assert [(field["width"], field["heads"], bool(field["reason"])) for field in info["fields"]] == [(1600, 0, True)]
    assert (info["normal_class"], info["um_per_px"]) == ("Normal", 0.1)


def test_predict_says_what_is_promised(predicted, model_dir, crops, tmp_path):
    """The model's own promise, another one, and a threshold of one's own, which promises nothing."""
    run, output = predicted
    assert "at most 6 % are wrong, with 95 % confidence, if they are like its held-out heads" in run.stderr
    own = read_results(output).info
    assert (own.threshold, own.promised_risk, own.promise_level, own.set_coverage) == (0.4, 0.06, 0.95, 0.95)
    for options, wanted in (({"risk": 0.2}, (0.0, 0.2, 0.95)), ({"threshold": 0.3}, (0.3, None, None))):
        classifier = Classifier(model_dir, **options)
        write_results(tmp_path / "r.csv", predict_files([crops / "head00.png"], classifier), classifier)
        info = read_results(tmp_path / "r.csv").info
        assert (info.threshold, info.promised_risk, info.promise_level) == wanted


@pytest.mark.parametrize("bound", [0.055, 0.4])
def test_predict_says_where_cells_are_too_few_to_promise(madrnet, model_dir, crops, bound, tmp_path):
    """Not where a person wants less to be promised than could be."""
    folder = shutil.copytree(model_dir, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for candidate in config["madrnet"]["guarantee"]["candidates"]:
        candidate["bound"] = max(candidate["bound"], bound)
    (folder / "config.json").write_text(json.dumps(config))
    run = madrnet("predict", crops / "head00.png", "--model", folder, "--risk", "0.4", "--output", tmp_path / "r.csv")
    assert "at most 40 % are wrong" in run.stderr
    few = "; its 180 held-out cells are too few to promise less: look at all heads)"
    assert (few in run.stderr) == (bound == 0.4)


def test_what_can_not_be_promised(model_dir):
    with pytest.raises(InputError, match=r"risk 0\.01: .* 180 held-out cells are too few .* the least .* is 0\.055"):
        Classifier(model_dir, risk=0.01)
    with pytest.raises(InputError, match="expected one of the two"):
        Classifier(model_dir, threshold=0.5, risk=0.1)
    with pytest.raises(InputError, match=r"risk 7: expected a number from 0 to 1"):
        Classifier(model_dir, risk=7)
    with pytest.raises(InputError, match="comes without a guarantee"):
        decision_rule(ModelInfo(), risk=0.1)
    assert decision_rule(ModelInfo()) == (None, None)


def test_another_stain_is_out_of_domain(predicted):
    results = read_results(predicted[1])
    by_name = {row["file"].rsplit("/")[-1]: row for row in results.rows}
    assert "background_red_green" in by_name["other_stain.png"]["out_of_domain"]
    assert sum(bool(row["out_of_domain"]) for row in results.rows) <= 4


def test_outside_ranges():
    ranges = {"a": [0, 1], "b": [2, 3]}
    assert outside_ranges({"a": 0.5, "b": 3.5}, ranges) == ["b"]
    assert outside_ranges({"a": None, "b": 2}, ranges) == []


def test_python_gives_the_same(predicted, model_dir):
    rows = read_results(predicted[1]).rows
    for row, prediction in zip(rows, Classifier(model_dir)([row["file"] for row in rows], batch_size=5), strict=True):
        assert prediction.label == row["prediction"]
        assert prediction.probabilities["Normal"] == pytest.approx(row["p_Normal"], abs=1e-5)
        assert prediction.abstain == row["abstain"]
        assert " ".join(prediction.out_of_domain) == (row["out_of_domain"] or "")


def test_parquet_and_onnx_give_the_same(madrnet, predicted, model_dir, crops, tmp_path):
    pytest.importorskip("onnxruntime")
    output = tmp_path / "results.parquet"
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = madrnet("predict", crops, "--model", model_dir, "--output", output, "--backend", "onnx", **cache)
    assert run.returncode == 1, run.stderr
    assert len(list((tmp_path / "cache").rglob("*.onnx"))) == 1
    for a, b in zip(read_results(output).rows, read_results(predicted[1]).rows, strict=True):
        assert a["prediction"] == b["prediction"]
        assert a["p_Normal"] == pytest.approx(b["p_Normal"], abs=1e-4)
        assert a["aspect_ratio"] == pytest.approx(b["aspect_ratio"], rel=1e-5)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["predict", "{crops}", "--model", "nowhere"], "nowhere: no such model"),
        (["predict", "nothing.png", "--model", "{model}"], "nothing.png: no such file"),
        (["predict", "{crops}", "--model", "{model}", "--output", "r.xlsx"], "ends in .csv or .parquet"),
        (["predict", "{crops}", "--model", "{model}", "--output", "/proc/r.csv"], "/proc/r.csv: can't be written"),
        (["predict", "{crops}", "--model", "{model}", "--output", "r" * 252 + ".csv"], "can't be written (File name"),
        (["predict", "{crops}", "--model", "{model}", "--output", "r" * 250 + ".csv"], "can't be written (File name"),
        (["predict", "{crops}", "--model", "{model}", "--output", "r.parquet", "--excel"], "leave --excel out"),
        (["predict", "{crops}", "--model", "{model}", "--resume"], "--resume: finished rows lie beside a table"),
        (["predict", "{crops}", "--model", "{model}", "--threshold", "1,1"], "--threshold 1.1: expected a probability"),
        (["predict", "{crops}", "--model", "{model}", "--risk", "5"], "--risk 5: expected a share between 0 and 1"),
        (["predict", "{crops}", "--model", "{model}", "--risk", "0.1", "--threshold", "0.9"], "give one of the two"),
        (["predict", "{crops}", "--model", "{model}", "--um-per-px", "10"], "did you mean 0.1?"),
        (["predict", "{crops}", "--model", "{model}", "--um-per-px", "inf"], "--um-per-px inf: expected micrometres"),
        (["measure", "{crops}", "--um-per-px", "nan"], "--um-per-px nan: expected micrometres"),
        (["measure", "{crops}", "--um-per-px", "1e200"], "--um-per-px 1e+200: expected micrometres"),
        (
            ["predict", "{crops}", "--model", "{model}", "--um-per-px", "1e-300"],
            "--um-per-px 1e-300: expected micrometres",
        ),
        (["measure", "{crops}", "--um-per-px", "10"], "did you mean 0.1?"),
        (["measure", "{crops}", "--overlay", "{crops}"], "--overlay {crops}: lies in {crops}, so what is written"),
        (
            ["predict", "{crops}", "--model", "{model}", "--crops", "{crops}/heads"],
            "--crops {crops}/heads: lies in {crops}, so what is written would be taken for images",
        ),
        (["explain", "{crops}", "--model", "{model}", "--output", "{crops}/x"], "choose a folder beside it"),
        (["measure", "{crops}/*", "--overlay", "{crops}/x"], "--overlay {crops}/x: lies in {crops}/*, so what"),
        (
            ["predict", "{crops}", "--model", "{model}", "--device", "meta"],
            "--device meta: computes nothing; expected cpu",
        ),
        (["predict", "{crops}", "--model", "{model}", "--device", "x"], "--device x: "),
        (["report", ""], "'.': a folder; expected a table"),
        (
            ["measure", "{crops}/head00.png", "--overlay", "{crops}/head00.png"],
            "--overlay {crops}/head00.png: no folder to write",
        ),
        (["measure", "{crops}", "--output", "nowhere/r.csv"], "nowhere/r.csv: no folder nowhere; make it first"),
        (["predict", "{crops}", "--model", "{model}", "--batch-size", "0"], "--batch-size 0"),
        (["predict", "{crops}", "--model", "{crops}"], "config.json is missing"),
        (["predict", "{crops}", "--model", "{model}", "--device", "gpu"], "--device gpu"),
        (["report", "nowhere.csv"], "nowhere.csv: no such table"),
        (
            ["explain", "{crops}", "--model", "{model}", "--output", "/proc/x"],
            "--output /proc/x: no folder to write to",
        ),
        (["export", "--model", "{model}", "--output", "/proc/x.onnx"], "--output /proc/x.onnx: can't be written"),
        (["tsne", "--dataset", "synthetic", "--model", "{model}", "--output", "/proc/x"], "/proc/x: can't be written"),
        (["report", "r.csv", "--output", "r.csv"], "r.csv: expected a name that ends in .html"),
        (["export", "--model", "{model}", "--output", "model.pt"], "ends in .onnx"),
        (
            ["explain", "{crops}", "--model", "madrnet_resnet50.x", "--output", "x"],
            "of this name are published; expected",
        ),
    ],
)
def test_mistakes_are_one_line(madrnet, args, words, model_dir, crops, tmp_path):
    run = madrnet(*(arg.format(crops=crops, model=model_dir) for arg in args))
    assert run.returncode == 2
    assert words.format(crops=crops) in run.stderr
    assert re.sub(r"^found \d+ images.*\n", "", run.stderr).count("\n") == 1


def test_damaged_model_folders(model_dir, tmp_path):
    import shutil

    def copy(name):
        shutil.copytree(model_dir, tmp_path / name)
        return tmp_path / name

    folder = copy("no weights")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin: a pickled checkpoint, which is never opened"):
        Classifier(folder)
    folder = copy("config")
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        Classifier(folder)
    folder = copy("other size")
    config = json.loads((folder / "config.json").read_text())
    config["num_classes"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="do not fit"):
        Classifier(folder)


def test_a_table_without_its_companion(predicted, tmp_path):
    (tmp_path / "alone.csv").write_text(predicted[1].read_text())
    with pytest.raises(InputError, match=r"alone.csv.json: missing; `madrnet predict` writes it"):
        read_results(tmp_path / "alone.csv")


def test_explain_says_what_is_to_be_doubted(model_dir, crops):
    (head,) = Classifier(model_dir, threshold=0)([crops / "head00.png"])
    said = f"{head.label}  {100 * max(head.probabilities.values()):.0f} %"
    assert title_of(replace(head, out_of_domain=())) == said
    assert (
        title_of(replace(head, abstain=True, out_of_domain=("hue",))) == f"{said}\nabstains\nunlike its training images"
    )
    (blank,) = Classifier(model_dir)([np.full((131, 131, 3), 200, np.uint8)])
    assert title_of(blank) == "no head, so no class"


@pytest.mark.parametrize("lines", [1, 3])
def test_explain_cuts_no_title(model_dir, lines, tmp_path):
    """The first rows of the figure are its margin, also where reasons for doubt stand below the class."""
    classifier = Classifier(model_dir, threshold=0)
    prepared = [classifier.prepare(draw_head("Normal", 1).image)]
    (found,) = classifier.predict(prepared)
    found = replace(found, abstain=lines == 3, out_of_domain=("hue",) if lines == 3 else ())
    assert title_of(found).count("\n") == lines - 1
    attention_figure(prepared, [found], attention_overlays(classifier, prepared), tmp_path / "f.png")
    dark = (np.asarray(Image.open(tmp_path / "f.png").convert("L")) < 128).any(axis=1)
    above = np.flatnonzero(dark)[0]
    assert above > 3
    assert dark[above : above + 15 * lines].any()


def test_explain_draws_the_stages(madrnet, model_dir, crops, tmp_path):
    run = madrnet("explain", crops / "head00.png", crops / "broken.png", "--model", model_dir, "--output", tmp_path)
    assert run.returncode == 1
    assert "broken.png" in run.stderr
    with Image.open(tmp_path / "head00.png.png") as image:
        assert image.width > 3 * image.height  # four columns


def test_embeddings_and_tsne(model_dir):
    model = ModelFolder(model_dir).load()
    x = torch.randn(40, 3, 64, 64)
    found = embed(model, x, batch_size=16)
    with torch.inference_mode():
        assert found == pytest.approx(model.forward_head(model.forward_features(x), pre_logits=True).numpy(), abs=1e-4)
    # two clouds far apart stay apart
    clouds = np.concatenate([np.random.default_rng(k).normal(20 * k, 1, (30, 8)) for k in range(2)]).astype(np.float32)
    points = tsne(clouds)
    middle = [points[:30].mean(0), points[30:].mean(0)]
    spread = max(points[:30].std(), points[30:].std())
    assert np.linalg.norm(middle[0] - middle[1]) > 2 * spread
    assert np.array_equal(points, tsne(clouds))
    with pytest.raises(InputError, match="needs more of them"):
        tsne(clouds[:15])
