"""Metrics against counting by hand, intervals against scipy and known values, figures as PNG files."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from madrnet_timm.evaluation.calibration import expected_calibration_error
from madrnet_timm.evaluation.figures import confusion_matrix_figure, learning_curves_figure, mean_curves_figure
from madrnet_timm.evaluation.intervals import t_interval, wilson_interval
from madrnet_timm.evaluation.metrics import ClassificationMetrics, classification_metrics, with_probabilities
from madrnet_timm.evaluation.results import ClassMetrics

NAMES = ["Normal", "Tapered", "Pyriform"]
REFERENCES = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
PREDICTIONS = [0, 0, 1, 2, 1, 1, 0, 2, 2, 1]


def test_auc_by_counting_pairs():
    """Mean over classes of the share of (member, other) pairs in the right order, ties half."""
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 12).round(1)
    labels = [0, 1, 2, 0, 1, 2, 0, 0, 1, 0, 2, 1]
    areas = []
    for label in range(3):
        members, others = (
            [row[label] for row, y in zip(p, labels, strict=True) if (y == label) is own] for own in (True, False)
        )
        pairs = [(a > b) + 0.5 * (a == b) for a in members for b in others]
        areas.append(sum(pairs) / len(pairs))
    before = classification_metrics(p.argmax(1), labels, NAMES)
    found = with_probabilities(before, p, labels)
    assert found.auc == pytest.approx(sum(areas) / 3)
    assert found.calibration_error == expected_calibration_error(p, labels)
    assert found.confusion_matrix == before.confusion_matrix
    two = with_probabilities(before, p, [0, 1] * 6)  # nobody is of the third class
    assert two.auc != pytest.approx(sum(areas) / 3)
    assert with_probabilities(before, p, [1] * 12).auc is None


def test_metrics_by_counting():
    out = classification_metrics(PREDICTIONS, REFERENCES, NAMES)
    assert out.confusion_matrix == ((2, 1, 1), (1, 2, 0), (0, 1, 2))
    assert out.accuracy == pytest.approx(6 / 10)
    precision, recall = [2 / 3, 2 / 4, 2 / 3], [2 / 4, 2 / 3, 2 / 3]
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)]
    assert out.precision == pytest.approx(sum(precision) / 3)
    assert out.recall == pytest.approx(sum(recall) / 3)
    assert out.f1 == pytest.approx(sum(f1) / 3)
    for i, name in enumerate(NAMES):
        assert asdict(out.per_class[name]) == pytest.approx(
            {"precision": precision[i], "recall": recall[i], "f1": f1[i], "support": REFERENCES.count(i)}
        )


def test_class_that_is_absent_counts_as_zero():
    out = classification_metrics([0, 0], [0, 0], NAMES)
    assert out.accuracy == 1
    assert out.recall == pytest.approx(1 / 3)
    assert out.per_class["Pyriform"] == ClassMetrics(precision=0, recall=0, f1=0, support=0)


def test_metric_in_batches_is_the_metric_of_all():
    metric = ClassificationMetrics(NAMES, keep_in_memory=True)
    metric.add_batch(predictions=np.array(PREDICTIONS[:7]), references=np.array(REFERENCES[:7]))
    metric.add_batch(predictions=np.array(PREDICTIONS[7:]), references=np.array(REFERENCES[7:]))
    assert metric.compute() == classification_metrics(PREDICTIONS, REFERENCES, NAMES).to_dict()


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (8, 200), (16, 400), (208, 216)])
def test_wilson_is_scipys(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_known_values():
    assert [round(100 * v, 1) for v in wilson_interval(208, 216)] == [92.9, 98.1]
    with pytest.raises(ValueError, match="expected"):
        wilson_interval(3, 2)


def test_t_interval():
    mean, sd, half = t_interval([0.9, 0.8, 1.0, 0.85, 0.95])
    assert mean == pytest.approx(0.9)
    assert sd == pytest.approx(math.sqrt(0.025 / 4))
    assert half == pytest.approx(2.776445 * sd / math.sqrt(5), rel=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        t_interval([1.0])


def test_figures_are_png_files(tmp_path):
    history = [{"epoch": e, "loss": 1 / e, "loss_triplet": 0.5 / e, "accuracy": 0.5, "f1": 0.4} for e in (1, 2, 3)]
    learning_curves_figure(history, tmp_path / "curves.png")
    confusion_matrix_figure([[5, 1], [0, 7]], ["Normal", "Tapered"], tmp_path / "matrix.png")
    for name in ("curves.png", "matrix.png"):
        with Image.open(tmp_path / name) as image:
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_curves_of_one_epoch_are_points(tmp_path):
    """A line through one point would be nothing."""
    history = [{"epoch": 1, "loss": 1.2, "accuracy": 0.6, "f1": 0.3}]
    learning_curves_figure(history, tmp_path / "one.png")
    mean_curves_figure([history, history], tmp_path / "mean.png")
    for name in ("one.png", "mean.png"):
        image = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
        inside = image[: 2 * len(image) // 3, 2 * image.shape[1] // 3 : 5 * image.shape[1] // 6]  # beside the legend
        assert (np.ptp(inside, axis=2) > 60).sum() > 20, name
