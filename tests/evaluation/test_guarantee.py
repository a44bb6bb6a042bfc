"""Promised risks and prediction sets: against formulas, and in simulations as often kept as promised."""

import math
from functools import cache

import numpy as np
import pytest
from scipy.stats import beta as beta_distribution
from scipy.stats import binom

from madrnet_timm.evaluation.guarantee import Guarantee, guarantee
from madrnet_timm.evaluation.prediction_sets import SetRule, needed, set_rule
from madrnet_timm.evaluation.selection import COVERAGES, Candidate, candidates, one_of_each, risk_bound

DRAWS = 2000


@pytest.mark.parametrize(("wrong", "decided"), [(0, 20), (0, 203), (3, 142), (35, 1428), (19, 20)])
@pytest.mark.parametrize("error", [0.05, 0.005])
def test_the_bound_turns_the_binomial_tail_around(wrong, decided, error):
    bound = float(risk_bound(wrong, decided, error))
    assert binom.cdf(wrong, decided, bound) == pytest.approx(error)
    assert bound > wrong / decided
    if wrong == 0:
        assert bound == pytest.approx(1 - error ** (1 / decided))


def test_bounds_of_nothing_and_of_all_wrong():
    assert risk_bound([0, 5, 7], [0, 5, 7], 0.05).tolist() == [1, 1, 1]


def test_candidates_by_counting():
    rng = np.random.default_rng(3)
    confidence, right = rng.random(57).round(2), rng.random(57) < 0.8
    found = candidates(confidence, right, 0.9)
    assert len(found) == len(COVERAGES)
    assert found[0].threshold == 0
    for share, one in zip(COVERAGES, found, strict=True):
        inside = [ok for c, ok in zip(confidence, right, strict=True) if c >= one.threshold]
        assert (one.decided, one.wrong) == (len(inside), inside.count(False))
        assert binom.cdf(one.wrong, one.decided, one.bound) == pytest.approx(0.1 / len(COVERAGES), abs=1e-4)
        ranked = sorted(confidence, reverse=True)
        if share < 1:
            assert one.threshold == pytest.approx(ranked[int(share * 57 + 1e-9)])


def risk_above(threshold, power):
    """Of heads with a confidence of 0 to 1, all as frequent, that are wrong with probability (1 - confidence)^power."""
    return (1 - threshold) ** power / (power + 1)


@pytest.mark.parametrize(("cells", "power", "part"), [(60, 3, 0.1), (200, 3, 0.5), (200, 1, 0.1), (2400, 2, 0.7)])
def test_the_risk_is_kept_as_often_as_promised(cells, power, part):
    """Whichever threshold is chosen by the bounds: here the one that decides on the most at the least risk."""
    rng = np.random.default_rng(0)
    kept = decided = 0
    for _ in range(DRAWS):
        confidence = rng.random(cells)
        right = rng.random(cells) >= (1 - confidence) ** power
        found = Guarantee(cells, 0.1, 0.95, candidates(confidence, right), SetRule(0.95, (), ()))
        kept += risk_above(found.chosen.threshold, power) <= found.risk
        decided += found.chosen.decided
    assert kept >= 0.95 * DRAWS
    possible = (0.1 * (power + 1)) ** (1 / power)  # heads with a risk of 0.1, if it were known where they end
    assert decided > part * possible * cells * DRAWS  # no empty promise


def test_all_bounds_hold_together():
    """Even for who looks for the one that fails."""
    rng = np.random.default_rng(1)
    failed = 0
    for _ in range(DRAWS):
        confidence = rng.random(150)
        found = candidates(confidence, rng.random(150) >= (1 - confidence) / 2)
        failed += any(one.bound < risk_above(one.threshold, 1) / 2 for one in found)
    assert 0 < failed <= 0.05 * DRAWS


def test_images_of_a_cell_do_not_count_as_many():
    """Five images of each cell: as independent heads they break the promise, one of each keeps it."""
    rng, failed = np.random.default_rng(2), {"one": 0, "all": 0}
    groups = np.repeat(np.arange(80), 5)
    for _ in range(DRAWS):
        wrong = (rng.random(80) < 0.2)[groups]
        chosen = one_of_each(groups)
        failed["one"] += float(risk_bound(wrong[chosen].sum(), 80, 0.05)) < 0.2
        failed["all"] += float(risk_bound(wrong.sum(), 400, 0.05)) < 0.2
    assert failed["one"] <= 0.05 * DRAWS < 0.15 * DRAWS < failed["all"]


def test_one_of_each_is_drawn_evenly():
    groups = np.array([5, 2, 5, 9, 5, 2])
    drawn = np.array([one_of_each(groups, seed) for seed in range(DRAWS)])
    assert all(sorted(groups[row]) == [2, 5, 9] for row in drawn[:50])
    share = [(drawn == place).any(axis=1).mean() for place in range(6)]
    assert share == pytest.approx([1 / 3, 1 / 2, 1 / 3, 1, 1 / 3, 1 / 2], abs=0.05)
    assert np.array_equal(one_of_each(groups), one_of_each(groups))


