"""What was measured, as ``metrics.json`` and ``summary.json`` have it: one record and one reader each."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..values import Values, read_json
from .intervals import wilson_interval

__all__ = ["FIGURES", "ClassMetrics", "FoldFigures", "Metrics", "Summary", "control_key"]

FIGURES = ("accuracy", "precision", "recall", "f1")
"""Of all classes together, in the order of the tables."""

_CONTROL = "control "
_MANY = 10_000_000  # images
_LARGEST_SEED = 2**64


def control_key(name: str) -> str:
    """What the accuracy of a control is called among the figures of a fold."""
    return _CONTROL + name


@dataclass(frozen=True)
class ClassMetrics:
    """Figures of one class, fractions of 1, and the number of its images."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """What ``metrics.json`` says of a model on held-out images.

    Attributes:
        accuracy: Fraction of 1, as are the others.
        precision: Mean over the classes.
        recall: Mean over the classes.
        f1: Mean over the classes.
        per_class: Figures of each class by its name, in the order of the class ids.
        confusion_matrix: Rows are references, columns predictions.
        auc: See `madrnet_timm.evaluation.metrics.with_probabilities`.
        calibration_error: See there.
        controls: Accuracy of each control on the same images.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    per_class: Mapping[str, ClassMetrics]
    confusion_matrix: tuple[tuple[int, ...], ...]
    auc: float | None = None
    calibration_error: float | None = None
    controls: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Name of each class id."""
        return list(self.per_class)

    @classmethod
    def read(cls, path: Path) -> "Metrics":
        """What a ``metrics.json`` says; figures that older ones lack are None.

        Raises:
            InputError: It can't be read, or a value is missing or can't be; one line names file and key.
        """
        return cls.taken(read_json(path))

    @classmethod
    def taken(cls, values: Values) -> "Metrics":
        """Like `read`, from an object that was read."""
        classes = values.values("per_class")
        if not classes.found:
            raise values.wrong("per_class", "the figures of each class by its name")
        controls = values.values("controls")
        return cls(
            **{key: values.number(key, low=0, high=1) for key in FIGURES},
            per_class={name: _class_metrics(classes.values(name)) for name in classes.found},
            confusion_matrix=values.confusion_matrix("confusion_matrix", classes=len(classes.found)),
            auc=values.number("auc", None, 0, 1),
            calibration_error=values.number("calibration_error", None, 0, 1),
            controls={name: controls.number(name, low=0, high=1) for name in controls.found},
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of the file; what is not known is left out."""
        content = asdict(self) | {"confusion_matrix": [list(row) for row in self.confusion_matrix]}
        return {key: value for key, value in content.items() if value is not None and value != {}}


def _class_metrics(values: Values) -> ClassMetrics:
    precision, recall, f1 = (values.number(key, low=0, high=1) for key in ("precision", "recall", "f1"))
    return ClassMetrics(precision, recall, f1, values.count("support", high=_MANY))


@dataclass(frozen=True)
class FoldFigures:
    """Figures of one fold and seed of a cross-validation by name, see `Summary.mean`."""

    seed: int
    fold: int
    figures: Mapping[str, float]

    @classmethod
    def taken(cls, values: Values) -> "FoldFigures":
        """From an object that was read."""
        names = [name for name in values.found if name not in ("seed", "fold")]
        figures = {name: values.number(name, low=0, high=1) for name in ("accuracy", *names)}
        return cls(values.count("seed", high=_LARGEST_SEED), values.count("fold"), figures)

    def to_dict(self) -> dict[str, Any]:
        """A row of ``summary.csv``."""
        return {"seed": self.seed, "fold": self.fold, **self.figures}


@dataclass(frozen=True)
class Summary:
    """What ``summary.json`` says of a cross-validation.

    Attributes:
        folds: Figures of each fold and seed.
        mean: Of each figure over the folds; that of a control has the name `control_key`.
        sd: Standard deviation of each figure over the folds; NaN for a single fold.
        t_half_width: Half of the 95 % t interval of each mean; NaN for a single fold.
        images: Number of held-out images, each counted once whatever the number of seeds.
        pooled: Of all held-out images together.
    """

    folds: tuple[FoldFigures, ...]
    mean: Mapping[str, float]
    sd: Mapping[str, float]
    t_half_width: Mapping[str, float]
    images: int
    pooled: Metrics

    @property
    def seeds(self) -> list[int]:
        """Of the folds, in order."""
        return sorted({fold.seed for fold in self.folds})

    @property
    def right(self) -> float:
        """Number of images that are right, over several seeds the mean."""
        return self.pooled.accuracy * self.images

    @property
    def wilson(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy on the images, each counted once."""
        return wilson_interval(self.right, self.images)

    @property
    def controls(self) -> dict[str, float]:
        """Accuracy of each control, the mean over the folds."""
        return {key.removeprefix(_CONTROL): value for key, value in self.mean.items() if key.startswith(_CONTROL)}

    @classmethod
    def read(cls, path: Path) -> "Summary":
        """What a ``summary.json`` says.

        Raises:
            InputError: It can't be read, or a value is missing or can't be; one line names file and key.
        """
        values = read_json(path)
        folds = values.items("folds", expected="a list of the folds' figures")
        if not folds:
            raise values.wrong("folds", "a list of the folds' figures")
        mean, old = values.values("mean"), "pictures" in values and "images" not in values  # its name until 0.1
        return cls(
            folds=tuple(FoldFigures.taken(Values(fold, f"{path}: folds")) for fold in folds),
            mean={name: mean.number(name, low=0, high=1) for name in ("accuracy", *mean.found)},
            sd=_spread(values.values("sd"), mean.found),
            t_half_width=_spread(values.values("t_half_width"), mean.found),
            images=values.count("pictures" if old else "images", low=1, high=_MANY),
            pooled=Metrics.taken(values.values("pooled")),
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "seeds": len(self.seeds),
            "folds": [fold.to_dict() for fold in self.folds],
            "mean": dict(self.mean),
            "sd": dict(self.sd),
            "t_half_width": dict(self.t_half_width),
            "right": self.right,
            "images": self.images,
            "wilson": self.wilson,
            "pooled": self.pooled.to_dict(),
        }


def _spread(values: Values, names: Mapping[str, Any]) -> dict[str, float]:
    """A number for each name, NaN where there is none, as of a single fold."""
    none = {name for name in names if isinstance(value := values.found.get(name), float) and math.isnan(value)}
    return {name: math.nan if name in none else values.number(name, math.nan, 0) for name in names}
