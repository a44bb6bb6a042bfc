"""docs/onnx.md: its commands, and its program as it stands there, without PyTorch and without this package."""

import json
import re
import shlex
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.calibration import softmax, tempered
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.export import export_onnx

from ..inference.conftest import crops, model_dir  # noqa: F401
from .pages import ROOT, commands

PAGE = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('torch', 'timm', 'cv2', 'onnx', 'madrnet_timm')))\n"


@pytest.fixture(scope="module")
def place(fresh_python, model_dir, crops, tmp_path_factory):  # noqa: F811
    """A folder in which the page's commands were run, on a small model and drawn heads."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx")
    for command in commands("onnx"):
        words = [
            {"runs/crops/model": model_dir, "slide1-crops": crops}.get(word, word) for word in shlex.split(command)
        ]
        run = fresh_python("-m", "madrnet_timm.cli", *words[1:], cwd=folder)
        assert run.returncode == (1 if "prepare" in words else 0), run.stderr  # two of the files are no crops
    assert "skipped" in run.stderr
    return folder


def test_the_program_gives_what_predict_gives(place, model_dir, crops):  # noqa: F811
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    run = subprocess.run([sys.executable, "-c", WITHOUT + program], cwd=place, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = [line.split("\t") for line in run.stdout.splitlines()]
    paths = [crops / row[0].removesuffix(".png") for row in rows]
    assert len(paths) == 13
    for row, prediction in zip(rows, Classifier(model_dir)(paths), strict=True):
        assert row[1] == prediction.label
        assert float(row[2]) == pytest.approx(max(prediction.probabilities.values()), abs=2e-4)
        assert bool(row[3]) == prediction.abstain


@pytest.mark.parametrize("temperature", [0.7, 3.0])
def test_the_program_calibrates_sure_answers_as_predict_does(temperature):
    """Of a model whose logits lie far apart: what is below `LOWEST` counts as that."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    logits = np.array([[18.0, 0.0, -3.0, 1.0]], dtype=np.float32)
    calibrating = program[program.index("    powers = ") : program.index("    best = ")]
    known = {"np": np, "logits": logits, "temperature": temperature}
    exec(textwrap.dedent(calibrating), known)
    assert known["probabilities"] == pytest.approx(tempered(softmax(logits), temperature)[0], abs=1e-6)


def test_what_the_file_says_of_itself(place):
    import onnxruntime

    session = onnxruntime.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    for key in re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE):
        assert all(name in about for name in key.replace("`", "").split(", "))
    assert json.loads(about["label_names"]) == ["Normal", "Tapered", "Pyriform", "Amorphous"]
    assert (json.loads(about["mean"]), json.loads(about["input_size"])) == ([0.5] * 3, [3, 64, 64])
    assert (json.loads(about["temperature"]), json.loads(about["threshold"])) == (1.5, 0.4)
    assert (json.loads(about["risk"]), json.loads(about["set_thresholds"])) == (0.06, [0.2, 0.3, 0.15, 0.1])
    assert (about["color_order"], json.loads(about["value_range"])) == ("RGB", [0, 1])
    assert about["pipeline"] == "aligned-normalized"
    assert "head centred and upright" in about["pipeline_in_words"]
    assert "background colour mapped to a reference" in about["pipeline_in_words"]
    assert "Not in the graph" in about["preparation"]
    assert about["use"] == "Research use only; not a medical device"


def test_prepared_images_are_what_the_network_sees(place, fresh_python, model_dir, crops):  # noqa: F811
    view = Classifier(model_dir).transform.view(np.asarray(Image.open(crops / "head00.png")))
    assert np.array_equal(np.asarray(Image.open(place / "prepared" / "head00.png.png")), view)
    words = ("prepare", crops / "head00.png", "--model", model_dir, "--output", "arrays", "--format", "npy")
    run = fresh_python("-m", "madrnet_timm.cli", *words, cwd=place)
    assert run.stdout == "arrays: 1 image of 64×64 pixels, pipeline aligned-normalized\n", run.stderr
    assert np.array_equal(np.load(place / "arrays" / "head00.png.npy"), view)


def test_calibrated_probabilities_in_the_graph(model_dir, crops, tmp_path):  # noqa: F811
    onnxruntime = pytest.importorskip("onnxruntime")
    assert export_onnx(ModelFolder(model_dir), tmp_path / "p.onnx", probabilities=True) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].name == "probabilities"
    assert "calibrated" in session.get_modelmeta().custom_metadata_map["output"]
    classifier = Classifier(model_dir)
    paths = [crops / f"head{number:02}.png" for number in range(5)]
    (found,) = session.run(None, {"image": classifier.tensors(paths).numpy()})
    expected = [list(prediction.probabilities.values()) for prediction in classifier(paths)]
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_a_difference_that_is_no_number_is_refused(model_dir, tmp_path, monkeypatch):  # noqa: F811
    from madrnet_timm.inference import export

    class Broken:
        def run(self, names, inputs):
            return [np.full((len(inputs["image"]), 4), np.nan, np.float32)]

    monkeypatch.setattr(export, "_write", lambda model, example, output, metadata, path: path.write_bytes(b""))
    monkeypatch.setattr(export, "create_session", lambda path: Broken())
    with pytest.raises(InputError, match="differs from PyTorch by nan; not written"):
        export_onnx(ModelFolder(model_dir), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    assert torch.is_grad_enabled()
