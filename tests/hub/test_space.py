"""The Space in a real browser: drop a picture, read the class. Skipped without gradio, selenium or Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.inference import Classifier

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
        for _ in range(120):
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


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.add_argument("--window-size=1200,1400")
    running = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield running
    running.quit()


@pytest.mark.slow
def test_drop_a_picture_and_read_its_class(page, browser, model_dir, tmp_path, hushem_dir):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    pictures = [hushem_dir / "02_Tapered" / "image_001.BMP", tmp_path / "drawn.png"]
    Image.fromarray(draw_head("Normal", 3).image).save(pictures[1])
    expected = [prediction.label for prediction in Classifier(model_dir)(pictures)]
    for picture, label in zip(pictures, expected, strict=True):
        browser.get(page)
        wait = WebDriverWait(browser, 60)
        field = wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "input[type=file]"))
        as_png = tmp_path / "drop.png"
        Image.open(picture).save(as_png)
        field.send_keys(str(as_png))
        wait.until(lambda b: "Class:" in b.find_element(By.ID, "said").text)
        assert f"Class: {label}" in browser.find_element(By.ID, "said").text
        text = browser.find_element(By.TAG_NAME, "body").text
        assert "Research use only; not a medical device" in text
        assert "aspect ratio γ" in text
        assert len(browser.find_elements(By.TAG_NAME, "img")) >= 3
    if os.environ.get("MADRNET_SCREENSHOT"):
        browser.save_screenshot(os.environ["MADRNET_SCREENSHOT"])
