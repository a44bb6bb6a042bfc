"""The quickstart: drawn classes can be told apart, so a network that learned them must do so."""

import pytest

from madrnet_timm.cli import parser
from madrnet_timm.data.sources import class_names, images_of, load
from madrnet_timm.inference import Classifier
from madrnet_timm.quickstart import options
from madrnet_timm.training.train import train


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nearly_all_heads_that_it_has_never_seen_are_right(seed, tmp_path):
    """On the fold held out, whose heads differ with the seed, and on heads drawn anew."""
    metrics = train(options(tmp_path / "run", parser().parse_args(["quickstart"]).epochs, seed))
    assert metrics.accuracy >= 0.95
    others = load("synthetic", count=25, seed=1)
    names = class_names(others)
    predictions = Classifier(tmp_path / "run" / "model")(list(images_of(others)))
    right = [p.label == names[label] for p, label in zip(predictions, others["label"], strict=True)]
    assert sum(right) >= 0.95 * len(right)
