"""``config.json`` of a model folder, checked before anything is built from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg

from ..errors import InputError
from ..values import Values, read_json
from .description import DataConfig
from .model_args import is_architecture, read_model_args
from .model_info import ModelInfo
from .notes import noted_pipeline, with_pipeline

__all__ = ["ModelConfig"]

_SIZES = (16, 2048)
_MOST_CLASSES = 10_000
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random")


@dataclass(frozen=True)
class ModelConfig:
    """What ``config.json`` says of a model.

    Attributes:
        architecture: Of timm's registry.
        label_names: Name of each class id; numbers where it names none.
        model_args: Arguments of the architecture, see `read_model_args`.
        pretrained_cfg: timm's, of those keys that do not say where weights lie.
        info: What timm has no key for.
    """

    architecture: str
    label_names: tuple[str, ...]
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]
    info: ModelInfo

    @property
    def data_config(self) -> DataConfig:
        """How its images are prepared."""
        return resolve_data_config(pretrained_cfg=dict(self.pretrained_cfg))

    @classmethod
    def read(cls, path: Path) -> "ModelConfig":
        """Read and check a file; keys that are not known are ignored.

        Raises:
            InputError: It can't be read, or a value is none that a model can have; one line names file and key.
        """
        values = read_json(path)
        architecture = values.text("architecture", longest=100)
        if not is_architecture(architecture):
            raise values.wrong("architecture", "a name that timm knows, such as madrnet_resnet50")
        timms = values.values("pretrained_cfg") if "pretrained_cfg" in values else values  # older ones are flat
        labels = _label_names(values, timms)
        args = read_model_args(values.values("model_args"))
        if args.get("num_classes", len(labels)) != len(labels):
            raise values.wrong("model_args", f"num_classes = {len(labels)}, as many as it names labels")
        info = ModelInfo.read(values, labels)
        if info is None:  # written by timm, maybe of a model of this package
            info = ModelInfo(pipeline=noted_pipeline({"notes": timms.texts("notes", ())}) or "raw")
        return cls(
            architecture,
            labels,
            {"num_classes": len(labels)} | args,
            _pretrained_cfg(architecture, timms)
            | {"num_classes": len(labels), "label_names": list(labels), "notes": with_pipeline({}, info.pipeline)},
            info,
        )


def _label_names(values: Values, timms: Values) -> tuple[str, ...]:
    counts = {one.count("num_classes", 0, 0, _MOST_CLASSES) for one in (values, timms)} - {0}
    labels = values.texts("label_names", None) or timms.texts("label_names", None)
    if not labels:
        labels = tuple(map(str, range(max(counts, default=0))))
    if counts - {len(labels)}:  # timm would start the classifier anew, silently
        raise InputError(f"{values.where}: names {len(labels)} labels, but {sorted(counts)} classes; they do not fit")
    if not labels:
        raise InputError(f"{values.where}: names neither label_names nor num_classes")
    if twice := sorted({name for name in labels if labels.count(name) > 1}):
        raise InputError(f"{values.where}: label_names has {twice[0]!r} more than once; each class needs its own name")
    return labels


def _pretrained_cfg(architecture: str, values: Values) -> dict[str, Any]:
    """timm's configuration; where its layers are is what timm's registry says, not the file."""
    low, high = _SIZES
    own = get_pretrained_cfg(architecture.partition(".")[0])
    channels, height, width = values.numbers("input_size", (3, 224, 224), low=1, high=high)
    if channels != 3 or height != width or not low <= height == int(height):
        raise values.wrong("input_size", f"[3, side, side] with a side from {low} to {high}: RGB images, squares")
    pool_size = values.numbers("pool_size", None, length=2, low=1, high=high)
    return {
        "tag": values.text("tag", None, longest=100),
        "input_size": (3, int(height), int(width)),
        "fixed_input_size": values.flag("fixed_input_size", False),
        "interpolation": values.text("interpolation", "bicubic", choices=_INTERPOLATIONS),
        "crop_pct": values.number("crop_pct", 0.875, 0.1, 1),
        "crop_mode": values.text("crop_mode", "center", choices=("center", "squash", "border")),
        "mean": values.numbers("mean", (0.485, 0.456, 0.406), low=-1e3, high=1e3),
        "std": values.numbers("std", (0.229, 0.224, 0.225), low=1e-6, high=1e6),
        "pool_size": None if pool_size is None else tuple(map(int, pool_size)),
        "license": values.text("license", None, longest=100),
        "first_conv": own.first_conv if own else None,
        "classifier": own.classifier if own else None,
    }
