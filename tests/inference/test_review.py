"""What a person said of the heads of a table: the file, the count with it, and the page's script beside Python."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.intervals import wilson_interval
from madrnet_timm.evaluation.prevalence import normal_share, replicate_check
from madrnet_timm.files import write_csv
from madrnet_timm.inference.counting import count_slides
from madrnet_timm.inference.report.correcting import NOTHING, STRUCK
from madrnet_timm.inference.report.review import COLUMNS, heads_digest, read_reviews, reviewed_count, with_review
from madrnet_timm.inference.report.words import percent
from madrnet_timm.inference.results import Results, ResultsInfo

LABELS = ("Normal", "Abnormal", "Debris")
SCRIPT = Path(__file__).parents[2] / "src/madrnet_timm/inference/report/templates/report.js"


def row(number, prediction="Normal", doubtful=False, flags="", head=None, file="f.png", counted=True):
    box = (None,) * 4 if head is None else (head, 1, head + 40, 60)
    place = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    return {
        "file": file, "page": None, "head": head, **place, "counted": counted, "prediction": prediction,
        "probability": 0.9, "abstain": doubtful, "out_of_domain": "", "flags": flags,
        "ok": not flags, "pixel_sha256": f"{number:064x}",
    }  # fmt: skip


def table(*rows, path="slide.csv", **info):
    return Results(Path(path), list(rows), ResultsInfo(label_names=LABELS, no_head_class="Debris", **info))


def corrections(path, results, judged, digest=None):
    """A file as the page writes it."""
    write_csv(
        path,
        [
            dict(zip(COLUMNS, (
                heads_digest(results) if digest is None else digest, number, found["file"], "", found["head"] or "",
                found["prediction"], judged.get(number) or "", "True" if judged.get(number, "") is None else "",
                "A. B.", "2026-11-28T21:00:00Z" if number in judged else "",
            ), strict=True))
            for number, found in enumerate(results.rows, 1)
        ],
    )  # fmt: skip
    return path


def counted(results, judged, tmp_path):
    (review,) = read_reviews([corrections(tmp_path / "r.csv", results, judged)], [results])
    known = with_review(results, review)
    (count,) = count_slides([known])
    return reviewed_count(count, known, "Normal")


def test_the_persons_word_goes_before_the_machines(tmp_path):
    results = table(
        row(1), row(2), row(3, "Abnormal"), row(4, "Abnormal", True), row(5, doubtful=True), row(6, "Debris"),
        row(7, flags="no_head"), row(8, head=1, counted=False, flags="touches_border"),
    )  # fmt: skip
    nobody = counted(results, {}, tmp_path)
    assert (nobody.classes, nobody.own, nobody.agreement) == ({"Normal": 2, "Abnormal": 1}, None, None)
    # 2 changed, 3 confirmed, 4 struck out, 5 confirmed, so that it counts; 6 and 7 heads after all; 8 never counts
    judged = {2: "Abnormal", 3: "Abnormal", 4: None, 5: "Normal", 6: "Normal", 7: "Abnormal", 8: "Normal"}
    found = counted(results, judged, tmp_path)
    assert found.classes == {"Normal": 3, "Abnormal": 3}
    assert (found.share.normal, found.share.total, found.share.low) == (3, 6, wilson_interval(3, 6)[0])
    assert (found.own.normal, found.own.total) == (2, 5)
    assert (found.judged, found.changed, found.struck) == (6, 3, 1)
    assert (found.agreement.same, found.agreement.total, found.agreement.share) == (2, 5, 0.4)
    assert found.agreement.kappa == pytest.approx((2 / 5 - 7 / 25) / (1 - 7 / 25))  # 3 · 1 + 2 · 2 of 25 by chance
    no_sperm = counted(results, {1: "Debris"}, tmp_path)
    assert (no_sperm.classes, no_sperm.own, no_sperm.changed) == ({"Normal": 1, "Abnormal": 1}, None, 1)


def test_corrections_belong_to_the_heads_of_a_table(tmp_path):
    first, second = table(row(1), row(2)), table(row(3), row(4), path="other.csv")
    good = corrections(tmp_path / "good.csv", first, {1: "Abnormal"})
    one, other = read_reviews([good], [second, first])
    assert (one.judged, one.files, other.judged) == ({}, (), {1: "Abnormal"})
    assert (other.files[0][0], other.reviewers, other.saved) == ("good.csv", ("A. B.",), "2026-11-28T21:00:00Z")
    # another model's classes, or another folder, are the same heads; a head more, or other pixels, are not
    moved = table(row(1, "Abnormal", file="there/f.png"), row(2, doubtful=True))
    assert read_reviews([good], [moved])[0].judged == {1: "Abnormal"}
    for others in ([second], [table(row(1), row(2), row(3))], [table(row(1, head=1), row(2))]):
        with pytest.raises(InputError, match=r"good.csv: belongs to the heads of another table, not to those of "):
            read_reviews([good], others)
    with pytest.raises(InputError, match=r"--reviewed .*absent.csv: no such file; expected the one that the report"):
        read_reviews([tmp_path / "absent.csv"], [first])
    write_csv(tmp_path / "table.csv", first.rows)
    with pytest.raises(InputError, match=r"table.csv: has no column table; expected the file that the report's page"):
        read_reviews([tmp_path / "table.csv"], [first])
    (tmp_path / "empty.csv").write_text(f"{','.join(COLUMNS)}\n")
    (tmp_path / "notes.txt").write_text("x\n")
    for name in ("empty.csv", "notes.txt"):
        with pytest.raises(InputError, match=rf"{name}: holds no heads, so there is nothing to take from it"):
            read_reviews([tmp_path / name], [first])
    for change, message in (
        (("Abnormal", "Fine"), r"line 2: person 'Fine'; expected one of Normal, Abnormal, Debris"),
        ((",1,f.png", ",9,f.png"), r"line 2: row '9'; expected a number from 1 to 2"),
        ((",1,f.png", ",one,f.png"), r"line 2: row 'one'; expected a number from 1 to 2"),
        (("Abnormal,,", "Abnormal,perhaps,"), r"line 2: struck 'perhaps'; expected True, or nothing"),
        ((",2,f.png,,,Normal,,", ",1,f.png,,,Normal,Normal,"), r"line 3: row 1 is judged twice, and differently"),
    ):
        text = good.read_text(encoding="utf-8")
        assert change[0] in text
        (tmp_path / "bad.csv").write_text(text.replace(*change, 1), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_reviews([tmp_path / "bad.csv"], [first])


@pytest.mark.parametrize("true", ["TRUE", "WAHR", "VRAI", "1"])
def test_a_spreadsheet_may_save_the_corrections(tmp_path, true):
    results = table(row(1), row(2))
    good = corrections(tmp_path / "good.csv", results, {1: "Abnormal", 2: None})
    text = "\ufeff" + good.read_text(encoding="utf-8").replace(",", ";").replace("True", true)
    good.write_text(text, encoding="utf-8", newline="\r\n")
    assert read_reviews([good], [results])[0].judged == {1: "Abnormal", 2: None}


@pytest.fixture(scope="module")
def script():
    """Runs an expression of the page's script with some values."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")

    def run(expression, values):
        code = f"const report = require({json.dumps(str(SCRIPT))}); "
        code += "const values = JSON.parse(require('fs').readFileSync(0, 'utf8')); "
        code += f"process.stdout.write(JSON.stringify({expression}))"
        done = subprocess.run([node, "-e", code], input=json.dumps(values), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


def test_the_script_computes_and_writes_as_python_does(script):
    pairs = [(normal, total) for total in range(1, 401) for normal in range(total + 1)]
    found = script(
        "values.map(([n, t]) => { const [low, high] = report.wilson(n, t); "
        "return [report.percent(n / t), report.percent(low), report.percent(high)]; })",
        pairs,
    )
    expected = [
        [percent(n / t), *map(percent, wilson_interval(n, t))] for n, t in pairs
    ]  # among them 6.25 %, which only half of the world rounds up
    assert found == expected
    rng = np.random.default_rng(0)
    totals = rng.integers(1, 300, (200, 2))
    quads = np.stack([(totals * rng.random((200, 2))).astype(int), totals], axis=2).reshape(200, 4).tolist()
    found = script(
        "values.map(([a, n, b, m]) => Object.values(report.replicates({normal: a, total: n, share: a / n}, "
        "{normal: b, total: m, share: b / m})))",
        quads,
    )
    for (a, n, b, m), (difference, limit, agree) in zip(quads, found, strict=True):
        expected = replicate_check(normal_share(a, n), normal_share(b, m))
        assert (difference, limit) == pytest.approx(expected[:2], abs=1e-12)
        assert agree == expected[2]


def test_the_script_counts_as_python_does(script, tmp_path):
    rng = np.random.default_rng(1)
    slides, judgements = [], []
    for size in (3, 40, 200):
        rows = [
            row(number, LABELS[rng.integers(3)], bool(rng.random() < 0.3), "no_head" * bool(rng.random() < 0.1))
            for number in range(1, size + 1)
        ]
        results = table(*rows)
        judged = {
            number: None if rng.random() < 0.2 else LABELS[rng.integers(3)]
            for number in range(1, size + 1)
            if rng.random() < 0.5
        }
        judgements.append((results, judged))
        slides.append({
            "labels": LABELS, "normal": 0, "noHead": 2, "rest": [0, 0, 0],
            "heads": [
                {
                    "machine": NOTHING if found["flags"] else LABELS.index(found["prediction"]),
                    "doubtful": found["abstain"],
                    "person": None if n not in judged else STRUCK if judged[n] is None else LABELS.index(judged[n]),
                }
                for n, found in enumerate(rows, 1)
            ],
        })  # fmt: skip
    for found, (results, judged) in zip(script("values.map(report.recount)", slides), judgements, strict=True):
        expected = counted(results, judged, tmp_path)
        assert found["classes"] == [expected.classes[name] for name in LABELS]
        for name in ("judged", "changed", "struck"):
            assert found[name] == getattr(expected, name)
        for name in ("share", "own"):
            share = getattr(expected, name)
            assert found[name] == pytest.approx(vars(share), abs=1e-12)
        alike = expected.agreement
        assert (found["agreement"]["same"], found["agreement"]["total"]) == (alike.same, alike.total)
        assert found["agreement"]["kappa"] == pytest.approx(alike.kappa, abs=1e-12)


def test_python_reads_what_the_script_writes(script, tmp_path):
    results = table(row(1, file='a "b", c;d.png'), row(2), row(3, head=1, file="g.png"), row(4))
    slide = {
        "table": heads_digest(results), "cells": LABELS,
        "heads": [
            {"row": n, "file": row["file"], "page": "", "head": row["head"] or "", "machine": machine, "person": person}
            for (n, row), machine, person in zip(
                enumerate(results.rows, 1), (0, 1, NOTHING, 0), (1, STRUCK, 0, None), strict=True
            )
        ],
    }  # fmt: skip
    text = script("report.reviewTable([values.slide], values.who, values.when)", {
        "slide": slide, "who": " =HYPERLINK(1)\n, \\x41", "when": "2026-11-28T21:00:00.000Z",
    })  # fmt: skip
    path = tmp_path / "saved.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert text.startswith("\ufeff" + ",".join(COLUMNS))
    assert ",'=HYPERLINK(1)" in text.replace('"', "")  # no formula in a spreadsheet
    (review,) = read_reviews([path], [results])
    assert review.judged == {1: "Abnormal", 2: None, 3: "Normal"}
    assert review.reviewers == ("=HYPERLINK(1) ,  x41",)
    assert review.saved == "2026-11-28T21:00:00.000Z"
