"""What is drawn on fields and on crops."""

from pathlib import Path

import numpy as np
from PIL import Image

from madrnet_timm.data.crops import HeadCrop
from madrnet_timm.data.pages import Page
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.inference.class_marks import class_marks
from madrnet_timm.inference.field_images import FieldImages, field_overlay
from madrnet_timm.morphology import draw_overlay, measure


def test_the_overlay_of_a_crop_says_its_class(tmp_path):
    image = draw_head("Normal", 1).image
    head, page = measure(image), Page(Path("crop.png"))
    row = {"prediction": "Tapered", "probability": 0.914}
    row |= {"abstain": False, "out_of_domain": "", "ok": True, "flags": ""}
    images = FieldImages({page.path: "c.png"}, {}, None, tmp_path)
    for change, text in (
        ({}, "Tapered 91 %"), ({"abstain": True}, "Tapered 91 % ?"), ({"flags": "no_head", "abstain": True}, ""),
    ):  # fmt: skip
        images.write_crop(page, HeadCrop(image, head, (0, 0)), row | change)
        with Image.open(tmp_path / "c.png") as opened:
            assert np.array_equal(np.asarray(opened), draw_overlay(image, head, text=text))


def test_an_overlay_can_be_read_without_colour():
    """Outline and plate stand out in gray, too, and a class is told by letters."""
    image = np.full((300, 400, 3), 225, np.uint8)
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    contours = [np.column_stack([x + 25 * np.cos(angle), 150 + 40 * np.sin(angle)]) for x in (100, 250)]
    rows = [
        {"head": number, "prediction": name, "flags": "", "counted": True, "abstain": number == 2, "out_of_domain": "",
         "ok": True, "x0": x - 25, "y0": 110, "x1": x + 25, "y1": 190}
        for number, name, x in ((1, "Normal", 100), (2, "Tapered", 250))
    ]  # fmt: skip
    marks = class_marks(["Normal", "Tapered"], "Normal")
    drawn = field_overlay(image, rows, [c.astype(np.float32) for c in contours], marks)
    gray = drawn[:300].mean(axis=2)
    ring = [[gray[round(y), round(x)] for x, y in contour] for contour in contours]
    assert np.mean(np.array(ring[0]) < 140) > 0.9  # a line
    assert 0.3 < np.mean(np.array(ring[1]) < 140) < 0.75  # dashes
    for row in rows:  # dark plate with white letters beside the box, not on it
        beside = gray[60:240, row["x1"] + 2 : row["x1"] + 60]
        assert (beside < 120).sum() > 150
        assert (beside > 250).sum() > 20
    black = {name: type(mark)(mark.letter, (0, 0, 0)) for name, mark in marks.items()}
    rows[1]["prediction"] = "Normal"
    other = field_overlay(image, rows, [c.astype(np.float32) for c in contours], black)
    rows[1]["prediction"] = "Tapered"
    same = field_overlay(image, rows, [c.astype(np.float32) for c in contours], black)
    assert not np.array_equal(other[:300, 200:], same[:300, 200:])  # the letters differ
    assert np.array_equal(other[:300, :200], same[:300, :200])
    empty = field_overlay(image, (), (), marks, "nothing is stained: no object stands out from the background " * 3)
    assert (empty[: len(image)] == image).all()
    assert empty.shape[1] == image.shape[1]
    assert (empty[len(image) :] < 100).any(axis=(1, 2)).sum() > 20  # lines of text
