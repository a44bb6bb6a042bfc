"""Agreement of two readers."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from madrnet_timm.evaluation.agreement import agreement


def test_kappa_by_hand():
    """Cohen's own kind of table: 20 and 15 alike, 5 and 10 apart: (0.7 - 0.5) / (1 - 0.5)."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement(first, second)
    assert (found.same, found.total, found.share) == (35, 50, 0.7)
    assert found.kappa == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    names = np.array(["Normal", "Tapered", "Pyriform", "Amorphous"])
    first = names[rng.integers(0, 4, 60)]
    second = np.where(rng.random(60) < rng.random(), first, names[rng.integers(0, 3, 60)])
    found = agreement(first.tolist(), second.tolist())
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.share == np.mean(first == second)
    assert agreement(second.tolist(), first.tolist()) == found


def test_one_class_throughout_has_no_kappa():
    assert agreement(["Normal"] * 3, ["Normal"] * 3).kappa is None
    assert agreement(["Normal"] * 3, ["Tapered"] * 3).kappa == 0
    for first, second in (([], []), (["Normal"], [])):
        with pytest.raises(ValueError, match="the same number of both"):
            agreement(first, second)