@cache
def heads(n, seed):
    """Labels drawn from known probabilities, which the model gives too surely."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.5, (n, 3)) + np.array([0.8, 0, -0.8])
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    given = true**1.5
    return given / given.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_right_class_as_often_as_promised(coverage):
    """One more head for each of many draws; of each class alone, too."""
    p, labels = heads(DRAWS * 121, 5)
    p, labels = p.reshape(DRAWS, 121, 3), labels.reshape(DRAWS, 121)
    inside, own, size = [], [], []
    for one, label in zip(p, labels, strict=True):
        rule = set_rule(one[:-1], label[:-1], coverage)
        members = rule.members(one[-1:])[0]
        inside.append(members[label[-1]])
        own.append(rule.own[label[-1]])
        size.append(members.sum())
    noise = 3 * math.sqrt(coverage * (1 - coverage) / DRAWS)
    assert coverage - noise < np.mean(inside) < coverage + 0.06
    assert 1 < np.mean(size) < 2.2
    assert all(own) == (coverage == 0.8)  # 19 heads of the rarest class are not always there
    for label in range(3):
        here = (labels[:, -1] == label) & np.array(own)
        assert np.array(inside)[here].mean() > coverage - noise * math.sqrt(DRAWS / here.sum())


def test_a_set_rule_by_counting():
    """The quantile of Sadinle et al., for a class with enough heads; else that of all, which then none exceeds."""
    p, labels = heads(90, 7)
    labels = np.where(np.arange(90) < 83, labels % 2, 2)  # seven of the third class
    rule = set_rule(p, labels, 0.9)
    assert needed(0.9) == 9
    assert (rule.own, rule.coverage) == ((True, True, False), 0.9)
    quantiles = []
    for mine in (labels == 0, labels == 1, labels >= 0):
        scores = np.sort(1 - p[mine, labels[mine]])
        quantiles.append(1 - scores[math.ceil((len(scores) + 1) * 0.9 - 1e-9) - 1])
    assert rule.thresholds == pytest.approx(np.minimum(quantiles, quantiles[2]), abs=2e-6)
    members = rule.members(p)
    assert (members[np.arange(90), p.argmax(axis=1)]).all()  # never empty
    assert np.array_equal(members.sum(axis=1) > 1, ((p >= rule.thresholds).sum(axis=1) > 1) | (
        (p >= rule.thresholds).any(axis=1) & ~(p >= rule.thresholds)[np.arange(90), p.argmax(axis=1)]
    ))  # fmt: skip


def test_a_class_with_few_heads_does_not_cost_the_coverage_of_all():
    """The frequent class by its own threshold and the rare one by that of all would miss more than a tenth together."""
    labels = np.repeat([0, 1], [60, 8])
    right = np.concatenate([np.linspace(0.4, 1, 60), np.linspace(0, 0.05, 8)])
    p = np.where(np.arange(2) == labels[:, None], right[:, None], 1 - right[:, None])
    rule = set_rule(p, labels, 0.9)
    assert rule.own == (True, False)
    assert (p >= rule.thresholds)[np.arange(68), labels].sum() >= math.ceil(0.9 * 69)
    few = np.array([set_rule(p[labels == 0], labels[labels == 0], 0.9).thresholds[0], rule.thresholds[1]])
    assert (p >= few)[np.arange(68), labels].sum() < 0.9 * 68


@pytest.mark.parametrize(("coverage", "heads_needed"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_how_many_heads_a_class_needs(coverage, heads_needed):
    assert needed(coverage) == heads_needed
    for n, enough in ((heads_needed, True), (heads_needed - 1, False)):
        rule = set_rule(np.tile([0.7, 0.3], (n, 1)), [0] * n, coverage)
        assert rule.own == (enough, False)
        assert rule.thresholds == ((0.7, 0.7) if enough else (0, 0))  # too few: every class is in every set


def test_what_held_out_predictions_promise():
    p, labels = heads(2000, 11)
    found = guarantee(p, labels, np.arange(2000))
    assert (found.cells, found.level, found.risk) == (2000, 0.95, 0.05)
    assert found.chosen.bound <= 0.05
    assert found.chosen == next(one for one in found.candidates if one.bound <= 0.05)
    assert found.candidate(0.3).threshold < found.chosen.threshold < found.candidate(0.045).threshold
    assert found.candidate(1e-4) is None
    few = guarantee(p[:40], labels[:40], np.arange(40))
    assert few.least_risk > 0.05
    assert few.risk == pytest.approx(math.ceil(100 * few.least_risk) / 100)
    assert few.chosen.bound <= few.risk


def test_seeds_and_images_of_a_cell_are_one():
    p, labels = heads(300, 13)
    groups = np.arange(300) // 2
    once = guarantee(p, labels, groups)
    thrice = guarantee(np.tile(p, (3, 1)), np.tile(labels, 3), np.tile(groups, 3))
    assert once.cells == thrice.cells == 150


def test_edge_cases():
    p, labels = heads(60, 17)
    cells = np.arange(60)
    wrong = guarantee(p, (p.argmax(axis=1) + 1) % 3, cells)
    assert (wrong.least_risk, wrong.risk) == (1, 1)
    assert wrong.chosen == wrong.candidates[0] == Candidate(0.0, 60, 60, 1.0)
    missing = guarantee(p, np.where(labels == 2, 0, labels), cells)
    assert missing.sets.own[2] is False
    assert missing.sets.thresholds[2] > 0
    alone = guarantee(p[:1], labels[:1], [4])
    assert alone.cells == 1
    assert alone.sets.members(p).all()
    same = guarantee(np.tile([1.0, 0.0, 0.0], (60, 1)), np.zeros(60, int), cells)
    assert {one.decided for one in same.candidates} == {0, 60}  # of one confidence, all or none
    for wrong_call in (
        lambda: guarantee(p[:0], labels[:0], []),
        lambda: guarantee(p, labels, cells, level=1),
        lambda: guarantee(p, labels, cells, coverage=0),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong_call()


def test_scipys_beta_is_the_clopper_pearson_bound():
    """By its definition with the beta distribution, the other side of the binomial's."""
    assert float(risk_bound(4, 50, 0.01)) == pytest.approx(beta_distribution(5, 46).ppf(0.99))
