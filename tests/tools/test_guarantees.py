"""What docs/guarantees.md says of promises and of what came of them, counted once more."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from examples.studies.calibration import calibrations, dirichlet_map, log_loss, set_scores
from madrnet_timm.evaluation.calibration import cross_fitted, fitted_temperature, tempered
from madrnet_timm.evaluation.selection import one_of_each
from tools.guarantees import HUB, MODELS, HeldOut, divisions, seeds

from .counting import place, prose, row, stored

ONE_SEED = "madrnet_resnet50.hushem"


def folds():
    """Of the model of one seed: calibrated cells of the other folds, and the images of the fold."""
    (seed,) = seeds(ONE_SEED)
    for fold in range(5):
        known, out = seed.part(seed.folds != fold), seed.part(seed.folds == fold)
        units = one_of_each(known.groups)
        p = cross_fitted(known.probabilities, known.labels, known.groups)[units]
        q = tempered(out.probabilities, fitted_temperature(known.probabilities, known.labels))
        yield p, known.labels[units], q, out.labels, [1 / list(out.groups).count(group) for group in out.groups]


def bound(wrong, decided):
    """The tail of the binomial distribution, solved for the probability; ten bounds share 5 %."""
    if wrong == decided:
        return 1.0
    return brentq(lambda p: binom.cdf(wrong, decided, p) - 0.005, wrong / decided, 1 - 1e-12, xtol=1e-12)


@pytest.mark.parametrize("wanted", [5, 10])
def test_promised_risks_by_counting(wanted):
    cells = wrong = decided = kept = 0
    promised = []
    for p, y, q, labels, weights in folds():
        confidence = sorted(p.max(axis=1), reverse=True)
        limits = [0.0] + [math.ceil(1e6 * confidence[len(y) * tenth // 10]) / 1e6 for tenth in range(9, 0, -1)]
        bounds = []
        for limit in limits:
            inside = p.max(axis=1) >= limit
            bounds.append(bound(int((inside & (p.argmax(axis=1) != y)).sum()), int(inside.sum())))
        promised.append(max(wanted, math.ceil(100 * min(bounds))))
        limit = limits[[100 * one <= promised[-1] for one in bounds].index(True)]
        own = [(w, k != label) for w, c, k, label in zip(weights, q.max(1), q.argmax(1), labels) if c >= limit]  # noqa: B905
        cells, decided = cells + sum(weights), decided + sum(w for w, _ in own)
        missed = sum(w for w, error in own if error)
        wrong, kept = wrong + missed, kept + (100 * missed <= promised[-1] * sum(w for w, _ in own))
    shown = row("promised-risks", ONE_SEED, str(wanted))[2:6]
    low, high = min(promised), max(promised)
    said = str(low) if low == high else f"{low} to {high}"
    assert shown == [said, f"{100 * wrong / decided:.1f}", f"{100 * decided / cells:.1f}", f"{kept} of 5"]


def test_promised_sets_by_counting():
    inside, size, total, of_class, alone = 0.0, 0.0, 0.0, {}, 0.0
    for p, y, q, labels, weights in folds():
        limits = []
        for label in range(4):
            given = sorted((row[label] for row in p[y == label]), reverse=True)
            assert len(given) >= 19
            limits.append(math.floor(1e6 * given[math.ceil(0.95 * (len(given) + 1)) - 1]) / 1e6)
        for values, label, weight in zip(q, labels, weights, strict=True):
            members = {k for k in range(4) if values[k] >= limits[k]} | {int(values.argmax())}
            inside, size, total = inside + weight * (label in members), size + weight * len(members), total + weight
            alone += weight * (len(members) == 1)
            there, all_of_it = of_class.get(label, (0, 0))
            of_class[label] = there + weight * (label in members), all_of_it + weight
    least = min(there / all_of_it for there, all_of_it in of_class.values())
    assert row("promised-sets", ONE_SEED)[1:] == [
        "95", f"{100 * inside / total:.1f}", f"{100 * least:.1f}", f"{size / total:.2f}", f"{100 * alone / total:.1f}",
    ]  # fmt: skip


def test_the_words_of_the_page():
    page = prose("docs/guarantees.md")
    rows = place("promised-risks")
    assert all(float(cells[3]) < float(cells[2].split()[0]) for cells in rows)
    kept = [list(map(int, cells[8].split(" of "))) for cells in rows if cells[1] == "5"]
    missed, of = sum(n - k for k, n in kept), sum(n for _, n in kept)
    assert f"a wanted share of 5 % is missed in {missed} of {of} folds" in page
    smids = row("promised-risks", "madrnet_tf_efficientnet_lite0.smids", "5")
    assert (smids[2], f"the model decides on {smids[4]} %" in page) == ("5", True)
    risks = [round(100 * divided.promise.risk) for divided in divisions("madrnet_tf_efficientnet_lite0.smids")]
    assert risks == [5] * 15
    configs = {name: json.loads((HUB / name / "config.json").read_text())["madrnet"] for name in MODELS}
    hushem = [config["guarantee"] for name, config in configs.items() if configs[name]["dataset"] == "hushem"]
    allowed = [math.ceil(100 * min(one["bound"] for one in found["candidates"])) for found in hushem]
    assert {found["cells"] for found in hushem} == {203}
    assert sorted(allowed) == [5, 6, 6, 8]
    assert "203 cells allow 95 % for one of four models, 94 % for two and 92 % for one" in page


def test_the_study_gives_what_is_stored():
    name = f"`{ONE_SEED}`"
    assert calibrations(ONE_SEED) == [found for found in stored("calibration") if found["model"] == name]
    assert set_scores(ONE_SEED) == [found for found in stored("set-scores") if found["model"] == name]
    losses = {(found["model"], found["way"]): float(found["log_loss"]) for found in stored("calibration")}
    best = [min(("nothing", "temperature", "Dirichlet"), key=lambda way: losses[f"`{model}`", way]) for model in MODELS]
    assert (best.count("temperature"), len(best)) == (4, 6)


def test_a_dirichlet_map_finds_a_temperature():
    """Where that is all that is wrong, and nothing holds it back."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet([0.6, 0.6, 0.6], 20_000)
    labels = (true.cumsum(axis=1) < rng.random((len(true), 1))).sum(axis=1)
    sharp = tempered(true, 0.5)
    w = dirichlet_map(HeldOut(sharp, labels, np.arange(len(labels)), labels), 0.01)
    assert np.diag(w) == pytest.approx([0.5] * 3, abs=0.04)
    assert abs(w * (1 - np.eye(3, 4))).max() < 0.05
    assert log_loss(tempered(sharp, 2), labels) < log_loss(sharp, labels)
