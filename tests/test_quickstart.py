"""The quickstart: drawn classes can be told apart, so a network that learned them must do so."""

import re

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.cli import parser
from madrnet_timm.data.sources import class_names, images_of, load
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.results import read_results
from madrnet_timm.quickstart import _find, quickstart_config
from madrnet_timm.training.train import train
from tests.inference.conftest import write_model


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_nearly_all_heads_that_it_has_never_seen_are_right(seed, tmp_path):
    """On the fold held out, whose heads differ with the seed, and on heads drawn anew."""
    metrics = train(quickstart_config(tmp_path / "run", parser().parse_args(["quickstart"]).epochs, seed))
    assert metrics.accuracy >= 0.95
    others = load("synthetic", count=25, seed=1)
    names = class_names(others)
    predictions = Classifier(tmp_path / "run" / "model")(list(images_of(others)))
    right = [p.label == names[label] for p, label in zip(predictions, others["label"], strict=True)]
    assert sum(right) >= 0.95 * len(right)


def test_it_leaves_a_field_with_its_marks_table_and_report(tmp_path, capsys):
    _find(Classifier(write_model(tmp_path / "model")), tmp_path / "field.png")
    results = read_results(tmp_path / "field.csv")
    (field,) = results.info.fields
    assert field.at_border == 1
    assert field.heads == len(results.rows) == 13
    said = capsys.readouterr().out
    assert re.search(r"found 12 of 12 whole heads, (\d|1[0-2]) of them with their class", said)
    drawn, marked = (np.asarray(Image.open(tmp_path / name)) for name in ("field.png", "field-heads.png"))
    differs = (drawn != marked[: len(drawn)]).any(axis=2)
    assert all(differs[row["y0"] : row["y1"], row["x0"] : row["x1"]].any() for row in results.rows)
    assert np.mean(differs) < 0.1
    assert "field.png" in (tmp_path / "field.html").read_text(encoding="utf-8")
