"""What computes the logits: that they are finite in every backend, and how the ONNX export is kept."""

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from madrnet_timm.errors import InputError
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.inference import Classifier, backends
from madrnet_timm.inference.backends import BACKENDS, create_backend
from madrnet_timm.inference.explain import embed
from madrnet_timm.inference.export import export_onnx
from madrnet_timm.inference.predict import predict_files

from ..conftest import EXAMPLES

ROOT = EXAMPLES.parent


@pytest.fixture(scope="module")
def exported(model_dir, tmp_path_factory):
    """The model's export as it is kept, made once: it takes seconds."""
    pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        create_backend("onnx", ModelFolder(model_dir), "cpu")
        (kept,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.onnx")
        yield kept


@pytest.fixture
def overflowing(model_dir, tmp_path):
    """A model whose weights are finite and whose logits are not."""
    shutil.copytree(model_dir, tmp_path / "overflowing")
    state = load_file(tmp_path / "overflowing" / "model.safetensors")
    state["classifier.weight"] = torch.full_like(state["classifier.weight"], 3e38)
    save_file(state, tmp_path / "overflowing" / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "overflowing"


def test_logits_that_are_not_finite_yield_no_class(overflowing, crops):
    with pytest.raises(InputError, match=r"overflowing: the model gives numbers that are not finite"):
        Classifier(overflowing)([crops / "head00.png"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_batch_is_looked_at(backend, model_dir, exported):
    run = create_backend(backend, ModelFolder(model_dir), "cpu")
    x = np.zeros((2, 3, 64, 64), np.float32)
    assert np.isfinite(run(x)).all()
    x[1, 0, 5, 5] = np.nan
    with pytest.raises(InputError, match="not finite"):
        run(x)


def test_no_export_and_no_embedding_of_such_a_model(overflowing, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="not finite"):
        export_onnx(ModelFolder(overflowing), tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx"))
    model = ModelFolder(overflowing).load()
    model.embedding[0].weight.data.fill_(3e38)
    with pytest.raises(InputError, match="not finite"):
        embed(model, torch.rand(2, 3, 64, 64))


@pytest.fixture
def exports(exported, monkeypatch):
    """How often a backend asks for an export; each is a copy of the one that is made already."""
    asked = []

    def export(folder, path):
        asked.append(path)
        path.write_bytes(exported.read_bytes())

    monkeypatch.setattr(backends, "export_onnx", export)
    return asked


def test_the_export_is_kept(model_dir, exports, exported, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder, x = ModelFolder(model_dir), np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    first = create_backend("onnx", folder, "cpu")(x)
    (kept,) = tmp_path.rglob("*.onnx")
    assert kept.name == exported.name
    assert np.array_equal(create_backend("onnx", folder, "cpu")(x), first)
    assert len(exports) == 1
    kept.write_bytes(kept.read_bytes()[:1000])  # damaged
    assert np.array_equal(create_backend("onnx", folder, "cpu")(x), first)
    assert len(exports) == 2
    assert kept.read_bytes() == exported.read_bytes()


def test_a_cache_that_cannot_be_written_does_not_end_the_run(model_dir, exports, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    x = np.zeros((1, 3, 64, 64), np.float32)
    found = create_backend("onnx", ModelFolder(model_dir), "cpu")(x)
    assert found == pytest.approx(create_backend("torch", ModelFolder(model_dir), "cpu")(x), abs=1e-4)
    assert "the export can't be kept (Not a directory); it is made again next time" in caplog.text


def test_a_full_cache_does_not_end_the_run(model_dir, exports, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def full(source, target):
        Path(target).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(backends.shutil, "copyfile", full)
    assert create_backend("onnx", ModelFolder(model_dir), "cpu")(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 4)
    assert "the export can't be kept (No space left on device)" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_threads_are_shared_while_files_are_classified(model_dir, crops, monkeypatch):
    """Two of them decode; afterwards PyTorch has its own back."""
    classifier, seen = Classifier(model_dir), []
    backend = classifier.backend
    monkeypatch.setattr(classifier, "backend", lambda x: seen.append(torch.get_num_threads()) or backend(x))
    before = torch.get_num_threads()
    try:
        for threads, expected in ((1, 1), (2, 1), (5, 3)):
            torch.set_num_threads(threads)
            predict_files([crops / "head00.png"], classifier)
            assert (seen.pop(), torch.get_num_threads()) == (expected, threads)
    finally:
        torch.set_num_threads(before)


def test_no_telemetry(fresh_python, tmp_path):
    """ONNX Runtime from 1.29 on writes an identity below the home folder as soon as it is imported."""
    env = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    code = "from madrnet_timm.inference.runtime import import_onnxruntime as load; print(load().__name__)"
    run = fresh_python("-c", code, env=env | {"HOME": str(tmp_path)})
    assert run.stdout == "onnxruntime\n", run.stderr
    assert not [path for path in tmp_path.rglob("*") if "onnx" in path.name.lower()]


def test_onnxruntime_is_imported_in_one_place():
    files = [*(ROOT / "src").rglob("*.py"), *EXAMPLES.rglob("*.py"), *(ROOT / "hub" / "space").glob("*.py")]
    importing = [p for p in files if re.search(r"^\s*(import|from) onnxruntime", p.read_text("utf-8"), re.MULTILINE)]
    assert [path.name for path in importing] == ["runtime.py"]
