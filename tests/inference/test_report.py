"""The report of real tables, read as a browser would."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import socket
from html.parser import HTMLParser
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.intervals import wilson_interval
from madrnet_timm.files import sha256_of, write_csv
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.counting import count_slides
from madrnet_timm.inference.gallery import known_classifier
from madrnet_timm.inference.glossary import COLUMNS, DOMAIN, FLAGS
from madrnet_timm.inference.predict import predict_files
from madrnet_timm.inference.report import write_report
from madrnet_timm.inference.report.review import heads_digest
from madrnet_timm.inference.results import info_path, read_results, write_results

DOCS = Path(__file__).parents[2] / "docs"


class Page(HTMLParser):
    """Text, elements and tooltips of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self.depth = [], [], 0
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.depth += tag in ("style", "script")

    def handle_endtag(self, tag):
        self.depth -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.depth:
            self.texts.append(data)

    def count(self, tag, **attributes):
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.elements)


@pytest.fixture(scope="module")
def classifier(model_dir):
    return Classifier(model_dir)


def predict(images, classifier, output, um_per_px=0.1):
    write_results(output, predict_files(images, classifier, um_per_px), classifier)
    return output


@pytest.fixture(scope="module")
def table(classifier, crops, tmp_path_factory):
    return predict(sorted(crops.iterdir()), classifier, tmp_path_factory.mktemp("results") / "slide.csv")


@pytest.fixture
def results(table):
    return read_results(table)


def changed(results, path=None, rows=None, **info):
    return dataclasses.replace(
        results, path=path or results.path, rows=rows or results.rows, info=dataclasses.replace(results.info, **info)
    )


def test_a_report_has_the_figures_of_its_table(fresh_python, table, results, tmp_path):
    """Begun without PyTorch, which comes in with the model that made the table."""
    run = fresh_python("-m", "madrnet_command", "report", table, "--output", tmp_path / "report.html")
    assert (run.returncode, run.stderr) == (0, "")
    page = Page(tmp_path / "report.html")
    assert "Research use only; not a medical device" in page.text
    assert [found for tag, found in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "heads"}, {},
    ]  # fmt: skip
    addresses = [value for _, found in page.elements for key, value in found.items() if key in ("src", "href")]
    assert sum(address.startswith("data:image/jpeg;base64,") for address in addresses) >= 3 * len(results.rows)
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)  # nothing from elsewhere

    heads = [row for row in results.rows if "no_head" not in row["flags"]]
    sure = [row for row in heads if row["ok"] and not row["abstain"] and not row["out_of_domain"]]
    assert 0 < len(sure) < len(heads)
    for rows in (sure, heads):
        normal = sum(row["prediction"] == "Normal" for row in rows)
        low, high = wilson_interval(normal, len(rows))
        assert f"{100 * normal / len(rows):.1f} % {normal} of {len(rows)} heads; 95 % Wilson interval" in page.text
        assert f"{100 * low:.1f} % to {100 * high:.1f} %" in page.text
    corrected = min(max((normal / len(heads) + 145 / 150 - 1) / (0.9 + 145 / 150 - 1), 0), 1)
    assert f"Of all heads, corrected for the model's errors {100 * corrected:.1f} %" in page.text
    assert len(heads) - len(sure) == 1
    assert f"1 head of {len(heads)} is doubtful and not in the first figure: unlike its training" in page.text
    assert "1 file is not in the table" in page.text
    assert "broken.png: can't read it as an image" in page.text
    assert page.count("img", alt="outline and axes of the head") == len(results.rows)
    assert page.count("img", alt="what speaks for the class") == len(results.rows)
    assert page.count("details", **{"class": "zoom"}) == 2 * len(results.rows)
    lengths = [row["length_um"] for row in heads if row["ok"]]
    inside = sum(3.7 <= length <= 4.7 for length in lengths)
    assert f"length, µm {np.median(lengths):.2f}" in page.text
    assert f"3.7 to 4.7 {100 * inside / len(lengths):.1f} % ({inside} of {len(lengths)})" in page.text


def test_flags_are_explained_where_they_stand(results, classifier, tmp_path):
    rows = [row | {"flags": "two_heads", "out_of_domain": "head_lightness"} for row in results.rows[:1]]
    write_report([changed(results, rows=rows)], tmp_path / "r.html", classifier=classifier)
    page = Page(tmp_path / "r.html")
    tips = [found["title"] for tag, found in page.elements if tag == "abbr"]
    assert {FLAGS["two_heads"], DOMAIN["head_lightness"], COLUMNS["aspect_ratio"]} <= set(tips)
    assert "1 head of 1 is doubtful" in page.text
    assert "1 image, of each class" in page.text
    assert "1 heads" not in page.text


