"""Recipes: everything that decides what a training run computes, with presets."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..data.pipelines import PIPELINES
from ..errors import InputError

__all__ = ["PRESETS", "Recipe"]


def _option(default: Any, help: str, choices: Iterable[str] = ()) -> Any:
    return field(default=default, metadata={"help": help, "choices": tuple(choices)})


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. Every field is an option of ``madrnet train``."""

    epochs: int = _option(80, "passes over the training images")
    soup: int = _option(
        1,
        "train so often from the same initial weights, each time in another order with other random changes, and keep "
        "the mean of the weights; so many times the time of a training, none more in prediction",
    )
    batch_size: int = _option(16, "images per step and process")
    samples_per_class: int = _option(
        0, "batches of groups of so many images of a class, so that triplets exist; 0: at random"
    )
    img_size: int = _option(112, "side of the network's input in pixels")
    pipeline: str = _option("head-only", "; ".join(f"{name}: {what}" for name, what in PIPELINES.items()), PIPELINES)
    views: str = _option(
        "pipeline",
        "what is trained on: pipeline, mixed (each image at random as the pipeline has it, as an aligned head, or "
        "as it lies and turned by any angle, so that timm's own transform will do, too), or both (at random as the "
        "pipeline has it or as it lies, and a prediction is the mean of the two: twice the network's time)",
        ("pipeline", "mixed", "both"),
    )
    augmentation: str = _option(
        "medium",
        "random changes in training: none, light (the paper's), medium, varied (more of stain, and focus), strong "
        "(any direction, for heads that are not aligned)",
        ("none", "light", "medium", "varied", "strong"),
    )
    lr_backbone: float = _option(5e-4, "highest learning rate of the backbone")
    lr_reversible: float = _option(5e-4, "highest learning rate of R")
    lr_head: float = _option(2e-3, "highest learning rate of P, the embedding and the classifier")
    weight_decay: float = _option(0.05, "AdamW's weight decay, on weights with more than one dimension")
    warmup: float = _option(0.2, "part of the steps in which OneCycleLR raises the learning rates")
    clip_grad: float = _option(1.0, "norm that gradients are clipped to")
    label_smoothing: float = _option(0.1, "of the cross entropy")
    class_weights: str = _option(
        "none", "of the cross entropy: none, or balanced (rare classes count more)", ("none", "balanced")
    )
    ema_decay: float = _option(0.98, "decay of an exponential moving average of the weights; 0: none")
    drop_rate: float = _option(0.0, "dropout before the classifier")
    drop_path_rate: float = _option(0.0, "stochastic depth of the backbone")
    loss: str = _option(
        "auto",
        "hybrid (cross entropy, triplet and HARC), ce, or auto: hybrid for madrnet_*, else ce",
        ("auto", "hybrid", "ce"),
    )
    alpha: float = _option(0.4, "weight of the triplet loss")
    beta: float = _option(0.3, "weight of the aspect ratio constraint")
    loss_weights: str = _option(
        "fixed", "of triplet and constraint: fixed, or learned from there with a barrier", ("fixed", "learned")
    )
    margin: float = _option(0.3, "margin of the triplet loss")
    harc: str = _option(
        "coupled",
        "form of the aspect ratio constraint: coupled, or literal as eq. 14 is printed",
        ("coupled", "literal"),
    )
    distill_temperature: float = _option(2.0, "of teacher and student in a distillation")
    distill_probabilities: float = _option(1.0, "weight of the teachers' probabilities")
    distill_embedding: float = _option(0.5, "weight of the teachers' embeddings")

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"--{name.replace('_', '-')} {value}: expected a finite number")
        for option in fields(self):
            value, choices = getattr(self, option.name), option.metadata["choices"]
            if choices and value not in choices:
                raise InputError(f"--{option.name.replace('_', '-')} {value}: expected one of {', '.join(choices)}")
        positive = ("epochs", "soup", "batch_size", "img_size", "lr_backbone", "lr_reversible", "lr_head", "clip_grad")
        for name in (*positive, "distill_temperature"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected more than 0")
        for name in ("weight_decay", "alpha", "beta", "margin", "distill_probabilities", "distill_embedding"):
            if not getattr(self, name) >= 0:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 0 or more")
        for name in ("warmup", "label_smoothing", "ema_decay", "drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected a number in [0, 1)")
        if self.loss_weights == "learned" and not (self.alpha and self.beta):
            raise InputError(
                f"--loss-weights learned with --alpha {self.alpha} and --beta {self.beta}: expected both above 0; to "
                "leave a part out, take --loss-weights fixed"
            )
        if self.views == "both" and self.pipeline == "raw":
            raise InputError("--views both with --pipeline raw: expected another pipeline, whose view differs from raw")
        if self.samples_per_class < 0 or (self.samples_per_class and self.batch_size % self.samples_per_class):
            raise InputError(
                f"--samples-per-class {self.samples_per_class}: expected a divisor of --batch-size {self.batch_size}, "
                "or 0"
            )
        if self.batch_size < 2:
            raise InputError(f"--batch-size {self.batch_size}: expected at least 2, MADRNet uses batch statistics")
        if self.img_size < 32:
            raise InputError(f"--img-size {self.img_size}: expected at least 32")

    @property
    def duration(self) -> str:
        """The number of epochs, in words."""
        several = f" each of {self.soup} trainings from the same weights, of which the mean is kept"
        return f"{self.epochs}{several if self.soup > 1 else ''}"

    @property
    def second_view(self) -> str | None:
        """Pipeline of the view that a prediction takes the mean with, if there is one."""
        return "raw" if self.views == "both" else None

    def with_options(self, options: dict[str, Any]) -> "Recipe":
        """The recipe with those of ``options`` that are not None."""
        names = {f.name for f in fields(self)}
        return replace(self, **{k: v for k, v in options.items() if k in names and v is not None})


PRESETS = {
    "quick": Recipe(),
    "paper": Recipe(
        epochs=400,
        batch_size=64,
        img_size=512,
        pipeline="raw",
        augmentation="light",
        lr_backbone=3e-4,
        lr_reversible=1e-3,
        lr_head=1e-3,
        warmup=0.3,
        label_smoothing=0.0,
        ema_decay=0.0,
        loss_weights="learned",
    ),
}
"""``quick``: minutes on two CPU cores. ``paper``: Table I and section IV of the paper."""
