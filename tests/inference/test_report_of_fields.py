"""The report of a table of fields, as a file and in a real browser (skipped without one): corrected by clicking."""

import dataclasses
import json
import re
import time

import pytest

from madrnet_timm.inference import Classifier
from madrnet_timm.inference.counting import count_slides
from madrnet_timm.inference.field_record import FieldRecord
from madrnet_timm.inference.report import Origin, write_report
from madrnet_timm.inference.report.images import FieldView
from madrnet_timm.inference.report.review import read_reviews, reviewed_count, with_review
from madrnet_timm.inference.report.words import percent

from .test_report import Page


@pytest.fixture(scope="module")
def classifier(model_dir):
    return Classifier(model_dir)


@pytest.fixture
def page(field_table, classifier, tmp_path):
    write_report([field_table], tmp_path / "slide.html", classifier=classifier, origin=Origin(operator="A. B."))
    return tmp_path / "slide.html"


def test_each_field_has_a_box_for_each_head(field_table, page):
    found = Page(page)
    heads = [row for row in field_table.rows if row["counted"]]
    assert (len(heads), len(field_table.rows)) == (12, 18)
    boxes = {
        tuple(int(found[name]) for name in ("x", "y", "width", "height"))
        for tag, found in found.elements
        if tag == "rect" and float(found["y"]).is_integer() and "fill" not in found
    }
    expected = {(r["x0"], r["y0"], r["x1"] - r["x0"], r["y1"] - r["y0"]) for r in field_table.rows}
    assert boxes == expected
    assert found.count("svg", viewbox="0 0 900 700") == 4
    targets = {found["id"] for tag, found in found.elements if found.get("class") == "head"}
    links = {found["href"][1:] for tag, found in found.elements if tag == "a" and found.get("class") == "box"}
    assert links == targets == {f"s0r{number}" for number, row in enumerate(field_table.rows, 1) if row["counted"]}
    assert "6 heads at the border of a field are in no figure" in found.text
    assert "In 1 field nothing was found" in found.text
    assert "field3.png: nothing that looks like a head" in found.text
    assert "Field 3, field2.png: 4 heads, 2 at the border" in found.text
    assert "Command madrnet predict fields --output slide.csv" in found.text


def test_what_is_no_sperm_has_a_count_and_no_share(field_table, classifier, tmp_path):
    """Its row, its field's caption and the list to be checked agree; where it is in doubt, it may be a head."""
    label, rows, numbers = field_table.info.label_names, [], 0
    for row in field_table.rows:
        numbers += row["counted"]
        name = label[3] if numbers in (1, 2) else label[numbers % 2]
        rows.append(row | {
            "prediction": name, "probability": 0.9, "abstain": numbers in (1, 4), "out_of_domain": "", "ok": True,
            "flags": "", **{f"p_{each}": 0.9 if each == name else 0.1 / 3 for each in label},
        })  # fmt: skip
    info = dataclasses.replace(field_table.info, no_head_class=label[3])
    table = dataclasses.replace(field_table, rows=rows, info=info)
    write_report([table], tmp_path / "r.html", classifier=classifier)
    text = Page(tmp_path / "r.html").text
    heads = [row for row in rows if row["counted"]][2:]
    assert f"1 head of {len(heads)} is doubtful" in text
    assert "2 objects are no sperm and are in no figure. On 1 of them there is doubt: they may be heads." in text
    classes = text[text.index("Classes class count share") : text.index("Fields")]
    normal = sum(row["prediction"] == label[0] for row in heads)
    assert re.search(rf"\b{label[0]} {normal} {100 * normal / len(heads):.1f} % ", classes)
    assert re.search(rf"\b{label[3]} 2 1 ", classes)  # count and doubtful
    in_first = sum(row["counted"] for row in rows if row["file"].endswith("field0.png"))
    assert f"Field 1, field0.png: {in_first - 2} heads, 2 no sperm, 2 at the border" in text
    data = re.search(r'<script type="application/json" id="heads">(.*?)</script>', (tmp_path / "r.html").read_text())
    assert [head["doubtful"] for head in json.loads(data[1])[0]["heads"]] == [True, False, False, True] + [False] * 8

    border = dataclasses.replace(field_table, rows=[row | {"counted": False} for row in field_table.rows])
    write_report([border], tmp_path / "b.html", classifier=classifier)
    assert "no share Every head lies at the border of its field (18)" in Page(tmp_path / "b.html").text


def test_the_scale_of_images_that_do_not_share_one(field_table, classifier, tmp_path):
    rows = [
        row | {"length_um": row["head_length"] * (0.1 + 0.1 * (number > 2)) if number < 5 else None}
        for number, row in enumerate(field_table.rows)
    ]
    write_report([dataclasses.replace(field_table, rows=rows)], tmp_path / "r.html", classifier=classifier)
    assert "Scale 0.1 to 0.2 µm a pixel, known for 5 of 18 measured heads" in Page(tmp_path / "r.html").text


def test_too_many_heads_for_a_page_count_all_the_same(field_table, classifier, tmp_path, monkeypatch):
    from madrnet_timm.inference.report import images

    monkeypatch.setattr(images, "_MOST_HEADS", 5)
    monkeypatch.setattr(images, "_MOST_FIELDS", 2)
    sure = [row | {"abstain": False, "out_of_domain": "", "ok": True, "flags": ""} for row in field_table.rows]
    write_report([dataclasses.replace(field_table, rows=sure)], tmp_path / "r.html", classifier=classifier)
    found = Page(tmp_path / "r.html")
    assert sum(f.get("class") == "head" for _, f in found.elements) == 5
    assert "Here are the first 5; 7 more would be too many for a page" in found.text
    assert "2 fields more would be too many for a page" in found.text
    data = re.search(r'<script type="application/json" id="heads">(.*?)</script>', (tmp_path / "r.html").read_text())
    assert sum(json.loads(data[1])[0]["rest"]) == 7


