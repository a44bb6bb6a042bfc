"""What computes the logits: PyTorch, or ONNX Runtime."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..files import replacing
from ..hub.model_folder import ModelFolder
from .export import export_onnx
from .finite import check_finite
from .runtime import create_session, import_onnxruntime

__all__ = ["BACKENDS", "create_backend"]

BACKENDS = ("torch", "onnx")

Floats = NDArray[np.float32]
Backend = Callable[[Floats], Floats]

_logger = logging.getLogger(__name__)


def _torch_backend(folder: ModelFolder, device: str | torch.device) -> Backend:
    model: Any = folder.load()
    try:
        target = torch.device(device)
        model = model.to(target).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].partition("Expected one of")[0] or "unknown"
        raise InputError(f"--device {device}: {why.strip()}; expected cpu, or a device that is here") from error
    if target.type == "meta":
        raise InputError(f"--device {device}: computes nothing; expected cpu, or a device that is here")

    def run(x: Floats) -> Floats:
        with torch.inference_mode():
            batch = torch.from_numpy(x).to(target, memory_format=torch.channels_last)
            return model(batch).float().cpu().numpy()

    return run


def _cached_path(folder: ModelFolder) -> Path:
    """Where a model's export is kept: by its weights and config, and by what made it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "madrnet_timm" / "onnx"
    return cache / f"{folder.digest()[:32]}-{version('madrnet-timm')}-torch{torch.__version__}.onnx"


def _cached_session(path: Path) -> Any:
    """A session of a kept export, or None: there is none, or it is damaged."""
    try:
        return create_session(path) if path.is_file() else None
    except Exception as error:  # ONNX Runtime's own kinds, which have no common class but this
        _logger.warning("%s: damaged (%s); exported again", path, str(error).splitlines()[0])
        return None


def _keep(made: Path, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            shutil.copyfile(made, beside)
    except (InputError, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or str(error)
        _logger.warning("%s: the export can't be kept (%s); it is made again next time", path, reason)


def _onnx_backend(folder: ModelFolder) -> Backend:
    import_onnxruntime()
    path = _cached_path(folder)
    session = _cached_session(path)
    if session is None:
        # beside nothing that is kept: a cache that is full or can't be written must not end the run
        with tempfile.TemporaryDirectory() as elsewhere:
            made = Path(elsewhere) / path.name
            export_onnx(folder, made)
            session = create_session(made)
            _keep(made, path)
    return lambda x: session.run(None, {"image": x})[0]


def create_backend(name: str, folder: ModelFolder, device: str | torch.device) -> Backend:
    """A function from normalised images ``(n, 3, size, size)`` to logits ``(n, classes)``.

    The function raises `InputError` for logits that are not finite: damaged weights must not yield a class.

    Raises:
        InputError: The backend is not installed, or the weights can't be loaded.
    """
    backend = _onnx_backend(folder) if name == "onnx" else _torch_backend(folder, device)

    def run(x: Floats) -> Floats:
        logits = backend(x)
        check_finite(logits, folder.path)
        return logits

    return run
