"""The command that repeats a cross-validation."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..data.sources import SOURCES
from .recipe import PRESETS
from .run_config import RunConfig

__all__ = ["training_command"]


def training_command(config: RunConfig, seeds: Sequence[int], output: str) -> str:
    """How to cross-validate such a config again; where the reader's files lie is left to the reader."""
    teachers = [Path(teacher).parts[-2] for teacher in config.teachers]  # outputs of cross-validations
    precision = config.mixed_precision
    verb = "distill" if teachers else "cross-validate"
    words = ["madrnet", verb]
    if precision != "no":
        module = f"madrnet_timm.commands.{verb.replace('-', '_')}"
        words = ["accelerate", "launch", "--mixed_precision", precision, "-m", module]
    words += [f"runs/{name}" for name in teachers]
    words += ["--dataset", config.dataset, "--model", config.model]
    words += ["--data-dir", SOURCES[config.dataset].title] if config.data_dir else []
    words += ["--skip-unreadable"] if config.skip_unreadable else []
    words += ["--backbone-weights", _weights_file(config.backbone_weights)] if config.backbone_weights else []
    words += ["--weights", _model_name(config.weights)] if config.weights else []
    words += ["--pretrained-backbone"] if config.pretrained_backbone else []
    words += ["--leave-out-seen"] if config.leave_out_seen else []
    words += ["--normal-class", config.normal_class] if config.normal_class else []
    arguments = [f"{key}={value}" for key, value in config.model_kwargs.items()]
    words += ["--model-kwargs", *arguments] if arguments else []
    words += ["--protocol", config.protocol] if config.protocol != "grouped" else []
    folds = config.folds.name if isinstance(config.folds, Path) else config.folds  # no path of this machine
    words += ["--folds", str(folds)] if config.folds != 5 else []
    words += ["--seeds", *map(str, seeds)] if list(seeds) != [0] else []
    recipe = asdict(config.recipe)
    changes = {
        name: {key: value for key, value in recipe.items() if value != getattr(preset, key)}
        for name, preset in PRESETS.items()
    }
    nearest = min(changes, key=lambda name: len(changes[name]))
    words += ["--recipe", nearest] if nearest != "quick" else []
    for key, value in changes[nearest].items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    words += ["--license", config.license] if config.license else []
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
    """A published name as it is; the model of a run as runs/[<output>/]<run>/model; a folder by its name."""
    path = Path(weights.removeprefix("local-dir:"))
    if path.name == "model":
        parts = path.parts[-3:]
        return str(Path(*parts) if parts[0] == "runs" else Path("runs", *parts))
    return weights if weights.startswith("hf-hub:") else path.name
