"""What the images of a table count for, on tables that are written out here."""

import inspect
import re
from pathlib import Path

import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.inference.counting import count_slides, normal_class, share_of
from madrnet_timm.inference.glossary import FLAGS
from madrnet_timm.inference.results import Results, ResultsInfo
from madrnet_timm.inference.screen import NO_SPERM

LABELS = ("Normal", "Abnormal", "Debris")


def row(number, prediction="Normal", abstain=False, outside="", flags="", file=None, head=None, counted=True):
    ok = not set(flags.split()) & {"no_head", "touches_border", "low_contrast"}
    return {
        "file": file or f"head{number}.png", "head": head, "counted": counted,
        "prediction": prediction, "probability": 0.9, "abstain": abstain,
        "out_of_domain": outside, "flags": flags, "ok": ok, "pixel_sha256": f"{number:064x}",
    }  # fmt: skip


def table(*rows, path="slide.csv", **info):
    known = {"label_names": LABELS, "normal_class": "Normal", "no_head_class": "Debris"}
    return Results(Path(path), list(rows), ResultsInfo(**(known | info)))


def test_blanks_are_no_abnormal_heads():
    """20 normal heads and 20 images without a head are 20 of 20, not half."""
    heads = [row(number) for number in range(20)]
    blanks = [row(20 + number, "Abnormal", flags="no_head") for number in range(15)]
    debris = [row(40 + number, "Debris") for number in range(5)]
    (count,) = count_slides([table(*heads, *blanks, *debris)])
    assert len(count.no_head) == 20
    share = share_of(count.decided, "Normal")
    assert (share.normal, share.total) == (20, 20)
    assert share_of(count.heads, "Normal") == share


def test_doubtful_heads_are_apart():
    rows = [
        row(0), row(1, "Abnormal"), row(2, abstain=True), row(3, outside="head_lightness"),
        row(4, flags="low_contrast polarity"), row(5, "Abnormal", True, "head_lightness"), row(6, flags="two_heads"),
    ]  # fmt: skip
    (count,) = count_slides([table(*rows)])
    assert [r["file"] for r in count.decided] == ["head0.png", "head1.png", "head6.png"]
    assert (share_of(count.decided, "Normal").normal, share_of(count.heads, "Normal").normal) == (2, 5)
    assert count.reasons == {
        "the model abstains": 2, "unlike its training images": 2, "outline not to be trusted": 1,
    }  # fmt: skip


def test_copies_count_once():
    """Six copies of each of two images are two heads."""
    rows = [row(number % 2, file=f"{number}.png") for number in range(12)]
    (count,) = count_slides([table(*rows)])
    assert ([r["file"] for r in count.decided], count.copies) == (["0.png", "1.png"], 10)


def test_heads_at_the_border_count_for_nothing():
    heads = [row(0, head=number, counted=number < 3, flags="touches_border" * (number > 2)) for number in range(1, 6)]
    (count,) = count_slides([table(*heads)])
    assert ([r["head"] for r in count.decided], [r["head"] for r in count.border]) == ([1, 2], [3, 4, 5])
    assert (count.images, count.copies) == (count.decided, 0)


def test_what_the_screen_takes_for_no_sperm_is_no_head():
    (count,) = count_slides([table(row(0), row(1, flags="no_sperm polarity"), row(2, flags="polarity"))])
    assert ([r["file"] for r in count.no_head], len(count.decided)) == (["head1.png"], 2)


def test_a_field_is_copied_with_all_its_heads():
    """Heads of one field have its pixels; the same field under another name has the same heads."""
    heads = [row(number, head=1 + head) for number in range(2) for head in range(3)]
    again = [row(1, head=1 + head, file="copy.png") for head in range(3)]
    (count,) = count_slides([table(*heads, *again)])
    assert (len(count.decided), count.copies) == (6, 3)
    one, two = count_slides([table(*heads[:3], path="a.csv"), table(*heads[2:], path="b.csv")])
    assert (len(one.decided), len(two.decided), two.shared) == (3, 3, 1)


def test_tables_of_the_same_images_are_refused():
    first = table(row(0), row(1), row(2), path="a.csv")
    for other in (
        first,
        table(row(2), row(0), row(1), path="b.csv"),
        table(row(1), row(1, file="c.png"), path="b.csv"),
    ):
        with pytest.raises(InputError, match=r"a.csv and ..csv: all \d images of the second are in the first"):
            count_slides([first, other])
    one, two = count_slides([first, table(row(2), row(3), row(3, file="c.png"), path="b.csv")])
    assert (len(one.decided), one.shared, one.copies) == (3, 0, 0)
    assert ([r["file"] for r in two.decided], two.shared, two.copies) == (["head3.png"], 1, 1)


def test_without_hashes_files_count_once():
    """A table of version 0.1.0: one image named relatively and absolutely."""
    old = [row(0, file=name) | {"pixel_sha256": ""} for name in ("x/a.png", "/slides/x/a.png", "x/b.png")]
    (count,) = count_slides([table(*old, directory="/slides")])
    assert (len(count.decided), count.copies) == (2, 1)
    with pytest.raises(InputError, match="holds no images"):
        count_slides([table()])


def test_which_class_is_normal():
    assert normal_class(table()) == "Normal"
    other = {"label_names": ("NORMAL", "bad"), "normal_class": None, "no_head_class": None}
    assert normal_class(table(**other)) == "NORMAL"
    assert normal_class(table(**other), "bad") == "bad"
    assert normal_class(table(**other), "Bad") == "bad"
    healthy = other | {"label_names": ("healthy", "bad")}
    assert normal_class(table(**healthy)) is None
    assert normal_class(table(**healthy), "healthy") == "healthy"
    with pytest.raises(InputError, match=r"--normal-class good: slide.csv has no such class; expected one of healthy"):
        normal_class(table(**healthy), "good")
    with pytest.raises(InputError, match="--normal-class Debris"):  # no head can't be a normal one
        normal_class(table(), "Debris")


def test_every_flag_is_in_the_glossary():
    from madrnet_timm.morphology import head

    source = Path(head.__file__).read_text(encoding="utf-8")
    given = set(re.findall(r'flags=head\.flags \| \{"(\w+)"\}', source)) | {"no_head"}
    given |= set(re.findall(r'^ +"(\w+)": ', inspect.getsource(head._flags), re.MULTILINE))
    assert len(given) >= 7
    assert given | {NO_SPERM, "touching"} == FLAGS.keys()  # of fields
