"""ONNX Runtime: the one place where it is imported, with its telemetry switched off."""

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError

__all__ = ["create_session", "import_onnxruntime"]


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``.

    From version 1.29 on it writes an identity and a data base into the home folder when it is imported, and reports
    its use to Microsoft, unless ``ORT_DISABLE_TELEMETRY`` is set before; ``ORT_DISABLE_TELEMETRY=0`` lets it.

    Raises:
        InputError: It is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":  # one of its own
            raise
        raise InputError("ONNX Runtime is not installed; pip install 'madrnet-timm[onnx]'") from None
    return onnxruntime


def create_session(path: Path) -> Any:
    """An inference session on the CPU with as many threads as PyTorch has, which sleep when there is nothing to do."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others decode and measure meanwhile
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
