"""A user's mistakes in a training's options that need neither the data nor the model to be found."""

import difflib
from pathlib import Path

import timm

from ..data.folds import check_seed
from ..errors import InputError
from ..hub.card import check_license
from ..hub.lookup import find_model
from ..hub.model_args import check_model_args
from ..hub.model_folder import ModelFolder, model_folder_of
from ..hub.timm_weights import check_timm_weights, timm_repository
from ..hub.weights import check_safetensors
from ..models.pretrained import published_models
from .run_config import RunConfig

__all__ = ["check", "check_fold"]


def check_fold(fold: int, folds: int) -> None:
    """Raise `InputError` unless there is such a fold."""
    if not 0 <= fold < folds:
        raise InputError(f"--fold {fold}: expected 0 to {folds - 1}, there are {folds} folds")


def check(options: RunConfig) -> None:
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


def _check_tag(options: RunConfig) -> None:
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