def live(browser, name):
    return browser.find_element("css selector", f'[data-live="{name}"]').get_attribute("textContent")


def click(browser, head, title):
    button = browser.find_element("css selector", f'#{head} button[title="{title}"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)  # not below the bar at the bottom
    button.click()


def test_corrections_by_clicking(field_table, classifier, page, browser, tmp_path):
    from selenium.webdriver.support.ui import Select

    folder = str(tmp_path / "saved")
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": folder})
    browser.get(page.as_uri())
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    tally = browser.find_element("id", "tally")
    assert tally.text.startswith("0 checked, 0 changed, 0 struck out")
    assert not browser.find_element("css selector", ".person-says").is_displayed()

    names = list(field_table.info.label_names)
    counted = [(f"s0r{n}", n, row) for n, row in enumerate(field_table.rows, 1) if row["counted"]]
    judged = {}
    for index, (head, number, row) in enumerate(counted[:4]):  # another class, struck out, confirmed, changed and back
        other = names[(names.index(row["prediction"]) + 1) % 4]
        title = (other, "strike out: does not count", row["prediction"], other)[index]
        click(browser, head, title)
        if index == 3:
            click(browser, head, title)
        else:
            judged[number] = (other, None, row["prediction"])[index]
    assert tally.text.startswith("3 checked, 1 changed, 1 struck out")
    said = [browser.find_element("css selector", f"#{head} .person").text for head, _, _ in counted[:4]]
    assert said == [f"person: {judged[counted[0][1]]}", "struck out", "confirmed", ""]
    box = browser.find_element("css selector", f"#{counted[0][0].replace('r', 'b')} tspan")
    assert box.get_attribute("textContent") == judged[counted[0][1]][0]

    def expected(judged):
        from madrnet_timm.inference.report.review import Review

        known = with_review(field_table, Review(judged))
        return reviewed_count(count_slides([known])[0], known, "Normal")

    def figures():
        return {
            name: live(browser, name)
            for name in ("share", "share-normal", "share-total", "own-total", "judged", "total")
        }

    def figures_of(count):
        share = count.share
        return {
            "share": percent(share.share), "share-normal": str(share.normal), "share-total": str(share.total),
            "own-total": str(count.own.total), "judged": str(count.judged), "total": str(count.classes.total()),
        }  # fmt: skip

    assert figures() == figures_of(expected(judged))
    assert live(browser, "agreement") == "50.0 %"
    assert live(browser, "share-high") == percent(expected(judged).share.high)

    shown = Select(browser.find_element("id", "filter"))
    shown.select_by_value("open")
    assert sum(one.is_displayed() for one in browser.find_elements("css selector", ".head")) == len(counted) - 3
    shown.select_by_value("all")

    browser.find_element("id", "save").click()
    saved = tmp_path / "saved" / "slide.reviewed.csv"
    until = time.monotonic() + 20
    while not (saved.exists() and saved.stat().st_size) and time.monotonic() < until:
        time.sleep(0.05)
    (review,) = read_reviews([saved], [field_table])
    assert (review.judged, review.reviewers) == (judged, ("A. B.",))

    # taken back, the page says the same, with scripts and without; and it can be gone on with
    again = tmp_path / "again.html"
    write_report([field_table], again, classifier=classifier, reviewed=[saved])
    browser.get(again.as_uri())
    assert figures() == figures_of(expected(judged))
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(again.as_uri())
    assert figures() == figures_of(expected(judged))
    assert browser.find_element("css selector", ".person-says").is_displayed()
    assert not browser.find_element("id", "correct").is_displayed()
    assert browser.find_elements("css selector", ".choices") == []
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.get(again.as_uri())
    browser.find_element("id", "confirm").click()
    browser.switch_to.alert.accept()
    rest = {n: row["prediction"] for _, n, row in counted if "no_head" not in row["flags"]}
    assert figures() == figures_of(expected(rest | judged))
    assert f"{len(rest | judged)} checked" in browser.find_element("id", "tally").text
    text = Page(again).text
    assert "Corrections of a person slide.reviewed.csv (SHA-256" in text
    assert "Checked by A. B." in text


def test_nothing_is_wider_than_a_telephone(page, browser):
    for width in (390, 1100):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == 390}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_texts_of_heads_that_touch_lie_beside_each_other():
    boxes = [
        (300, 300, 360, 350), (340, 330, 400, 380), (600, 300, 660, 350), (620, 302, 660, 352), (930, 10, 998, 60),
        (2, 700, 60, 748), (None,) * 4,
    ]  # fmt: skip
    rows = [
        {"number": number, "head": 8 + number, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
        for number, box in enumerate(boxes, 1)
    ]
    view = FieldView(1, FieldRecord("f.png", width=1000, height=750), None, rows[:4], rows[4:])
    assert view.font_size == 22
    texts = {
        number: (x, base - 18, x + 0.62 * 22 * len(f"{8 + number} W"), base + 4)
        for number, (x, base) in view.texts.items()
    }
    assert sorted(texts) == [1, 2, 3, 4, 5, 6]
    for number, (x0, y0, x1, y1) in texts.items():
        assert 0 <= x0 < x1 <= 1001
        assert 0 <= y0 < y1 <= 751
        others = [other for key, other in texts.items() if key != number] + [
            b for b in boxes[:6] if b != boxes[number - 1]
        ]
        assert all(x1 <= a + 1 or c <= x0 + 1 or y1 <= b + 1 or d <= y0 + 1 for a, b, c, d in others)
