"""Controls on planted confounds; comparisons against the formulas."""

from math import comb

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t, ttest_rel

from madrnet_timm.data.folds import make_folds
from madrnet_timm.data.sources import load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.evaluation.comparison import compare, compare_predictions, mcnemar
from madrnet_timm.evaluation.controls import CONTROLS, Controls, background_features, better_control, shape_features


def means(records, seed=0):
    controls, folds = Controls(records), make_folds(records, 3, seed)
    found = [controls.accuracies(folds != fold, folds == fold) for fold in range(3)]
    return {name: np.mean([row[name] for row in found]) for name in CONTROLS}


def write(root, shade):
    """24 round and 24 long heads, and a background whose colour ``shade`` makes of class and number."""
    for label, (name, shape) in enumerate((("long", "Tapered"), ("round", "Normal"))):
        (root / name).mkdir(parents=True)
        for number in range(24):
            head = draw_head(shape, 100 * label + number, debris=False)
            image = np.where(head.mask[..., None], head.image, np.uint8(shade(label, number)))
            Image.fromarray(image).save(root / name / f"{number:02}.png")
    return load("folder", root)


def test_a_control_that_is_better_than_the_model_is_said():
    from madrnet_timm.evaluation.summary import summarize_predictions, summary_table

    controls = {"background": 0.4, "shape and stain": 0.75}
    assert better_control(0.8, controls) == better_control(0.8, {}) == ""
    assert "“shape and stain” is right on 75.0 %, the model on 75.0 %" in better_control(0.75, controls)
    rows = [{"seed": 0, "fold": n % 2, "label": "ab"[n % 2], "prediction": "aabb"[n % 4]} for n in range(8)]
    for shape, said in ((0.4, False), (0.9, True)):
        controls = {(0, fold): {"background": 0.3, "shape and stain": shape} for fold in (0, 1)}
        table = summary_table(summarize_predictions(rows, "ab", controls))
        assert "control background: 30.0 ± 0.0 %" in table
        assert ("The control “shape and stain” is right on 90.0 %, the model on 50.0 %" in table) is said


def test_a_background_that_tells_the_class_is_found(tmp_path):
    found = means(write(tmp_path, lambda label, number: 180 + 20 * label + number % 7))
    assert found["background"] == 1
    assert found["shape and stain"] > 0.95
    assert found["largest class"] == pytest.approx(0.5, abs=0.1)


def test_a_background_that_tells_nothing(tmp_path):
    records = write(tmp_path, lambda label, number: 180 + number)
    found = means(records)
    assert found["background"] < 0.7
    assert found["shape and stain"] > 0.95


def test_probabilities_agree_with_what_is_said(tmp_path):
    """A class that is not trained on has none."""
    records = write(tmp_path, lambda label, number: 180 + number)
    controls, third = Controls(records), np.arange(len(records)) % 3 == 0
    controls.labels *= 2  # of three classes, the one in the middle has no images
    for control in CONTROLS:
        found = controls.probabilities(control, ~third, third, 3)
        assert found.shape == (third.sum(), 3)
        assert found.sum(1) == pytest.approx(np.ones(third.sum()))
        assert np.array_equal(found.argmax(1), controls.predict(control, ~third, third))
        assert (found[:, 1] == 0).all()


def test_the_background_holds_no_head():
    head = draw_head("Normal", 1, tail=False, debris=False)
    other = head.image.copy()
    other[head.mask] = 0
    assert np.array_equal(background_features(head.image), background_features(other))
    assert background_features(head.image).shape == (30,)
    assert np.isfinite(background_features(head.image[60:70, 60:70])).all()


def test_features_are_the_measurements():
    records = load("synthetic", count=3)
    features = shape_features(records)
    assert features.shape == (12, 12 + 20)
    assert features[:, 0] == pytest.approx(records["aspect_ratio"])
    assert features[4, 12:22] == pytest.approx(records["stain_profile"][4])


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 10), (1, 9), (5, 5)])
def test_mcnemar_is_the_binomial_tail(a, b):
    n = a + b
    tail = sum(comb(n, k) for k in range(min(a, b) + 1)) / 2**n
    assert mcnemar(a, b) == pytest.approx(min(2 * tail, 1))


