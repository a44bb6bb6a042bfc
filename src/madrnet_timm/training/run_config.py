"""What a training was told: one record, and its one reader and writer of ``config.yaml``."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import yaml

from ..data.folds import divided_records
from ..errors import InputError
from ..files import write_text
from ..values import Values, is_number
from .recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

__all__ = ["RunConfig"]

_NOT_STORED = ("output", "resume", "tracker", "workers")
"""They do not decide the result."""


@dataclass(frozen=True)
class RunConfig:
    """What is trained, on what, and where it goes.

    Attributes:
        model: timm name, with or without ``madrnet_``.
        dataset: A name of `madrnet_timm.data.sources.SOURCES`.
        data_dir: Its folder.
        skip_unreadable: Leave out images that can't be read.
        fold: Number of the fold held out; None: none, everything is trained on.
        protocol: A name of `madrnet_timm.data.folds.PROTOCOLS`.
        folds: Number of folds, or a CSV file of folds.
        seed: Of the folds, the initialisation, the order and random changes.
        backbone_weights: safetensors file for the backbone, or for a plain timm model.
        weights: Model to start from, all but its classifier: what `madrnet_timm.hub.lookup.find_model` takes.
        pretrained_backbone: Let timm fetch the backbone's weights.
        leave_out_seen: Measure without those held-out images that the initial weights or a teacher learned from.
        normal_class: Name of the class of normal heads, see `madrnet_timm.data.sources.normal_class`.
        model_kwargs: Further arguments of the model.
        teachers: Models that the model follows (distillation): what `madrnet_timm.hub.lookup.find_model` takes.
        license: Identifier of the licence that the weights are given away under, for the model card.
        output: Run folder.
        resume: Continue the run in it.
        tracker: Name of one of Accelerate's trackers.
        mixed_precision: What Accelerate computes in: ``no``, ``bf16``, ``fp16``; as ``accelerate launch`` was told.
        workers: Processes that change the training images, for each process that trains; 0: that process itself.
            None: 0 on the CPU, on a GPU its share of the cores, at most 8. The result is the same.
        recipe: How it is trained.
    """

    model: str
    dataset: str
    output: Path
    data_dir: Path | None = None
    skip_unreadable: bool = False
    fold: int | None = 0
    protocol: str = "grouped"
    folds: int | Path = 5
    seed: int = 0
    backbone_weights: Path | None = None
    weights: str | None = None
    pretrained_backbone: bool = False
    leave_out_seen: bool = False
    normal_class: str | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    teachers: tuple[str, ...] = ()
    license: str | None = None
    resume: bool = False
    tracker: str | None = None
    mixed_precision: str = field(default_factory=lambda: os.environ.get("ACCELERATE_MIXED_PRECISION", "no"))
    workers: int | None = None
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def hybrid(self) -> bool:
        """Train with the hybrid loss, which needs a model that gives embeddings."""
        return self.recipe.loss == "hybrid" or (self.recipe.loss == "auto" and self.model.startswith("madrnet_"))

    def divided_records(self) -> tuple["Dataset", "NDArray[np.int64]", list[str]]:
        """See `madrnet_timm.data.folds.divided_records`."""
        return divided_records(self.dataset, self.data_dir, self.protocol, self.folds, self.seed, self.skip_unreadable)

    def to_dict(self) -> dict[str, Any]:
        """Everything that decides the result, in plain values, as ``config.yaml`` has it."""
        config = asdict(self)
        recipe = config.pop("recipe")
        for key in _NOT_STORED:
            config.pop(key)
        config["weights"] = None if self.weights is None else _lasting(self.weights)
        config["teachers"] = [_lasting(teacher) for teacher in self.teachers]
        if not self.skip_unreadable:
            del config["skip_unreadable"]
        stored = {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in (config | recipe).items()}
        return json.loads(json.dumps(stored, default=str))

    def write(self, path: Path) -> None:
        """Write a ``config.yaml``.

        Raises:
            InputError: It can't be written.
        """
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))

    @classmethod
    def read(cls, path: Path) -> "RunConfig":
        """What a ``config.yaml`` says, with the folder that it lies in as output.

        Options that were not there yet when it was written have their defaults, those that are gone since are left out,
        and old spellings are read as the new ones.

        Raises:
            InputError: It can't be read, is not the config of a run, or has a value that no run can have.
        """
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]})") from None
        if not isinstance(found, dict):
            raise InputError(f"{path}: not the config of a run, which names its options")
        values = Values(_in_todays_words(found), str(path))
        for key in ("model", "dataset"):
            values.text(key)
        given = {"mixed_precision": "no"} | _stored(cls, values)
        try:
            return cls(**given, output=path.parent, recipe=Recipe(**_stored(Recipe, values)))
        except InputError as error:  # of the recipe
            raise InputError(f"{path}: {error}") from None

    def differences(self, other: "RunConfig") -> dict[str, tuple[Any, Any]]:
        """What decides the result and is not the same in another: both values of each such option.

        Where the data lie is none: their images are compared by ``folds.csv``.
        """
        own, others = self.to_dict(), other.to_dict()
        keys = sorted((own.keys() | others.keys()) - {"data_dir"})
        return {key: (own.get(key), others.get(key)) for key in keys if own.get(key) != others.get(key)}


def _lasting(model: str) -> str:
    """A model by a name that stays the same: its path from the root, or its full published name."""
    from ..models.pretrained import full_name  # late: it imports PyTorch

    path = Path(model.removeprefix("local-dir:"))
    return str(path.resolve()) if path.exists() else full_name(model)


_KINDS: Mapping[Any, tuple[str, Any, Any]] = {
    NoneType: ("nothing", lambda v: v is None, lambda v: v),
    bool: ("true or false", lambda v: isinstance(v, bool), lambda v: v),
    int: ("a whole number", lambda v: isinstance(v, int) and is_number(v), lambda v: v),
    float: ("a number", is_number, float),
    str: ("a text", lambda v: isinstance(v, str), lambda v: v),
    Path: ("a path", lambda v: isinstance(v, str), Path),
    tuple: ("a list of texts", lambda v: isinstance(v, list) and all(isinstance(p, str) for p in v), tuple),
    dict: ("names and values", lambda v: isinstance(v, dict), lambda v: v),
}  # fmt: skip
"""By the type of a field: what is expected in a file, how that is told, and how it is read."""


def _in_todays_words(found: dict[str, Any]) -> dict[str, Any]:
    """A config with the option and the protocol that were renamed after 0.1 as they are called now."""
    out = {"samples_per_class" if name == "per_class" else name: value for name, value in found.items()}
    return out | ({"protocol": "image-level"} if out.get("protocol") == "published" else {})


def _stored(record: type, values: Values) -> dict[str, Any]:
    """Those fields of a record that a file has, each as its type says."""
    out = {}
    for name, hint in get_type_hints(record).items():
        if name not in values.found or name in (*_NOT_STORED, "recipe"):  # whose options stand beside the others
            continue
        kinds = get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
        value = values.found[name]
        fitting = [read for _, fits, read in map(_KINDS.__getitem__, kinds) if fits(value)]
        if not fitting:
            raise values.wrong(name, " or ".join(_KINDS[kind][0] for kind in kinds))
        out[name] = fitting[0](value)
    return out
