"""A model as ONNX, checked against PyTorch before it is written."""

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..data.pipelines import PIPELINES
from ..errors import InputError
from ..evaluation.calibration import LOWEST
from ..files import replacing
from ..hub.model_folder import ModelFolder
from .finite import check_finite
from .runtime import create_session, import_onnxruntime

__all__ = ["export_onnx"]

_TOLERANCE = 1e-3  # the signed root (Eq. 9) jumps where its argument passes zero, which rounding decides
_BATCHES = (1, 3)


def _need_onnx() -> None:
    import_onnxruntime()
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxscript"):  # one of theirs
            raise
        raise InputError(f"ONNX needs {error.name}; pip install 'madrnet-timm[onnx]'") from None


class _Calibrated(nn.Module):
    """A model that gives probabilities as `tempered` makes them."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logarithms = self.model(x).log_softmax(1).clamp(min=math.log(LOWEST))
        return (logarithms / self.temperature).softmax(1)


def _metadata(folder: ModelFolder, probabilities: bool) -> dict[str, str]:
    """What a program must know that has nothing but the file; all but plain words is JSON."""
    config, calibration, guarantee = folder.data_config, folder.calibration, folder.info.guarantee
    side, names = config["input_size"][-1], list(PIPELINES)
    # each pipeline is told by those before it
    words = [f"{name}: {PIPELINES[name]}" for name in names[: names.index(folder.pipeline) + 1] if name != "raw"]
    return {
        "architecture": folder.architecture,
        "label_names": json.dumps(folder.label_names),
        "pipeline": folder.pipeline,
        "second_view": json.dumps(folder.info.second_view),
        "second_view_in_words": (
            "a pipeline: the model's probabilities are the mean of those for this view and for the first one; null: "
            "there is one view"
        ),
        "pipeline_in_words": "; ".join(words) or f"raw: {PIPELINES['raw']}",
        "preparation": (
            f"Not in the graph: each image is prepared by the pipeline to {side} x {side} pixels (`madrnet prepare` "
            "writes images so prepared), RGB in this order, divided by 255 to values from 0 to 1, then minus mean and "
            f"divided by std, each per channel; float32 (batch, 3, {side}, {side})"
        ),
        "color_order": "RGB",
        "value_range": json.dumps([0, 1]),
        **{key: json.dumps(config[key]) for key in ("input_size", "mean", "std", "crop_pct", "interpolation")},
        "output": (
            "probabilities, calibrated by the temperature" if probabilities else
            "logits; probabilities are softmax(logits / temperature), where those below 1e-7 before it count as 1e-7"
        ),
        "temperature": json.dumps(1.0 if calibration is None else calibration.temperature),
        "threshold": json.dumps(folder.info.threshold),
        "threshold_in_words": "below this probability of the most probable class it is better to look yourself",
        "risk": json.dumps(None if guarantee is None else guarantee.risk),
        "risk_in_words": "share of wrong ones, at most, that is promised of the heads decided on by the threshold",
        "set_thresholds": json.dumps(None if guarantee is None else guarantee.sets.thresholds),
        "set_thresholds_in_words": (
            "a class is in the prediction set where it is the most probable one, or its probability is at least this"
        ),
        "use": "Research use only; not a medical device",
    }  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporter says about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _write(model: nn.Module, example: torch.Tensor, output: str, metadata: dict[str, str], path: Path) -> None:
    import onnx

    with _quiet():
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["image"],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    written = onnx.load(path)
    for key, value in metadata.items():
        written.metadata_props.add(key=key, value=value)
    onnx.save(written, path)


def _difference(model: nn.Module, path: Path, side: int, name: str | Path) -> float:
    """The largest difference of ONNX Runtime's output from PyTorch's."""
    session: Any = create_session(path)
    found = []
    for batch in _BATCHES:
        x = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(batch))
        with torch.inference_mode():
            expected = model(x).numpy()
        check_finite(expected, name)
        found.append(np.abs(session.run(None, {"image": x.numpy()})[0] - expected).max())
    return float(np.max(found))  # NaN where one is NaN


def export_onnx(folder: ModelFolder, path: Path, probabilities: bool = False) -> float:
    """Write a model folder as one ONNX file.

    Input ``image`` is ``(batch, 3, size, size)`` float32, normalised, with any batch size; output ``logits`` is
    ``(batch, classes)``. The metadata say what else another program needs and what of it is not in the graph:
    preparation of the images in words, ``pipeline``, ``color_order``, ``value_range``, ``mean``, ``std``,
    ``input_size``, ``label_names``, ``temperature``, ``threshold``, ``risk``, ``set_thresholds``. All but words is
    JSON.

    Args:
        folder: The model.
        path: The file, which takes its place only after ONNX Runtime gave what PyTorch gives.
        probabilities: The output is ``probabilities`` in place of ``logits``, calibrated where the model comes with a
            calibration.

    Returns:
        The largest difference of an output from PyTorch's.

    Raises:
        InputError: Calibrated probabilities of a model that takes the mean of two views; ONNX is not installed, the
            file can't be written, the outputs differ by more than 1e-3 or are not finite.
    """
    if probabilities and folder.info.second_view is not None:
        raise InputError(
            f"{folder.path}: takes the mean of two views before it calibrates, which a graph of one image can't; "
            "export it without --probabilities (docs/onnx.md)"
        )
    _need_onnx()
    model, output = folder.load(exportable=True), "logits"
    if probabilities:
        temperature = 1.0 if folder.calibration is None else folder.calibration.temperature
        model, output = _Calibrated(model, temperature).eval(), "probabilities"
    side = folder.data_config["input_size"][-1]
    example = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    # half a minute on two busy cores
    with (
        replacing(path) as beside,
        tqdm(total=2, desc="exporting to ONNX", bar_format="{desc} {bar}", disable=None) as bar,
    ):
        _write(model, example, output, _metadata(folder, probabilities), beside)
        bar.update()
        difference = _difference(model, beside, side, folder.path)
        bar.update()
        if not difference <= _TOLERANCE:
            raise InputError(f"{path}: ONNX Runtime differs from PyTorch by {difference:.1e}; not written")
    return difference
