"""What computes the logits: PyTorch, or ONNX Runtime."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
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
Backend = Callable[[Floats], Floats]


def _torch_backend(folder: ModelFolder, device: str | torch.device) -> Backend:
    try:
        target = torch.device(device)
        model = folder.load().to(target).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--device {device}: {str(error).splitlines()[0]}; expected cpu, or a device that is here"
        ) from None

    def run(x: Floats) -> Floats:
        with torch.inference_mode():
            batch = torch.from_numpy(x).to(target, memory_format=torch.channels_last)
            return model(batch).float().cpu().numpy()

    return run


@contextmanager
def _onnx_file(folder: ModelFolder) -> Iterator[Path]:
    """The model in ONNX form, written once to the cache; where that can't be written, to a folder that is removed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "madrnet_timm" / "onnx"
    made_by = f"{version('madrnet-timm')}-torch{torch.__version__}"
    path = cache / f"{folder.digest()[:32]}-{made_by}.onnx"
    if path.is_file():
        yield path
        return
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    if os.access(cache, os.W_OK):
        export_onnx(folder, path)
        yield path
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        export_onnx(folder, Path(elsewhere) / path.name)
        yield Path(elsewhere) / path.name


def _onnx_backend(folder: ModelFolder) -> Backend:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "--backend onnx needs ONNX Runtime; pip install 'madrnet-timm[onnx]', or use --backend torch"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with _onnx_file(folder) as path:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"image": x})[0]


def create_backend(name: str, folder: ModelFolder, device: str | torch.device) -> Backend:
    """A function from normalised pictures ``(n, 3, size, size)`` to logits ``(n, classes)``.

    Raises:
        InputError: The backend is not installed, or the weights can't be loaded.
    """
    return _onnx_backend(folder) if name == "onnx" else _torch_backend(folder, device)