def test_the_glossary_is_complete_and_in_the_docs(results, table):
    with table.open(encoding="utf-8") as opened:
        columns = set(opened.readline().strip().split(","))
    assert {"p_CLASS" if name.startswith("p_") else name for name in columns} | {"no_sperm"} == COLUMNS.keys()
    said = (DOCS / "predict.md").read_text(encoding="utf-8")
    for word, text in (COLUMNS | FLAGS | DOMAIN).items():
        assert f"| `{word}` | {text} |" in said


def test_images_without_a_head_are_in_no_figure(classifier, tmp_path):
    rng = np.random.default_rng(0)
    images = {f"head{n}": draw_head("Normal", n).image for n in range(4)}
    for n in range(4):
        images[f"blank{n}"] = np.full((131, 131, 3), 80 * n, np.uint8)
        images[f"noise{n}"] = rng.integers(0, 256, (131, 131, 3)).astype(np.uint8)
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    found = read_results(predict(sorted(tmp_path.glob("*.png")), classifier, tmp_path / "r.csv"))
    (count,) = count_slides([found])
    names = {key: {Path(row["file"]).stem[:5] for row in getattr(count, key)} for key in ("no_head", "decided")}
    assert "blank" in names["no_head"]
    assert sum("blank" in row["file"] for row in count.no_head) == 4
    assert names["decided"] <= {"head0", "head1", "head2", "head3"}
    write_report([found], tmp_path / "r.html", classifier=classifier)
    text = Page(tmp_path / "r.html").text
    assert f"{len(count.no_head)} images show no head and are in no figure" in text
    assert f"of {len(count.heads)} heads" in text
    assert text.count("no class no head") == len(count.no_head)
    classes = text[text.index("Classes class count share") : text.index("Measurements")]
    shares = [float(share) for share in re.findall(r"([\d.]+) %", classes)]
    assert sum(shares[::4]) == pytest.approx(100, abs=0.3)  # the machine's, each with its interval
    assert all(low <= share <= high for share, low, high in zip(*(shares[n::4] for n in range(3)), strict=True))
    assert sum(shares[3::4]) == pytest.approx(100, abs=0.3)  # corrected
    assert f"no head was found {len(count.no_head)} 0" in classes


def test_two_slides(results, classifier, tmp_path):
    first = changed(results, Path("left/slide.csv"), results.rows[:7])
    second = changed(results, Path("right/slide.csv"), results.rows[6:])
    write_report([first, second], tmp_path / "two.html", classifier=classifier)
    text = Page(tmp_path / "two.html").text
    assert "left/slide.csv and right/slide.csv agree" in text
    assert "right/slide.csv: Normal heads" in text
    assert "1 image is on left/slide.csv, too, and counts only there" in text
    assert "Slide 1" not in text
    with pytest.raises(InputError, match="all 13 images of the second are in the first"):
        write_report([results, results], tmp_path / "same.html", classifier=classifier)
    with pytest.raises(InputError, match="made with different scales"):
        write_report([first, changed(second, um_per_px=0.2)], tmp_path / "same.html", classifier=classifier)
    with pytest.raises(InputError, match="made with different thresholds"):
        write_report([first, changed(second, threshold=0.9)], tmp_path / "same.html", classifier=classifier)
    with pytest.raises(InputError, match=r"different models for what is no sperm \(--screen\)"):
        write_report([first, changed(second, screen_digest="a" * 64)], tmp_path / "same.html", classifier=classifier)
    assert not (tmp_path / "same.html").exists()


def test_a_model_without_a_normal_class(results, classifier, tmp_path):
    labels = {"label_names": ("Pale", "Tapered", "Pyriform", "Amorphous"), "normal_class": None}
    rows = [row | {"prediction": row["prediction"].replace("Normal", "Pale")} for row in results.rows]
    other = changed(results, rows=rows, **labels)
    write_report([other], tmp_path / "r.html", classifier=classifier)
    text = Page(tmp_path / "r.html").text
    assert "None of the model's classes (Pale, Tapered, Pyriform, Amorphous) is known to mean a normal head" in text
    assert "madrnet report … --normal-class NAME" in text
    write_report([other], tmp_path / "r.html", "pale", classifier)
    named = Page(tmp_path / "r.html").text
    write_report([results], tmp_path / "r.html", classifier=classifier)
    figure = named[named.index("Normal heads, without") : named.index("WHO's")]
    assert figure in Page(tmp_path / "r.html").text


