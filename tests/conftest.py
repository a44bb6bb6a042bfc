"""Shared fixtures. Everything runs offline."""

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process of pytest-xdist has one core, so have the subprocesses
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="madrnet-tests-")  # of the subprocesses, too

import pytest
import torch

from madrnet_timm import cli
from madrnet_timm.command import run_command

from .fresh_python import FreshPython

EXAMPLES = Path(__file__).parents[1] / "examples"
SHARED = Path(os.environ.get("MADRNET_SHARED", Path(__file__).parents[2] / "shared"))


def _shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} of the shared data")
    return path


@pytest.fixture(scope="session")
def hushem_dir() -> Path:
    return _shared("data", "hushem")


@pytest.fixture(scope="session")
def smids_dir() -> Path:
    return _shared("data", "smids")


@pytest.fixture(scope="session")
def lite0_weights() -> Path:
    return _shared("weights", "tf_efficientnet_lite0.in1k.safetensors")


@pytest.fixture(scope="session")
def fresh_python() -> Iterator[FreshPython]:
    running = FreshPython()
    yield running
    running.close()


@pytest.fixture(scope="session")
def madrnet(fresh_python: FreshPython) -> Callable[..., CompletedProcess[str]]:
    """The command, in a process of its own; keywords are variables of its environment."""
    return lambda *args, **env: fresh_python("-m", "madrnet_timm.cli", *args, env=os.environ | env, package=True)


@pytest.fixture
def example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., CompletedProcess[str]]:
    """``python examples/NAME ARGUMENTS`` in this process: seconds of imports less than in one of its own."""

    def run(name: str, *args: object) -> CompletedProcess[str]:
        words = [str(EXAMPLES / name), *map(str, args)]
        monkeypatch.setattr(sys, "argv", words)
        module = importlib.import_module("examples." + name.removesuffix(".py").replace("/", "."))
        status = 0
        try:
            run_command(module.main)
        except SystemExit as stop:
            status = stop.code or 0
        return CompletedProcess(words, status, *capsys.readouterr())

    return run


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., CompletedProcess[str]]:
    """``madrnet VERB ARGUMENTS`` in this process."""

    def run(*args: object) -> CompletedProcess[str]:
        words = ["madrnet", *map(str, args)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return CompletedProcess(words, stop.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium, driven by Selenium; skipped where one of them is missing."""
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


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _own_cache() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    yield
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
