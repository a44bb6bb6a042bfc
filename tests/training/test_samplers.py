"""Batches with several images of each class."""

import numpy as np
import pytest

from madrnet_timm.training.samplers import PerClassSampler

LABELS = [0] * 40 + [1] * 25 + [2] * 5 + [3] * 30


def batches(sampler, size):
    return np.array(list(sampler)).reshape(-1, size)


@pytest.mark.parametrize(("size", "samples_per_class"), [(16, 4), (8, 4), (12, 4), (8, 2)])
def test_every_batch_holds_m_of_each_of_its_classes(size, samples_per_class):
    sampler = PerClassSampler(LABELS, size, samples_per_class)
    found = batches(sampler, size)
    assert len(found) * size == len(sampler)
    assert len(found) == len(LABELS) // size
    for batch in found:
        counts = np.bincount(np.array(LABELS)[batch], minlength=4)
        assert sorted(counts) == [0] * (4 - size // samples_per_class) + [samples_per_class] * (
            size // samples_per_class
        )


def test_classes_and_images_take_turns():
    sampler = PerClassSampler(LABELS, 8, 4)
    seen = []
    for epoch in range(6):
        sampler.set_epoch(epoch)
        seen += list(sampler)
    counts = np.bincount(np.array(LABELS)[seen], minlength=4)
    assert counts.max() - counts.min() <= 6 * 4  # at most one turn apart in each pass
    within = [np.bincount(seen, minlength=100)[np.array(LABELS) == label] for label in range(4)]
    assert all(np.ptp(count) <= 6 for count in within)  # no image again in a pass before all others came


def test_the_order_depends_on_seed_and_epoch_alone():
    one, two = PerClassSampler(LABELS, 16, 4, seed=1), PerClassSampler(LABELS, 16, 4, seed=1)
    first = list(one)
    assert first == list(two) == list(one)
    two.set_epoch(1)
    assert list(two) != first
    assert list(PerClassSampler(LABELS, 16, 4, seed=2)) != first


def test_fewer_classes_than_groups():
    labels = [0] * 20 + [1] * 12
    for batch in batches(PerClassSampler(labels, 16, 4), 16):
        assert np.bincount(np.array(labels)[batch]).tolist() == [8, 8]


@pytest.mark.parametrize(("size", "samples_per_class"), [(16, 3), (16, 0)])
def test_sizes_that_do_not_fit(size, samples_per_class):
    with pytest.raises(ValueError, match=r"samples_per_class=\d: expected a divisor"):
        PerClassSampler(LABELS, size, samples_per_class)
