"""A model as ONNX, checked against PyTorch before it is written."""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..files import replacing
from ..hub.model_folder import ModelFolder

__all__ = ["export_onnx"]

_TOLERANCE = 1e-4
_BATCHES = (1, 3)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"ONNX needs {error.name}; pip install 'madrnet-timm[onnx]'") from None


def export_onnx(folder: ModelFolder, path: Path) -> float:
    """Write a model folder as one ONNX file.

    Input ``image`` is ``(batch, 3, size, size)`` float32, normalised, with any batch size; output ``logits`` is
    ``(batch, classes)``. The metadata hold what else is needed: ``label_names`` (JSON), ``mean``, ``std``,
    ``input_size``, ``crop_pct``, ``interpolation`` and the ``pipeline`` that prepares a picture.

    Args:
        folder: The model.
        path: The file, which takes its place only after ONNX Runtime gave the logits of PyTorch.

    Returns:
        The largest difference of a logit from PyTorch's.

    Raises:
        InputError: ONNX is not installed, the file can't be written, or the logits differ by more than 1e-4.
    """
    _need_onnx()
    import onnx
    import onnxruntime

    model = folder.load(exportable=True)
    side = folder.data_config["input_size"][-1]
    example = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with replacing(path) as beside:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about itself
            level = logging.getLogger("torch.onnx").level
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            try:
                torch.onnx.export(
                    model,
                    (example,),
                    beside,
                    input_names=["image"],
                    output_names=["logits"],
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
            finally:
                logging.getLogger("torch.onnx").setLevel(level)
        written = onnx.load(beside)
        config = folder.data_config
        entries = {
            "architecture": folder.architecture,
            "label_names": json.dumps(folder.label_names),
            "pipeline": folder.pipeline,
            **{key: json.dumps(config[key]) for key in ("input_size", "mean", "std", "crop_pct", "interpolation")},
        }
        for key, value in entries.items():
            written.metadata_props.add(key=key, value=value)
        onnx.save(written, beside)
        difference = 0.0
        session = onnxruntime.InferenceSession(str(beside), providers=["CPUExecutionProvider"])
        for batch in _BATCHES:
            x = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(batch))
            with torch.inference_mode():
                expected = model(x).numpy()
            found = session.run(None, {"image": x.numpy()})[0]
            difference = max(difference, float(np.abs(found - expected).max()))
        if not difference <= _TOLERANCE:
            raise InputError(f"{path}: ONNX Runtime differs from PyTorch by {difference:.1e}; not written")
    return difference
