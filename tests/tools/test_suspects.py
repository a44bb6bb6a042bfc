"""Suspect labels: the rule on cases that are known, and the stored files counted once more."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

from madrnet_timm.data.groups import twin_pairs
from madrnet_timm.data.reading import pixel_sha256, read_image
from tools.suspects import ONE_CELL, confident_classes, suspects, table

from .counting import ROOT, place, prose, stored

PUBLISHED = {"hushem": "madrnet_tf_efficientnet_lite0.smids_ft_hushem", "smids": "madrnet_tf_efficientnet_lite0.smids"}


def test_a_class_is_reached_at_its_own_mean():
    """A class of which the model is unsure is named from a lower probability on."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    sure_of_0 = np.array([0.9, 0.9, 0.45, 0.5, 0.5, 0.2])  # means: 0.75 of class 0, 0.6 of class 1
    found = confident_classes(labels, np.column_stack([sure_of_0, 1 - sure_of_0]))
    assert found.tolist() == [0, 0, -1, -1, -1, 1]
    labels = np.array([0, 0, 1, 1])
    both = np.array([[0.5, 0.5], [0.4, 0.6], [0.45, 0.55], [0.55, 0.45]])  # means 0.45 and 0.5
    assert confident_classes(labels, both).tolist() == [0, 1, 1, 0]


def test_labels_that_were_exchanged_are_found():
    """Of 600 images of three classes 30 have another label; the model knows the classes, not the labels."""
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 3, 600)
    logits = chance.normal(0, 0.7, (600, 3)) + 3 * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels, wrong = truth.copy(), chance.choice(600, 30, replace=False)
    labels[wrong] = (truth[wrong] + 1) % 3
    names = "abc"
    rows = [
        {"file": f"{i}.png", "pixel_sha256": str(i), "label": names[labels[i]], "seed": seed}
        | {f"p_{name}": p for name, p in zip(names, probabilities[i], strict=True)}
        for seed in (0, 1)
        for i in range(600)
    ]
    found = {int(row["name"]): row for row in suspects(rows)}
    assert len(found.keys() & set(wrong.tolist())) >= 18  # the others lie below the mean of their class
    assert len(found.keys() - set(wrong.tolist())) <= 3
    assert all(row["seeds"] == 2 for row in found.values())
    hits = [row["suggested"] == names[truth[i]] for i, row in found.items() if i in set(wrong.tolist())]
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_the_stored_suspects_by_counting(dataset):
    rows = stored(f"suspects-{dataset}")
    assert [{key: str(value) for key, value in row.items()} for row in table(dataset)] == rows
    with (ROOT / "hub" / PUBLISHED[dataset] / "predictions.csv").open(newline="") as opened:
        held_out = list(csv.DictReader(opened))
    names = [key for key in held_out[0] if key.startswith("p_")]
    images = {}
    for row in held_out:
        images.setdefault(row["file"], []).append(row)
    p = {file: {name: np.mean([float(r[name]) for r in found]) for name in names} for file, found in images.items()}
    label = {file: f"p_{found[0]['label']}" for file, found in images.items()}
    mean = {name: np.mean([p[file][name] for file in images if label[file] == name]) for name in names}
    expected = {}
    for file in images:
        reached = [name for name in names if p[file][name] >= mean[name]]
        best = max(reached, key=p[file].get, default=label[file])
        if best != label[file]:
            expected[images[file][0]["pixel_sha256"], file.rpartition(".")[0]] = best.removeprefix("p_")
    by_rule = [row for row in rows if row["reason"] == "confident learning"]
    assert {(row["pixel_sha256"], row["name"]): row["suggested"] for row in by_rule} == expected
    twice = Counter(row["pixel_sha256"] for row in rows if row["reason"] == "two labels")
    assert set(twice.values()) <= {2}
    assert len(twice) == {"hushem": 0, "smids": 4}[dataset]
    assert not {row["pixel_sha256"] for row in held_out} & twice.keys()  # they are in no training and no score
    counts = Counter((row["reason"], row["label"], row["suggested"]) for row in rows)
    assert {tuple(cells[:3]): int(cells[3]) for cells in place(f"suspects {dataset}")} == counts


def test_images_of_one_cell_with_two_labels(smids_dir):
    """The rule finds these pairs among their images, and no other."""
    names = [name for pair in ONE_CELL["smids"] for name in pair]
    images = [read_image(next(smids_dir.glob(f"{name}.*")), crop=True) for name in names]
    assert twin_pairs(images) == {(first, first + 1) for first in range(0, len(names), 2)}
    rows = [row for row in stored("suspects-smids") if row["reason"] == "one cell"]
    assert [(row["name"], row["pixel_sha256"]) for row in rows] == [
        (name, pixel_sha256(image)) for name, image in zip(names, images, strict=True)
    ]
    assert all({row["label"], row["suggested"]} == {"Abnormal", "Normal"} for row in rows)


def test_what_was_seen_by_eye_adds_up():
    count = sum(row["reason"] == "confident learning" for row in stored("suspects-smids"))
    text = prose("docs/data.md")
    wrong, right, open_ = map(
        int,
        re.search(
            r"For (\d+) of them the label looks wrong.*?For (\d+) it looks right.*?(\d+) stay open", text
        ).groups(),
    )
    assert f"The {count} SMIDS images of confident learning" in text
    assert wrong + right + open_ == count
