"""``--views both``: trained on two views, measured and used by the mean of both."""

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from madrnet_timm.inference import Classifier

from .conftest import SMALL, rows


def test_what_was_measured_is_what_the_model_says(tmp_path, heads, train_command):
    args = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--pipeline", "aligned-normalized", "--epochs", "1"]
    assert train_command(*args, "--views", "both", "--output", tmp_path / "both") == 0
    table = rows(tmp_path / "both" / "predictions.csv")
    classifier = Classifier(tmp_path / "both" / "model")
    assert classifier.folder.info.second_view == "raw"
    assert classifier.folder.info.mixed_views
    prepared = [classifier.prepare(np.asarray(Image.open(heads / row["file"]))) for row in table]
    measured = np.array([[float(row[f"p_{name}"]) for name in classifier.label_names] for row in table])
    np.testing.assert_allclose(classifier.answers(prepared), measured, atol=2e-6)
    alone = classifier.probabilities([item.view for item in prepared])
    assert np.abs(alone - measured).max() > 5e-5
    card = (tmp_path / "both" / "model" / "README.md").read_text()
    assert "by `raw`: a prediction is the mean of the two, at twice the cost below" in card
    assert "These are the logits of one view of the image." in card


def test_it_trains_as_mixed_views_do_where_these_are_the_same(tmp_path, heads, train_command):
    args = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--pipeline", "aligned-normalized", "--epochs", "1"]
    for views in ("mixed", "both"):
        assert train_command(*args, "--views", views, "--output", tmp_path / views) == 0
    one, other = (load_file(tmp_path / views / "model" / "model.safetensors") for views in ("mixed", "both"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_pipeline_that_is_the_second_view_is_refused(tmp_path, heads, train_command, capsys):
    args = ["--dataset", "folder", "--data-dir", heads, *SMALL, "--pipeline", "raw", "--views", "both"]
    assert train_command(*args, "--output", tmp_path / "run") == 2
    assert "--views both with --pipeline raw" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
