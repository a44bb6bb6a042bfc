"""metrics.json and summary.json: what is written is read again, older files too, others are refused in one line."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.results import Metrics, Summary
from madrnet_timm.evaluation.summary import summarize_predictions

STORED = sorted((Path(__file__).parents[2] / "hub").glob("*/summary.json"))


def summary(folds=(0, 1), seeds=(0, 1)):
    rng = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        for number, p in enumerate(rng.dirichlet([1, 1], 12)):
            place = {"seed": seed, "fold": folds[number % len(folds)], "label": "ab"[number // 2 % 2]}
            rows.append(place | {"prediction": "ab"[p.argmax()], "p_a": p[0], "p_b": p[1]})
    controls = {(seed, fold): {"background": 0.5} for seed in seeds for fold in folds}
    return summarize_predictions(rows, ["a", "b"], controls)


def written(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("folds", [(0, 1), (3,)])  # a single fold has no spread: NaN stands in the file
def test_what_is_written_is_read_again(folds, tmp_path):
    made = summary(folds)
    read = Summary.read(written(tmp_path / "summary.json", made.to_dict()))
    assert json.dumps(read.to_dict()) == json.dumps(made.to_dict())
    assert (read.seeds, read.images, read.controls) == ([0, 1], 12, {"background": 0.5})
    assert math.isnan(read.sd["accuracy"]) == (len(folds) == 1)
    metrics = Metrics.read(written(tmp_path / "metrics.json", made.pooled.to_dict() | {"controls": {"background": 1}}))
    assert (metrics.names, metrics.controls) == (["a", "b"], {"background": 1})
    assert metrics.confusion_matrix == made.pooled.confusion_matrix


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_summaries_that_are_stored_are_read_as_they_are(path):
    """Until 0.1 they called the images pictures."""
    stored = json.loads(path.read_text())
    expected = {("images" if key == "pictures" else key): value for key, value in stored.items()}
    assert json.dumps(Summary.read(path).to_dict()) == json.dumps(expected)


def test_what_older_files_lack_is_none_and_what_newer_ones_have_is_ignored(tmp_path):
    content = summary().pooled.to_dict() | {"new": [1]}
    del content["auc"], content["calibration_error"]
    found = Metrics.read(written(tmp_path / "metrics.json", content))
    assert (found.auc, found.calibration_error, found.controls) == (None, None, {})


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("mean", "accuracy"), None, "summary.json: mean: accuracy is missing; expected a number from 0 to 1"),
        (("mean", "f1"), 1.5, "summary.json: mean: f1 = 1.5; expected a number from 0 to 1"),
        (("sd", "f1"), "x", "summary.json: sd: f1 = 'x'; expected a number"),
        (("folds",), [], "summary.json: folds = []; expected a list of the folds' figures"),
        (("folds", 1), 3, "summary.json: folds: expected an object in braces, found 3"),
        (("folds", 1, "fold"), -1, "summary.json: folds: fold = -1; expected a whole number"),
        (("images",), None, "summary.json: images is missing; expected a whole number"),
        (("images",), 0, "summary.json: images = 0; expected a whole number from 1"),
        (("pooled", "per_class"), None, "summary.json: pooled: per_class = None; expected the figures of each class"),
        (("pooled", "per_class", "a", "support"), 0.5, "pooled: per_class: a: support = 0.5; expected a whole number"),
        (("pooled", "confusion_matrix"), [[1]], r"pooled: confusion_matrix = [[1]]; expected 2 rows of 2 counts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(keys, value, words, tmp_path):
    content = copy.deepcopy(summary().to_dict())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(InputError) as caught:
        Summary.read(written(tmp_path / "summary.json", content))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_what_is_no_object_is_refused(text, tmp_path):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json: (not JSON|expected an object in braces)"):
        Metrics.read(tmp_path / "metrics.json")
