"""A user's mistakes in a training's options that need neither the data nor the model to be found."""

import difflib
from pathlib import Path

import timm

from ..data.folds import check_seed
from ..errors import InputError
from ..hub.card import check_license
from ..hub.folder_files import model_folder_of
from ..hub.lookup import find_model
from ..hub.model_args import check_model_args
from ..hub.model_folder import ModelFolder
from ..hub.timm_weights import check_timm_weights, timm_repository
from ..hub.weights import check_safetensors
from ..models.pretrained import published_models
from .run_config import RunConfig

__all__ = ["check", "check_fold"]


def check_fold(fold: int, folds: int) -> None:
    """Raise `InputError` unless there is such a fold."""
    if not 0 <= fold < folds:
        raise InputError(f"--fold {fold}: expected 0 to {folds - 1}, there are {folds} folds")


def check(config: RunConfig) -> None:
    """Find a user's mistakes that need neither the data nor the model.

    Raises:
        InputError: Unknown model, fold out of range, weights that can't be read, a loss that does not fit.
    """
    name = config.model
    _check_tag(config)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models('madrnet_*')"
        raise InputError(f"--model {name}: timm knows no such model; {hint}")
    if isinstance(config.folds, int) and config.protocol != "session":
        if config.folds < 2:
            raise InputError(f"--folds {config.folds}: expected at least 2")
        if config.fold is not None:
            check_fold(config.fold, config.folds)
    check_seed(config.seed)
    if (config.workers or 0) < 0:
        raise InputError(f"--workers {config.workers}: expected 0 or more")
    if own := config.model_kwargs.keys() & {"pretrained", "pretrained_backbone"}:
        raise InputError(f"--model-kwargs {min(own)}: say that with --pretrained-backbone or --weights")
    sources = {
        "--backbone-weights": config.backbone_weights is not None,
        "--weights": config.weights is not None,
        "--pretrained-backbone": config.pretrained_backbone,
    }
    given = [name for name, is_given in sources.items() if is_given]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} contradict each other; choose one")
    if config.license is not None:
        check_license(config.license)
    check_model_args(config.model_kwargs, "--model-kwargs")
    if config.pretrained_backbone:
        check_timm_weights(name)
    if config.backbone_weights is not None:
        _check_backbone_weights(config.backbone_weights, name)
    if config.weights is not None:
        ModelFolder(find_model(config.weights))
    if config.fold is None and config.leave_out_seen:
        raise InputError("--leave-out-seen: with --fold none no image is held out; leave one of the two out")
    if config.teachers and not config.hybrid:
        raise InputError(
            f"--teacher: {name} gives no embedding; distillation needs a madrnet_* student with --loss hybrid"
        )
    if config.hybrid and not name.startswith("madrnet_"):
        raise InputError(f"--loss hybrid needs embeddings, which plain {name} does not give; use --loss ce")


def _check_tag(config: RunConfig) -> None:
    """A tag names weights, which ``--model`` does not load: say what was meant."""
    name, dot, tag = config.model.partition(".")
    if config.model.startswith(("hf-hub:", "local-dir:")) or Path(config.model).is_dir():
        raise InputError(
            f"--model {config.model}: expected a timm name; to start from a model, give --weights {config.model} "
            "and its architecture as --model"
        )
    if not dot or not timm.is_model(name):
        return
    without = f"or --model {name} alone to start from random numbers"
    if not name.startswith("madrnet_"):
        if not config.pretrained_backbone:
            raise InputError(
                f"--model {config.model}: {tag} names weights, which are loaded with --pretrained-backbone only; add "
                f"it, {without}"
            )
    elif config.model in published_models():
        raise InputError(
            f"--model {config.model}: {tag} names weights, which --model does not load; give --model {name} "
            f"--weights {config.model} to start from them, {without}"
        )
    else:
        raise InputError(
            f"--model {config.model}: no published model has the tag {tag}; give --model {name} with "
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
