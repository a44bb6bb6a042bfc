"""Temperature, calibration error; share of normal heads: against formulas and simulation."""

import math
from pathlib import Path

import numpy as np
import pytest

from madrnet_timm.evaluation.calibration import (
    calibrate,
    cross_fitted,
    expected_calibration_error,
    fitted_temperature,
    tempered,
)
from madrnet_timm.evaluation.prevalence import (
    normal_share,
    replicate_check,
    rogan_gladen,
    sensitivity_specificity,
)
from madrnet_timm.files import read_csv

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def simulated(temperature, n=4000, classes=4, seed=0):
    """Labels drawn from known probabilities, and the same made too sure by a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in true])
    sharp = np.exp(logits * temperature)
    return sharp / sharp.sum(1, keepdims=True), true, labels


def test_tempered_divides_the_logits():
    p = np.array([[0.7, 0.2, 0.1]])
    expected = p**0.5 / (p**0.5).sum()
    assert tempered(p, 2) == pytest.approx(expected)
    assert tempered(p, 1) == pytest.approx(p)
    assert np.isfinite(tempered([[1.0, 0.0]], 3)).all()


def test_calibration_finds_the_temperature_that_was_put_in():
    sharp, _, labels = simulated(2.5)
    found = calibrate(sharp, labels, np.arange(len(labels)))
    assert found.temperature == pytest.approx(2.5, rel=0.06)
    assert found.calibration_error < 0.03 < expected_calibration_error(sharp, labels)


def test_a_temperature_stays_moderate_where_every_image_is_right():
    """The likelihood alone has no maximum there."""
    found = []
    for images in (40, 400):
        labels = np.arange(images) % 4
        p = np.full((images, 4), 0.02)
        p[np.arange(images), labels] = 0.94
        found.append(fitted_temperature(p, labels))
    assert 0.3 < found[1] < found[0] < 0.8  # the surer, the more images say so


def log_loss(p, labels, temperature):
    return -np.log(np.clip(tempered(p, temperature)[np.arange(len(labels)), labels], 1e-7, None)).mean()


@pytest.mark.parametrize("run", ["hushem-b0", "hushem-mixed", "hushem-small-both", "hushem-teachers"])
def test_the_temperature_of_one_fold_fits_the_others(run):
    """Better than none, and than the one of highest likelihood; of each run one fold or more has every image right."""
    rows = [row for row in read_csv(RESULTS / f"{run}.csv") if row["seed"] == "0"]
    names = sorted(key.removeprefix("p_") for key in rows[0] if key.startswith("p_"))
    p = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    labels, folds = np.array([names.index(row["label"]) for row in rows]), np.array([row["fold"] for row in rows])
    losses = {"fitted": [], "none": [], "likeliest": []}
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        tried = np.exp(np.linspace(-2, 2, 201))
        temperatures = {
            "fitted": fitted_temperature(p[own], labels[own]),
            "none": 1.0,
            "likeliest": tried[np.argmin([log_loss(p[own], labels[own], t) for t in tried])],
        }
        for name, temperature in temperatures.items():
            losses[name].append(log_loss(p[others], labels[others], temperature))
    means = {name: np.mean(values) for name, values in losses.items()}
    assert means["fitted"] < 0.98 * min(means["none"], means["likeliest"])


def test_no_image_is_calibrated_by_its_own_cell():
    """What a cell's images say about themselves changes nothing of their own probabilities, but those of the others."""
    sharp, _, labels = simulated(2.0, n=200)
    groups = np.arange(200) // 2
    before, own = cross_fitted(sharp, labels, groups), np.isin(groups, [3])
    wrong = np.where(own, (labels + 1) % 4, labels)
    after = cross_fitted(sharp, wrong, groups)
    assert np.array_equal(before[own], after[own])
    changed = (before != after).any(axis=1)
    assert 0.6 < changed.mean() < 0.95  # the four other parts


def test_without_images_the_temperature_is_one():
    assert fitted_temperature(np.empty((0, 4)), []) == 1
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert cross_fitted(p, [0, 1], [7, 7]) == pytest.approx(p)  # of one cell: no others to learn from


def test_calibration_error_by_hand():
    p = [[0.95, 0.05], [0.95, 0.05], [0.25, 0.75], [0.65, 0.35]]
    labels = [0, 1, 1, 0]
    # bins of width 0.1: two images at 0.95 (half right), one at 0.75 (right), one at 0.65 (right)
    assert expected_calibration_error(p, labels) == pytest.approx((2 * 0.45 + 0.25 + 0.35) / 4)


def test_share_of_normal_heads_known_values():
    share = normal_share(8, 200)
    assert (share.share, round(share.low, 3), round(share.high, 3)) == (0.04, 0.020, 0.077)
    assert [round(v, 3) for v in (normal_share(16, 400).low, normal_share(16, 400).high)] == [0.025, 0.064]


def test_sensitivity_and_specificity():
    confusion = [[8, 2, 0], [1, 17, 2], [0, 0, 20]]
    assert sensitivity_specificity(confusion, 0) == pytest.approx((0.8, 39 / 40))
    with pytest.raises(ValueError, match="no normal heads"):
        sensitivity_specificity([[0, 0], [1, 3]], 0)


def test_rogan_gladen_undoes_a_classifiers_errors():
    for true in (0.04, 0.3, 0.9):
        seen = true * 0.9 + (1 - true) * (1 - 0.95)
        assert rogan_gladen(seen, 0.9, 0.95) == pytest.approx(true)
    assert rogan_gladen(0.01, 0.9, 0.95) == 0
    assert rogan_gladen(0.5, 0.5, 0.5) is None


@pytest.mark.parametrize(("percent", "limit"), [(1, 1.95), (2, 2.7), (4, 3.8), (8, 5.3), (50, 9.8)])
def test_replicates_have_the_manuals_limits(percent, limit):
    share = normal_share(2 * percent, 200)
    difference, allowed, agree = replicate_check(share, share)
    assert (difference, agree) == (0, True)
    assert round(100 * allowed, 1 if limit > 1.95 else 2) == limit


def test_replicates_of_unequal_size():
    a, b = normal_share(10, 200), normal_share(30, 220)
    difference, limit, agree = replicate_check(a, b)
    p = 40 / 420
    assert limit == pytest.approx(1.96 * math.sqrt(p * (1 - p) * (1 / 200 + 1 / 220)))
    assert difference == pytest.approx(30 / 220 - 0.05)
    assert agree is False