def test_a_relative_model_and_images_are_found_from_elsewhere(madrnet, model_dir, crops, tmp_path, monkeypatch):
    there = tmp_path / "there"
    there.mkdir()
    (there / "model").symlink_to(model_dir)
    (there / "crops").mkdir()
    for name in ("head00.png", "head01.png"):
        shutil.copy(crops / name, there / "crops")
    monkeypatch.chdir(there)
    predict(sorted(Path("crops").iterdir()), Classifier("model"), Path("r.csv"))
    monkeypatch.chdir(tmp_path)
    assert write_report([read_results("there/r.csv")], Path("r.html")) == []
    page = Page(tmp_path / "r.html")
    assert (page.count("img", alt="outline and axes of the head"), page.count("img")) == (2, 6)
    # moved as a whole to where nothing of this is, the page says what it lacks, and the screen as well
    shutil.copytree(there, tmp_path / "moved", symlinks=True)
    (tmp_path / "moved" / "model").unlink()
    shutil.rmtree(tmp_path / "moved" / "crops")
    shutil.rmtree(there)
    run = madrnet("report", tmp_path / "moved" / "r.csv")
    assert run.returncode == 0
    assert "r.csv: 2 images not shown: the image is not there any more" in run.stderr
    assert "no attention maps: the model " in run.stderr
    text = Page(tmp_path / "moved" / "r.html").text
    assert "2 images not shown: the image is not there any more" in text
    assert "No attention maps: the model " in text


def test_images_of_another_slide_with_the_same_names(classifier, crops, tmp_path, monkeypatch):
    """Two slides are numbered alike; from the folder of one, the report of the other shows its own images."""
    for slide, names in (("a", ("head00.png", "head01.png")), ("b", ("head02.png", "head03.png"))):
        (tmp_path / slide / "images").mkdir(parents=True)
        for number, name in enumerate(names):
            shutil.copy(crops / name, tmp_path / slide / "images" / f"{number}.png")
    monkeypatch.chdir(tmp_path / "a")
    predict(sorted(Path("images").iterdir()), classifier, Path("r.csv"))
    monkeypatch.chdir(tmp_path / "b")
    assert write_report([read_results("../a/r.csv")], Path("r.html"), classifier=classifier) == []
    # the slide is moved with its table, and what lies here has the same names
    (tmp_path / "a").rename(tmp_path / "moved")
    assert write_report([read_results("../moved/r.csv")], Path("r.html"), classifier=classifier) == []
    assert Page(Path("r.html")).count("img", alt="outline and axes of the head") == 2


def test_an_image_that_was_not_classified_is_not_shown(classifier, crops, tmp_path):
    """A table can name any file of the reader's; only one with the pixels that it knows is shown."""
    for name in ("head00.png", "head01.png"):
        shutil.copy(crops / name, tmp_path)
    found = read_results(predict(sorted(tmp_path.glob("*.png")), classifier, tmp_path / "r.csv"))
    shutil.copy(crops / "head02.png", tmp_path / "head01.png")
    (missing,) = write_report([found], tmp_path / "r.html", classifier=classifier)
    assert "1 image not shown: the image is not, or no longer, the one that was" in missing
    assert Page(tmp_path / "r.html").count("img", alt="outline and axes of the head") == 1
    old = changed(found, rows=[row | {"pixel_sha256": ""} for row in found.rows])
    assert "does not say which pixels" in write_report([old], tmp_path / "r.html", classifier=classifier)[0]


def test_a_table_asks_no_network_and_loads_no_other_model(results, model_dir, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a report asked the network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in (
        "hf-hub:someone/x",
        "https://example.org/x",
        "madrnet_tf_efficientnet_lite0.absent",
        "x" * 5000,
        "a\0b",
    ):
        with pytest.raises(InputError, match="is not on this machine"):
            known_classifier(changed(results, model=name))
    with pytest.raises(InputError, match="does not say which model made it"):
        known_classifier(changed(results, model="", digest="", architecture=""))
    assert known_classifier(results).folder.digest() == results.info.digest
    other = tmp_path / "model"
    shutil.copytree(model_dir, other)
    config = json.loads((other / "config.json").read_text())
    config["model_args"] = {"backbone": "hf-hub:someone/x"}  # would be fetched if it were loaded
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="is not, or no longer, the one that made the table"):
        known_classifier(changed(results, model=str(other)))


