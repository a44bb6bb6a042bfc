"""The loopback Hub, the command with its environment, and a model to publish."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.fresh_python import FreshPython
from tests.inference.conftest import write_model

from .loopback import WRITER, LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    running = LoopbackHub()
    yield running
    running.close()


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("published") / "model")


@pytest.fixture
def environment(hub: LoopbackHub, tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MADRNET_"))}
    return kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": WRITER,
        "CUDA_VISIBLE_DEVICES": "",
    }


@pytest.fixture
def python(environment: dict[str, str], fresh_python: FreshPython) -> Callable[..., CompletedProcess[str]]:
    """Run Python with arguments in a process of its own, whose environment names the loopback Hub."""

    def run(*args: object, **changes: str) -> CompletedProcess[str]:
        # a copy of the package, which a test may change between two processes, is imported by each of them
        package = environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
        return fresh_python(*args, env=environment | changes, package=package)

    return run


@pytest.fixture
def madrnet(python: Callable[..., CompletedProcess[str]]) -> Callable[..., CompletedProcess[str]]:
    return lambda *args, **changes: python("-m", "madrnet_timm.cli", *args, **changes)
