"""The weights that a training starts from, which must not have seen what it is measured on."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..hub import load_backbone_weights, load_model_weights
from ..hub.lookup import find_model
from ..hub.model_folder import ModelFolder
from .options import RunOptions
from .run_folder import RunFolder

__all__ = ["check_unseen", "load_start"]


def load_start(model: Any, options: RunOptions) -> None:
    """Load ``--backbone-weights`` or ``--weights`` into a new model.

    Raises:
        InputError: See `load_backbone_weights` and `load_model_weights`.
    """
    if options.backbone_weights is not None:
        load_backbone_weights(model, options.backbone_weights)
    if options.weights is not None:
        load_model_weights(model, find_model(options.weights) / "model.safetensors")


def check_unseen(options: RunOptions, held_out: Collection[str]) -> None:
    """Refuse weights of a model that was trained on held-out pictures.

    A model in its run folder is known picture by picture; of another, its data set is known. (An own folder of pictures
    has no name to know it by.)

    Args:
        options: Of the training.
        held_out: ``pixel_sha256`` of the pictures that it is measured on.

    Raises:
        InputError: They were; the message names the option and says how many.
    """
    if options.weights is not None:
        option, given, folder = "--weights", options.weights, find_model(options.weights)
    elif options.backbone_weights is not None and (options.backbone_weights.parent / "config.json").is_file():
        given = str(options.backbone_weights)
        option, folder = "--backbone-weights", options.backbone_weights.parent
    else:
        return
    run = RunFolder(Path(folder).resolve().parent)
    if run.began:
        seen = run.trained_on() & set(held_out)
        if seen:
            raise InputError(
                f"{option} {given}: was trained on {len(seen)} of the pictures that fold {options.fold} holds out; "
                "start from a model that never saw them"
            )
    elif ModelFolder(folder).knows(options.dataset):
        raise InputError(
            f"{option} {given}: was trained on pictures of {options.dataset}, which are held out here; start from a "
            "model of another data set"
        )