def test_whatever_a_table_says_is_text(results, classifier, tmp_path):
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    plain = tmp_path / "plain.html"
    write_report([results], plain, classifier=classifier)
    known = {"code"} | {tag for tag, _ in Page(plain).elements}
    info = dict.fromkeys(("model", "architecture", "version", "protocol", "created", "held_out"), evil)
    rows = [row | {"file": evil, "flags": evil, "out_of_domain": evil, "prediction": evil} for row in results.rows]
    hostile = changed(
        results, tmp_path / evil.replace("/", "|"), rows, skipped=(evil,), normal_class=evil, label_names=(evil, "b"),
        confusion_matrix=((3, 1), (1, 3)), **info,
    )  # fmt: skip
    for normal in (None, evil):
        write_report([hostile], tmp_path / "evil.html", normal)
        page = Page(tmp_path / "evil.html")
        assert {tag for tag, _ in page.elements} <= known
        assert not any(key.startswith("on") for _, found in page.elements for key in found)
        assert not any("49" in text for text in page.texts if "script" in text)
        assert page.text.count("<script>alert(1)</script>") >= len(info) + 3


def test_a_report_does_not_take_the_place_of_its_table(madrnet, table, tmp_path):
    own = tmp_path / "x.html"
    shutil.copy(table, own)
    shutil.copy(info_path(table), info_path(own))
    before = own.read_bytes()
    (tmp_path / "link.html").symlink_to(own)
    for output in (own, tmp_path / "link.html"):
        with pytest.raises(InputError, match="the table itself, which would be lost"):
            write_report([read_results(own)], output)
    assert own.read_bytes() == before
    run = madrnet("report", table, "--output", table)
    assert run.returncode == 2
    assert "expected a name that ends in .html" in run.stderr
    assert read_results(table).rows
    with pytest.raises(InputError, match="no folder"):
        write_report([read_results(own)], tmp_path / "nowhere" / "r.html")
    assert not os.path.exists(tmp_path / "nowhere")


def test_a_page_made_in_python_names_no_folder(results, tmp_path):
    write_report([results], tmp_path / "r.html")
    assert f"give the file to madrnet report {results.path.name} --reviewed FILE" in Page(tmp_path / "r.html").text


def test_what_a_person_says_of_the_sample_and_of_its_heads(verb, table, results, tmp_path):
    said = {"sample": "17/2026 <b>", "slide": "A", "stain": "Diff-Quik", "operator": "A. B.", "microscope": "CX43"}
    options = [word for name, text in said.items() for word in (f"--{name}", text)]
    page, corrected = tmp_path / "r.html", tmp_path / "r.reviewed.csv"
    other = {"Normal": "Tapered"}.get(results.rows[0]["prediction"], "Normal")
    rows = [
        {
            "table": heads_digest(results), "row": number, "file": row["file"], "page": "", "head": "",
            "machine": row["prediction"], "person": other * (number == 1), "struck": "True" * (number == 2),
            "reviewer": "C. D.", "saved": "2026-11-28T21:00:00Z",
        }
        for number, row in enumerate(results.rows, 1)
    ]  # fmt: skip
    write_csv(corrected, rows)
    run = verb("report", table, "--output", page, *options, "--reviewed", corrected)
    assert (run.returncode, run.stderr) == (0, "")
    text = Page(page).text
    command = shlex.join(["madrnet", "report", *map(str, (table, "--output", page, *options, "--reviewed", corrected))])
    assert f"give the file to {command} --reviewed FILE" in text
    assert "Sample 17/2026 <b> Slide A Stain Diff-Quik Operator A. B. Microscope CX43 Date of the report 20" in text
    assert "A person checked 2 heads, gave 1 another class and struck out 1" in text
    assert "Person and machine agree on 0 of 1 heads" in text
    trail = text[text.index("Audit trail") : text.index("Words Flags")]
    for known in (
        f"SHA-256 of its weights and config {results.info.digest}", f"Its SHA-256 {sha256_of(table)}",
        f"Corrections of a person r.reviewed.csv (SHA-256 {sha256_of(corrected)} )", "Checked by C. D.",
        "Command madrnet report ", f"madrnet-timm {results.info.version}", "Scale 0.1 µm a pixel",
    ):  # fmt: skip
        assert known in trail
    before = page.read_bytes()
    for wrong, message in (
        (("--slide", "A", "--slide", "B"), "--slide: 2 names; expected one for each table, of which there are 1"),
        (("--reviewed", tmp_path / "no.csv"), "no.csv: no such file; expected the one that the report's page saved"),
        (("--reviewed", table), "has no column table; expected the file that the report's page saved"),
    ):
        run = verb("report", table, "--output", page, *wrong)
        assert (run.returncode, run.stderr.count("\n")) == (2, 1)
        assert message in run.stderr
    assert page.read_bytes() == before
    with pytest.raises(InputError, match="the corrections themselves, which would be lost"):
        write_report([results], corrected.rename(tmp_path / "x.html"), reviewed=[tmp_path / "x.html"])
