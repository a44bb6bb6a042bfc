"""Options of a training run, checked."""

import difflib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm

from ..data.folds import check_seed, divided_records
from ..data.sources import SOURCES
from ..errors import InputError
from ..hub.card import check_license
from ..hub.lookup import find_model
from ..hub.model_args import check_model_args
from ..hub.model_folder import ModelFolder, model_folder_of
from ..hub.timm_weights import check_timm_weights, timm_repository
from ..hub.weights import check_safetensors
from ..models.published import published_models
from .recipe import PRESETS, Recipe

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

__all__ = ["RunOptions", "check", "check_fold", "training_command", "with_defaults"]


@dataclass(frozen=True)
class RunOptions:
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
        leave_out_seen: Measure without those held-out images that the start or a teacher was trained on.
        normal_class: Name of the class of normal heads, see `madrnet_timm.data.sources.normal_class`.
        model_kwargs: Further arguments of the model.
        teachers: Run folders of models that the model follows (distillation).
        license: Identifier of the licence that the weights are given away under, for the model card.
        output: Run folder.
        resume: Continue the run in it.
        tracker: Name of one of Accelerate's trackers.
        mixed_precision: What Accelerate computes in: ``no``, ``bf16``, ``fp16``; as ``accelerate launch`` was told.
        workers: Processes that change the training pictures, for each process that trains; 0: that process itself.
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
    teachers: tuple[Path, ...] = ()
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

    def to_config(self) -> dict[str, Any]:
        """Everything that decides the result, for ``config.yaml``."""
        config = asdict(self)
        recipe = config.pop("recipe")
        for key in ("output", "resume", "tracker", "workers"):
            config.pop(key)
        if self.weights is not None and (path := Path(self.weights.removeprefix("local-dir:"))).exists():
            config["weights"] = str(path.resolve())
        config["teachers"] = [str(path.resolve()) for path in self.teachers]
        if not self.skip_unreadable:
            del config["skip_unreadable"]
        return {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in (config | recipe).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], output: Path) -> "RunOptions":
        """What `to_config` gave, as ``config.yaml`` of a run holds it.

        Raises:
            InputError: Values that no run can have.
        """
        try:
            return cls._from_config(config, output)
        except (TypeError, KeyError) as error:
            raise InputError(f"{output.parent}: config.yaml of its runs can't be understood ({error})") from None

    @classmethod
    def _from_config(cls, config: Mapping[str, Any], output: Path) -> "RunOptions":
        values = {f.name: config[f.name] for f in fields(cls) if f.name in config}
        values |= {
            name: Path(values[name]) for name in ("data_dir", "backbone_weights") if values.get(name) is not None
        }
        values["teachers"] = tuple(Path(path) for path in values.get("teachers", ()))
        if isinstance(values["folds"], str):
            values["folds"] = Path(values["folds"])
        recipe = Recipe(**{f.name: config[f.name] for f in fields(Recipe) if f.name in config})
        return cls(**values | {"output": output, "recipe": recipe})


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config; options that were not there yet when it was written have their defaults."""
    defaults = RunOptions("", "", Path(), mixed_precision="no").to_config()
    return {key: value for key, value in defaults.items() if key not in ("model", "dataset")} | dict(config)


def check_fold(fold: int, folds: int) -> None:
    """Raise `InputError` unless there is such a fold."""
    if not 0 <= fold < folds:
        raise InputError(f"--fold {fold}: expected 0 to {folds - 1}, there are {folds} folds")


def check(options: RunOptions) -> None:
    """Find a user's mistakes that need neither the data nor the model.

    Raises:
        InputError: Unknown model, fold out of range, weights that can't be read, a loss that does not fit.
    """
    name = options.model
    _check_tag(options)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models('madrnet_*')"
        raise InputError(f"--model {name}: timm knows no such model; {hint}")
    if isinstance(options.folds, int) and options.protocol != "session":
        if options.folds < 2:
            raise InputError(f"--folds {options.folds}: expected at least 2")
        if options.fold is not None:
            check_fold(options.fold, options.folds)
    check_seed(options.seed)
    if (options.workers or 0) < 0:
        raise InputError(f"--workers {options.workers}: expected 0 or more")
    if own := options.model_kwargs.keys() & {"pretrained", "pretrained_backbone"}:
        raise InputError(f"--model-kwargs {min(own)}: say that with --pretrained-backbone or --weights")
    sources = {
        "--backbone-weights": options.backbone_weights is not None,
        "--weights": options.weights is not None,
        "--pretrained-backbone": options.pretrained_backbone,
    }
    given = [name for name, is_given in sources.items() if is_given]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} contradict each other; choose one")
    if options.license is not None:
        check_license(options.license)
    check_model_args(options.model_kwargs, "--model-kwargs")
    if options.pretrained_backbone:
        check_timm_weights(name)
    if options.backbone_weights is not None:
        _check_backbone_weights(options.backbone_weights, name)
    if options.weights is not None:
        ModelFolder(find_model(options.weights))
    if options.teachers and not options.hybrid:
        raise InputError(
            f"--teacher: {name} gives no embedding; distillation needs a madrnet_* student with --loss hybrid"
        )
    if options.hybrid and not name.startswith("madrnet_"):
        raise InputError(f"--loss hybrid needs embeddings, which plain {name} does not give; use --loss ce")


def _check_tag(options: RunOptions) -> None:
    """A tag names weights, which ``--model`` does not load: say what was meant."""
    name, dot, tag = options.model.partition(".")
    if options.model.startswith(("hf-hub:", "local-dir:")) or Path(options.model).is_dir():
        raise InputError(
            f"--model {options.model}: expected a timm name; to start from a model, give --weights {options.model} "
            "and its architecture as --model"
        )
    if not dot or not timm.is_model(name):
        return
    without = f"or --model {name} alone to start from random numbers"
    if not name.startswith("madrnet_"):
        if not options.pretrained_backbone:
            raise InputError(
                f"--model {options.model}: {tag} names weights, which are loaded with --pretrained-backbone only; add "
                f"it, {without}"
            )
    elif options.model in published_models():
        raise InputError(
            f"--model {options.model}: {tag} names weights, which --model does not load; give --model {name} "
            f"--weights {options.model} to start from them, {without}"
        )
    else:
        raise InputError(
            f"--model {options.model}: no published model has the tag {tag}; give --model {name} with "
            f"--pretrained-backbone for timm's weights of the backbone, {without}"
        )


def _check_backbone_weights(path: Path, model: str) -> None:
    if not path.is_file():
        repository = timm_repository(model)
        where = (
            f"timm's are model.safetensors of https://huggingface.co/{repository}; fetch that file, or let "
            "--pretrained-backbone do it"
            if repository
            else "expected a .safetensors file"
        )
        raise InputError(f"--backbone-weights {path}: no such weights file; {where}")
    names = check_safetensors(path)
    if any(name.startswith("backbone.") for name in names) and model_folder_of(path) is None:
        raise InputError(
            f"--backbone-weights {path}: the weights of a MADRNet without its config.json, so that nobody can tell "
            "what it was trained on; give the file in its model folder"
        )


def training_command(options: RunOptions, seeds: Sequence[int], output: str) -> str:
    """How to cross-validate such options again; where the reader's files lie is left to the reader."""
    teachers = [path.parts[-2] for path in options.teachers]  # outputs of cross-validations
    precision = options.mixed_precision
    verb = "distill" if teachers else "cross-validate"
    words = ["madrnet", verb]
    if precision != "no":
        module = f"madrnet_timm.commands.{verb.replace('-', '_')}"
        words = ["accelerate", "launch", "--mixed_precision", precision, "-m", module]
    words += [f"runs/{name}" for name in teachers]
    words += ["--dataset", options.dataset, "--model", options.model]
    words += ["--data-dir", SOURCES[options.dataset].title] if options.data_dir else []
    words += ["--skip-unreadable"] if options.skip_unreadable else []
    words += ["--backbone-weights", _weights_file(options.backbone_weights)] if options.backbone_weights else []
    words += ["--weights", _model_name(options.weights)] if options.weights else []
    words += ["--pretrained-backbone"] if options.pretrained_backbone else []
    words += ["--leave-out-seen"] if options.leave_out_seen else []
    words += ["--normal-class", options.normal_class] if options.normal_class else []
    arguments = [f"{key}={value}" for key, value in options.model_kwargs.items()]
    words += ["--model-kwargs", *arguments] if arguments else []
    words += ["--protocol", options.protocol] if options.protocol != "grouped" else []
    folds = options.folds.name if isinstance(options.folds, Path) else options.folds  # no path of this machine
    words += ["--folds", str(folds)] if options.folds != 5 else []
    words += ["--seeds", *map(str, seeds)] if list(seeds) != [0] else []
    recipe = asdict(options.recipe)
    changes = {
        name: {key: value for key, value in recipe.items() if value != getattr(preset, key)}
        for name, preset in PRESETS.items()
    }
    nearest = min(changes, key=lambda name: len(changes[name]))
    words += ["--recipe", nearest] if nearest != "quick" else []
    for key, value in changes[nearest].items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    words += ["--license", options.license] if options.license else []
    return shlex.join([*words, "--output", output])


def _weights_file(path: Path) -> str:
    """A file by its name; that of a model folder with the folder, the model of a run as `_model_name` has it."""
    if path.name != "model.safetensors":
        return path.name
    folder = path.parent
    if folder.name == "model":
        return str(Path(_model_name(str(folder)), path.name))
    return str(Path(*folder.parts[-2:] if folder.parent.name == "hub" else folder.parts[-1:], path.name))


def _model_name(weights: str) -> str:
    """A published name as it is; the model of a run as runs/<output>/<run>/model; a folder by its name."""
    path = Path(weights.removeprefix("local-dir:"))
    if path.name == "model":
        return str(Path("runs", *path.parts[-3:]))
    return weights if weights.startswith("hf-hub:") else path.name
