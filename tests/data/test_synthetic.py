"""Drawn heads look as the classes are described, so that each can be told from the others by its shape."""

import pytest

from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.morphology import measure


@pytest.fixture(scope="module")
def heads():
    return {shape: [measure(draw_head(shape, seed).image) for seed in range(24)] for shape in SHAPES}


def test_normal_heads_are_smooth_ovals(heads):
    for head in heads["Normal"]:
        assert 1.3 <= head.aspect_ratio <= 1.8  # WHO's range
        assert head.ellipticity > 0.98
        assert head.taper == pytest.approx(1, abs=0.05)


def test_tapered_heads_are_slender_and_narrow_towards_the_tail(heads):
    for head in heads["Tapered"]:
        assert head.aspect_ratio > 1.8
        assert 0.8 < head.taper < 0.95


def test_pyriform_heads_are_pears(heads):
    for head in heads["Pyriform"]:
        assert head.aspect_ratio < 2.1
        assert head.taper < 0.75


def test_no_amorphous_head_has_a_smooth_outline(heads):
    smoothest = min(head.solidity for shape in SHAPES[:3] for head in heads[shape])
    for head in heads["Amorphous"]:
        assert head.solidity < smoothest
        assert head.ellipticity < 0.92
