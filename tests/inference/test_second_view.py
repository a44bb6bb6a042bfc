"""Models that take the mean of two views of a head: ``--views both``."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from examples.studies.test_time import CHANGES, changed, changed_heads, probabilities
from madrnet_timm import cli
from madrnet_timm.data.pipelines import prepare
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.export import export_onnx
from madrnet_timm.inference.mirrored import mirrored_probabilities


@pytest.fixture(scope="module")
def both_dir(model_dir, tmp_path_factory):
    folder = shutil.copytree(model_dir, tmp_path_factory.mktemp("both") / "model")
    config = json.loads((folder / "config.json").read_text())
    config["madrnet"] |= {"mixed_views": True, "second_view": "raw"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def images():
    return [draw_head(name, seed).image for seed, name in enumerate(("Normal", "Tapered", "Pyriform"))]


def by_hand(folder, images, change=lambda view: view):
    """Probabilities in float64: of each view, their mean, tempered."""
    model, config = ModelFolder(folder).load(), ModelFolder(folder).data_config
    shares = []
    for pipeline in ("aligned-normalized", "raw"):
        views = np.stack([change(prepare(image, pipeline, 64, 1.0)) for image in images]) / 255
        x = ((views - config["mean"]) / config["std"]).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            powers = np.exp(model(torch.from_numpy(x).float()).double().numpy())
        shares.append(powers / powers.sum(1, keepdims=True))
    return sum(shares) / 2


def test_studies_ask_about_both_views(both_dir, images, example, tmp_path):
    """`test_time` changes both; `generality`, which asks about one, says so."""
    prepared = Classifier(both_dir).prepare(images[0])
    found = list(changed_heads(prepared))
    assert len(found) == 2 + len(CHANGES)
    for one, view, second in zip(found, changed(prepared.view), changed(prepared.second), strict=True):
        assert np.array_equal(one.view, view)
        assert np.array_equal(one.second, second)
    (alone,) = {one.second for one in changed_heads(replace(prepared, second=None))}
    assert alone is None
    expected = [by_hand(both_dir, images[:1], change) for change in (np.asarray, lambda view: view[:, ::-1])]
    names = Classifier(both_dir).label_names
    assert Classifier(both_dir).answers(found[:2]) == pytest.approx(np.concatenate(expected), abs=1e-5)
    assert probabilities(both_dir, images, names).shape == (3, 4)
    (tmp_path / "Normal").mkdir()
    run = example("studies/generality.py", "--model", both_dir, "--dataset", "folder", "--data-dir", tmp_path)
    assert run.returncode == 2
    assert "a model of two views; expected one of one view" in run.stderr


def test_a_prediction_is_the_calibrated_mean_of_both(both_dir, model_dir, images):
    powers = by_hand(both_dir, images) ** (1 / 1.5)
    expected = powers / powers.sum(1, keepdims=True)
    found = np.array([list(one.probabilities.values()) for one in Classifier(both_dir)(images)])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    single = np.array([list(one.probabilities.values()) for one in Classifier(model_dir)(images)])
    assert np.abs(found - single).max() > 1e-4


def test_in_a_mirror_both_views_are_mirrored(both_dir, images):
    names = Classifier(both_dir).label_names
    expected = by_hand(both_dir, images, lambda view: view[:, ::-1])
    np.testing.assert_allclose(mirrored_probabilities(both_dir, images, names), expected, atol=1e-6)


def test_prepare_writes_both_views(both_dir, images, tmp_path, capsys):
    Image.fromarray(images[0]).save(tmp_path / "head.png")
    args = [str(tmp_path / "head.png"), "--model", str(both_dir), "--output", str(tmp_path / "prepared")]
    with pytest.raises(SystemExit) as ended:
        cli.main(["prepare", *args])
    assert ended.value.code == 0
    assert "the mean of the two" in capsys.readouterr().out
    for name, pipeline in (("head.png.png", "aligned-normalized"), ("head.png.raw.png", "raw")):
        written = np.asarray(Image.open(tmp_path / "prepared" / name))
        np.testing.assert_array_equal(written, prepare(images[0], pipeline, 64, 1.0))
    assert len(list((tmp_path / "prepared").iterdir())) == 2


def test_onnx_tells_the_second_view_and_refuses_to_calibrate_one(both_dir, tmp_path):
    with pytest.raises(InputError, match="mean of two views"):
        export_onnx(ModelFolder(both_dir), tmp_path / "model.onnx", probabilities=True)
    assert not list(tmp_path.iterdir())
    onnx = pytest.importorskip("onnx")
    export_onnx(ModelFolder(both_dir), tmp_path / "model.onnx")
    about = {item.key: item.value for item in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(about["second_view"]) == "raw"


@pytest.mark.parametrize("value", ["upside-down", 3, ""])
def test_an_unknown_second_view_is_refused(both_dir, tmp_path, value):
    folder = shutil.copytree(both_dir, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["madrnet"]["second_view"] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="second_view"):
        Classifier(folder)
