"""Shared fixtures. Everything runs offline."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="madrnet-tests-")  # of the subprocesses, too

import pytest
import torch

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


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _own_cache() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    yield
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