def test_compare():
    first = {"a": 1.0, "b": 1.0, "c": 0.0, "d": 1 / 3, "e": 0.0}
    second = {"a": 1.0, "b": 0.0, "c": 1.0, "d": 2 / 3, "e": 2 / 3}
    folds = [0.8, 0.9, 0.85, 0.7], [0.9, 0.88, 0.95, 0.8]
    found = compare(first, second, *folds)
    assert (found.only_first, found.only_second) == (1, 3)
    assert found.mcnemar_p == mcnemar(1, 3)
    reference = ttest_rel(folds[1], folds[0])
    assert found.difference == pytest.approx(0.07)
    low, high = reference.confidence_interval(0.95)
    wider = np.sqrt((1 / 4 + 1 / 3) / (1 / 4))  # Nadeau and Bengio: a fold is a third of its training images
    assert found.half_width == pytest.approx((high - low) / 2 * wider)
    assert found.t_p == pytest.approx(2 * t.sf(reference.statistic / wider, 3))
    same = compare(first, first, folds[0], folds[0])
    assert (same.mcnemar_p, same.t_p, same.difference) == (1, 1, 0)
    with pytest.raises(ValueError, match="same images"):
        compare(first, {"a": 1.0}, *folds)


def table(right):
    """Rows of held-out predictions: ``{(seed, fold): {file: right or not}}``."""
    return [
        {"seed": str(seed), "fold": str(fold), "file": file, "label": "a", "prediction": "a" if good else "b"}
        for (seed, fold), files in right.items()
        for file, good in files.items()
    ]


def test_tables_are_compared_on_the_seeds_that_both_have():
    first = {(0, 0): {"p": 1, "q": 0}, (0, 1): {"r": 1, "s": 0}, (1, 0): {"p": 0, "r": 0}, (1, 1): {"q": 0, "s": 0}}
    second = {(0, 0): {"p": 1, "q": 1}, (0, 1): {"r": 1, "s": 0}}
    found = compare_predictions(table(first), table(second))
    assert (found.seeds, found.only_first, found.only_second) == ((0,), 0, 1)
    reference = ttest_rel([1.0, 0.5], [0.5, 0.5])
    assert (found.difference, found.t_p) == (0.25, pytest.approx(2 * t.sf(reference.statistic / np.sqrt(3), 1)))
    back = compare_predictions(table(second), table(first))
    assert (back.only_first, back.difference) == (1, -0.25)
    swapped = {(0, 0): {"p": 1, "r": 1}, (0, 1): {"q": 1, "s": 0}}
    for other in (swapped, {(2, 0): {"p": 1, "q": 1}, (2, 1): {"r": 1, "s": 0}}):
        with pytest.raises(ValueError, match="same images held out in the same folds"):
            compare_predictions(table(first), table(other))
    corrected = [row | {"label": row["prediction"]} for row in table(second)]
    with pytest.raises(ValueError, match="not the same label of s in both"):
        compare_predictions(table(first), corrected)


def test_copies_of_an_image_count_in_the_folds():
    first, second = ([*table({(0, 0): {"p": good, "q": 1}, (0, 1): {"r": 1}})] for good in (0, 1))
    for rows in (first, second):
        rows.append(rows[0])  # p twice
    found = compare_predictions(first, second)
    assert (found.only_first, found.only_second) == (0, 1)
    assert found.difference == pytest.approx((2 / 3 + 0) / 2)


def test_noise_unless_both_tests_agree():
    """The same gain in each fold makes the t interval narrow; three images more are still chance."""
    first = {(0, fold): {f"{fold}{i}": i > 0 for i in range(10)} for fold in range(3)}
    second = {(0, fold): {f"{fold}{i}": True for i in range(10)} for fold in range(3)}
    found = compare_predictions(table(first), table(second))
    assert found.half_width < found.difference == pytest.approx(0.1)
    assert found.mcnemar_p == 0.25
    assert found.within_noise
    assert str(found) == "+10.0 ± 0.0, noise"
    many = [{(0, fold): {f"{fold}{i}": i > 0 or kind for i in range(10)} for fold in range(7)} for kind in (0, 1)]
    assert not compare_predictions(table(many[0]), table(many[1])).within_noise
