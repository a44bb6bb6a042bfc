"""What timm's format has no key for: how a model was trained, what it prepares and what it was measured at."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..data.pipelines import PIPELINES
from ..errors import InputError
from ..evaluation.calibration import Calibration
from ..evaluation.guarantee import Guarantee
from ..evaluation.prediction_sets import SetRule
from ..evaluation.selection import Candidate
from ..values import Values

__all__ = ["FORMAT", "ModelInfo"]

FORMAT = 1
"""Version of what stands under the key ``madrnet`` of config.json; a folder without a number has the first."""

_KEY = "madrnet"
_MANY = 10_000_000  # images


@dataclass(frozen=True)
class ModelInfo:
    """The key ``madrnet`` of a model's config.json.

    Attributes:
        version: Of the package that wrote it.
        dataset: Name of the data set that the model was trained on; ``folder`` is somebody's own.
        learned_before: Data sets that its initial weights and its teachers learned from.
        base_model: Repository on the Hub of its initial weights.
        pipeline: A name of `madrnet_timm.data.pipelines.PIPELINES`.
        mixed_views: Trained on aligned heads and whole images as they lie, too, so that other pipelines will do.
        second_view: Pipeline of another view: a prediction is the mean of the probabilities of the two.
        normal_class: Label of the normal heads, one of the model's.
        no_head_class: Label of what is no head, one of the model's.
        domain: Lowest and highest value of each feature of the training images, see `domain_features`.
        relative_length: Median length of a head over the longer side of its image in the training images.
        protocol: What was trained and measured on which images.
        accuracy: On held-out images, 0 to 1.
        confusion_matrix: Of those images; rows are the reference, each image counts once per seed.
        controls: Accuracy of the controls there.
        held_out: Number of the held-out images.
        auc: On those images, see `madrnet_timm.evaluation.metrics.with_probabilities`.
        calibration_error: On those images, not calibrated.
        calibration: By those images.
        guarantee: What those images allow to promise.
    """

    version: str | None = None
    dataset: str = "folder"
    learned_before: tuple[str, ...] = ()
    base_model: str | None = None
    pipeline: str = "raw"
    mixed_views: bool = False
    second_view: str | None = None
    normal_class: str | None = None
    no_head_class: str | None = None
    domain: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    relative_length: float | None = None
    protocol: str | None = None
    accuracy: float | None = None
    confusion_matrix: tuple[tuple[int, ...], ...] | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    held_out: int | None = None
    auc: float | None = None
    calibration_error: float | None = None
    calibration: Calibration | None = None
    guarantee: Guarantee | None = None

    @property
    def threshold(self) -> float | None:
        """Lowest calibrated probability of the chosen class at which the model decides; None where it has none."""
        if self.guarantee is not None:
            return self.guarantee.chosen.threshold
        return None if self.calibration is None else self.calibration.threshold

    @staticmethod
    def is_in(config: Values) -> bool:
        """Whether a config.json has the key; those that other programs wrote have not."""
        return _KEY in config

    @classmethod
    def read(cls, config: Values, label_names: tuple[str, ...]) -> "ModelInfo | None":
        """Read and check the key of a config.json; None where there is none.

        Args:
            config: The whole file; of the key's object, what is not known is ignored, what is missing has its default.
            label_names: Of the model.

        Raises:
            InputError: A value that can't be, or a format of a later version; the message names file and key.
        """
        if not cls.is_in(config):
            return None
        values = config.values(_KEY)
        if values.count("format", FORMAT) > FORMAT:
            raise InputError(
                f"{values.where}: written by a later version of madrnet-timm ({values.text('version', 'unknown')}); "
                "pip install --upgrade madrnet-timm"
            )
        return cls(
            version=values.text("version", None, longest=100),
            dataset=values.text("dataset", "folder", longest=200),
            learned_before=values.texts("learned_before", ()),
            base_model=values.text("base_model", None, longest=200),
            pipeline=values.text("pipeline", "raw", choices=PIPELINES),
            mixed_views=values.flag("mixed_views", False),
            second_view=values.text("second_view", None, choices=PIPELINES),
            normal_class=values.text("normal_class", None, choices=label_names),
            no_head_class=values.text("no_head_class", None, choices=label_names),
            domain=_domain(values.values("domain")),
            relative_length=values.number("relative_length", None, 0.01, 1),
            protocol=values.text("protocol", None),
            accuracy=values.number("accuracy", None, 0, 1),
            confusion_matrix=values.confusion_matrix("confusion_matrix", None, len(label_names)),
            controls=_controls(values.values("controls")),
            held_out=values.count("held_out", None, 0, _MANY),
            auc=values.number("auc", None, 0, 1),
            calibration_error=values.number("calibration_error", None, 0, 1),
            calibration=_calibration(values.values("calibration")) if "calibration" in values else None,
            guarantee=_guarantee(values.values("guarantee"), len(label_names)) if "guarantee" in values else None,
        )

    def to_config(self) -> dict[str, Any]:
        """The key and its object, for config.json; what is None is left out."""
        found = asdict(self) | {"calibration": None if self.calibration is None else self.calibration.to_dict()}
        return {_KEY: {"format": FORMAT} | {key: value for key, value in found.items() if value is not None}}


def _domain(values: Values) -> dict[str, tuple[float, float]]:
    ranges = {key: values.numbers(key, length=2, low=-1e6, high=1e6) for key in values.found}
    for key, (low, high) in ranges.items():
        if low > high:
            raise values.wrong(key, "the lowest value, then the highest")
    return ranges


def _controls(values: Values) -> dict[str, float]:
    return {key: values.number(key, low=0, high=1) for key in values.found}


def _calibration(values: Values) -> Calibration:
    images = "pictures" if "pictures" in values and "images" not in values else "images"  # its name until 0.1
    return Calibration(
        temperature=values.number("temperature", low=1e-3, high=1e3),
        images=values.count(images, high=_MANY),
        calibration_error=values.number("calibration_error", low=0, high=1),
        threshold=values.number("threshold", None, 0, 1),
    )


def _guarantee(values: Values, classes: int) -> Guarantee:
    rule = values.values("sets")
    own = rule.items("own", expected=f"a list of {classes} flags", most=classes)
    if len(own) != classes or not all(isinstance(flag, bool) for flag in own):
        raise rule.wrong("own", f"{classes} times true or false, one for each label")
    found = tuple(map(_candidate, values.objects("candidates", most=100)))
    if not found:
        raise values.wrong("candidates", "a list of thresholds")
    return Guarantee(
        cells=values.count("cells", low=1, high=_MANY),
        wanted_risk=values.number("wanted_risk", low=0, high=1),
        level=values.number("level", low=0, high=1),
        candidates=found,
        sets=SetRule(
            coverage=rule.number("coverage", low=0, high=1),
            thresholds=rule.numbers("thresholds", length=classes, low=0, high=1),
            own=tuple(own),
        ),
    )


def _candidate(values: Values) -> Candidate:
    decided = values.count("decided", high=_MANY)
    return Candidate(
        threshold=values.number("threshold", low=0, high=1),
        decided=decided,
        wrong=values.count("wrong", high=decided),
        bound=values.number("bound", low=0, high=1),
    )
