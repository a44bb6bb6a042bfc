"""What computes the logits: PyTorch, or ONNX Runtime."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..hub.model_folder import ModelFolder
from .export import export_onnx

__all__ = ["BACKENDS", "create_backend"]

BACKENDS = ("torch", "onnx")

Floats = NDArray[np.float32]


def _torch_backend(folder: ModelFolder, device: str | torch.device) -> Callable[[Floats], Floats]:
    target = torch.device(device)
    model = folder.load().to(target).to(memory_format=torch.channels_last)

    def run(x: Floats) -> Floats:
        with torch.inference_mode():
            batch = torch.from_numpy(x).to(target, memory_format=torch.channels_last)
            return model(batch).float().cpu().numpy()

    return run


def _onnx_path(folder: ModelFolder) -> Path:
    """The model in ONNX form, written once to the cache, under the weights' hash."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "madrnet_timm" / "onnx"
    path = cache / f"{folder.digest()}.onnx"
    if path.is_file():
        return path
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        path = Path(tempfile.mkdtemp()) / path.name
    export_onnx(folder, path)
    return path


def _onnx_backend(folder: ModelFolder) -> Callable[[Floats], Floats]:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "--backend onnx needs ONNX Runtime; pip install 'madrnet-timm[onnx]', or use --backend torch"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(_onnx_path(folder), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"image": x})[0]


def create_backend(name: str, folder: ModelFolder, device: str | torch.device) -> Callable[[Floats], Floats]:
    """A function from normalised pictures ``(n, 3, size, size)`` to logits ``(n, classes)``.

    Raises:
        InputError: The backend is not installed, or the weights can't be loaded.
    """
    return _onnx_backend(folder) if name == "onnx" else _torch_backend(folder, device)
