"""The Space, also in a real browser. Skipped without gradio, the browser's part without selenium or Chromium."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.report import write_report
from madrnet_timm.inference.results import read_results

SPACE = Path(__file__).parents[2] / "hub" / "space"


@pytest.fixture
def page(model_dir, tmp_path):
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "MADRNET_MODEL": str(model_dir), "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen([sys.executable, SPACE / "app.py"], env=env, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(url, timeout=2).read()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def drop(browser, field, *paths):
    browser.find_element("css selector", f"#{field} input[type=file]").send_keys("\n".join(map(str, paths)))


def set_scale(browser, value):
    from selenium.webdriver.common.keys import Keys

    field = browser.find_element("css selector", "#scale textarea, #scale input")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(value, Keys.ENTER)


@pytest.mark.slow
def test_the_space_in_a_browser(page, browser, model_dir, tmp_path, hushem_dir):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def text():
        return browser.find_element(By.TAG_NAME, "body").text

    # one image: class, doubts, measurements; another scale measures anew
    wait = WebDriverWait(browser, 300)
    browser.get(page)
    wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#image input[type=file]"))
    assert "Research use only; not a medical device" in text()
    assert browser.find_element(By.CSS_SELECTOR, "#scale textarea, #scale input").get_attribute("value") == ""
    head = tmp_path / "head.png"
    Image.open(hushem_dir / "02_Tapered" / "image_001.BMP").save(head)
    expected = Classifier(model_dir)([head], um_per_px=0.1)[0]
    drop(browser, "image", head)
    wait.until(lambda b: "Class:" in b.find_element(By.ID, "said").text)
    said = browser.find_element(By.ID, "said").text
    assert f"Class: {expected.label}" in said
    assert ("doubtful" in said) is bool(expected.abstain or expected.out_of_domain)
    assert "length, µm" not in text()
    set_scale(browser, "0.1")
    wait.until(lambda b: f"{expected.head.length_um:.4g}" in text())
    # drawn examples, one click away
    browser.get(page)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#examples img"))[0].click()
    wait.until(lambda b: "Class:" in b.find_element(By.ID, "said").text)
    # a field: boxes, counts, crops, a row for each head; another head by its crop, and by a click into the field
    drawn = draw_field(3, (900, 720), heads=6, at_border=1, style=FieldStyle(clutter=False, head_length=60))
    field = tmp_path / "field.png"
    Image.fromarray(drawn.image).save(field)
    found = Classifier(model_dir).field(drawn.image)
    browser.get(page)
    wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#image input[type=file]"))
    drop(browser, "image", field)
    wait.until(lambda b: f"{len(found.counted)} heads counted" in text())
    assert f"{len(found) - len(found.counted)} at the border" in text()
    wait.until(lambda b: "Head 1" in b.find_element(By.ID, "said").text)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#crops .thumbnail-item")) == len(found)
    browser.find_elements(By.CSS_SELECTOR, "#crops .thumbnail-item")[2].click()
    wait.until(lambda b: "Head 3" in b.find_element(By.ID, "said").text)
    shown = browser.find_element(By.CSS_SELECTOR, "#field img")
    scale = shown.size["width"] / 900
    x, y = (value * scale for value in found[4].head.center)
    click = ActionChains(browser).move_to_element_with_offset(
        shown, round(x - shown.size["width"] / 2), round(y - shown.size["height"] / 2)
    )
    click.click().perform()
    wait.until(lambda b: "Head 5" in b.find_element(By.ID, "said").text)
    assert f"Class: {found[4].label}" in browser.find_element(By.ID, "said").text
    if os.environ.get("MADRNET_SCREENSHOT"):
        browser.save_screenshot(os.environ["MADRNET_SCREENSHOT"])
    # what is no field of stained heads, is told so
    Image.new("L", (1280, 1024), 200).save(field)
    browser.get(page)
    wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#image input[type=file]"))
    drop(browser, "image", field)
    wait.until(lambda b: "No heads were found in this field" in text())


def load_app(model_dir, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.setenv("MADRNET_MODEL", str(model_dir))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    spec = importlib.util.spec_from_file_location("app", SPACE / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app


def test_a_folder_gives_all_that_a_report_needs(model_dir, tmp_path, monkeypatch):
    app = load_app(model_dir, monkeypatch)
    drawn = [tmp_path / f"{name}.png" for name in ("a", "b", "copy", "blank")]
    for number, path in enumerate(drawn[:2]):
        Image.fromarray(draw_head("Normal", number).image).save(path)
    shutil.copy(drawn[0], drawn[2])
    Image.new("RGB", (131, 131), "gray").save(drawn[3])
    (tmp_path / "broken.png").write_bytes(b"nothing")
    heads = [str(shutil.copy(drawn[1], tmp_path / f"head{number}.png")) for number in range(5)]
    with pytest.raises(app.gr.Error, match=r"heads would be .* µm long"):
        app.many(heads, "10")
    assert not app.made[-1].exists()  # what was dropped is not kept
    with pytest.raises(app.gr.Error, match="no number of micrometres"):
        app.many(heads, "1e300")
    summary, shown, (archive, report), scale = app.many([*map(str, drawn), str(tmp_path / "broken.png")], "0,1")
    assert scale == "0,1"
    assert "without a head 1, copies 1" in summary
    assert [row[0] for row in shown] == ["a.png", "b.png", "copy.png", "blank.png", "broken.png"]
    assert shown[3][1:4] == ["", "", "no head was found"]
    assert "can't read it as" in shown[4][3]
    assert "Research use only; not a medical device" in Path(report).read_text(encoding="utf-8")
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == ["report.html", "results.csv", "results.csv.json"]
        packed.extractall(tmp_path)
    results = read_results(tmp_path / "results.csv")  # lies beside the images: the report has them
    assert write_report([results], tmp_path / "again.html") == []
    assert results.info.um_per_px == 0.1
    assert [row["file"] for row in results.rows] == ["a.png", "b.png", "copy.png", "blank.png"]


def test_a_field_counts_alike_alone_and_in_a_folder(model_dir, tmp_path, monkeypatch):
    """Also by a model with a class without a head, whose share counts none of these."""
    path = tmp_path / "field.png"
    Image.fromarray(draw_field(5, (900, 720), 9, style=FieldStyle("rose", 60.0)).image).save(path)
    folder = shutil.copytree(model_dir, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    said = [list(one.probabilities.values()) for one in Classifier(folder).field(path)]
    weights["classifier.bias"] -= torch.from_numpy(1.5 * np.log(said).mean(0)).float()  # of several classes, then
    save_file(weights, folder / "model.safetensors")
    classes = Counter(one.label for one in Classifier(folder).field(path).counted)
    nothing, *others = sorted(classes, key="Normal".__eq__)
    assert others
    config = json.loads((folder / "config.json").read_text())
    config["madrnet"] |= {"no_head_class": nothing}
    config["madrnet"].pop("domain", None)  # so that drawn heads are without a doubt
    (folder / "config.json").write_text(json.dumps(config))
    app = load_app(folder, monkeypatch)
    app.classifier.threshold = 0.0
    said, of_a_folder = app.one(str(path), "")[7], app.many([str(path)], "")[0]
    assert f"**{sum(classes[name] for name in others)} heads counted**, " in said
    assert f", {classes[nothing]} {nothing}. " in said
    assert f"{nothing} " not in said.partition(f" {nothing}. ")[2]
    (interval,) = re.findall(r"95 % Wilson interval [\d.]+ to [\d.]+ %", said)
    assert interval in of_a_folder
    blank = Image.new("RGB", (900, 720), "lightgray")
    Image.open(path).save(tmp_path / "s.tif", save_all=True, append_images=[blank])
    lines = app.many([str(tmp_path / "s.tif")], "")[1]
    assert lines[0][0] == "s.tif, page 1, head 1"
    assert lines[-1][0] == "s.tif, page 2"
    assert lines[-1][3].startswith("no heads: ")


def test_a_file_of_several_pages(model_dir, tmp_path, monkeypatch):
    """The first tab takes one image; the second names the pages."""
    app = load_app(model_dir, monkeypatch)
    pages = [Image.fromarray(draw_head("Normal", number).image) for number in range(2)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(app.gr.Error, match=r"s.tif: 2 pages; give one of them"):
        app.one(str(tmp_path / "s.tif"), "")
    assert [row[0] for row in app.many([str(tmp_path / "s.tif")], "")[1]] == ["s.tif, page 1", "s.tif, page 2"]


def test_what_the_space_installs_is_what_the_package_needs():
    with (SPACE.parents[1] / "pyproject.toml").open("rb") as opened:
        needed = tomllib.load(opened)["project"]["dependencies"]
    listed = (SPACE / "requirements.txt").read_text(encoding="utf-8").split()
    assert [line for line in listed if not line.startswith("gradio")] == needed
    version = re.search("sdk_version: (.+)", (SPACE / "README.md").read_text(encoding="utf-8"))[1]
    assert version.split(".")[0] == listed[0].removeprefix("gradio>=")
