"""Colours and letters of classes: each another, and to be read."""

import itertools

from madrnet_timm.inference.class_marks import class_marks


def test_letters():
    hushem = class_marks(["Normal", "Tapered", "Pyriform", "Amorphous"], "Normal")
    assert [mark.letter for mark in hushem.values()] == ["N", "T", "P", "A"]
    smids = class_marks(["Abnormal", "Non-Sperm", "Normal"], "Normal", "Non-Sperm")
    assert {name: mark.letter for name, mark in smids.items()} == {"Abnormal": "A", "Non-Sperm": "NS", "Normal": "N"}
    assert list(smids) == ["Abnormal", "Non-Sperm", "Normal"]
    odd = class_marks(["a", "A", "aa", "\U0001f600", "1", "1"])
    assert len({mark.letter for mark in odd.values()}) == len(odd) == 5


def test_colours_differ_and_bear_white_letters():
    def luminance(colour):
        parts = [c / 3294 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    marks = class_marks(list("NABCDEF0"), "N", "0")
    assert marks["N"].html == "#007a54"
    for mark in marks.values():
        assert 1.05 / (luminance(mark.colour) + 0.05) > 4.5  # WCAG's contrast for small letters
    for one, other in itertools.combinations(marks.values(), 2):
        assert sum(abs(a - b) for a, b in zip(one.colour, other.colour, strict=True)) > 60
