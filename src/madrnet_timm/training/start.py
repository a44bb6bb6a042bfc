"""The weights that a training starts from, which must not have seen what it is measured on."""

from collections.abc import Collection
from typing import Any

from ..errors import InputError
from ..hub import load_backbone_weights, load_model_weights
from ..hub.lookup import find_model
from .options import RunOptions
from .seen import seen_by, start_of

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
    """Refuse weights of a model that was trained on held-out pictures, see `seen_by`.

    Args:
        options: Of the training.
        held_out: ``pixel_sha256`` of the pictures that it is measured on.

    Raises:
        InputError: They were; the message names the option and says how many.
    """
    start = start_of(options)
    seen = seen_by(start, options.dataset, held_out) if start is not None else ()
    if seen:
        file, model = options.backbone_weights, options.weights
        given = f"--weights {model}" if model is not None else f"--backbone-weights {file}"
        raise InputError(
            f"{given}: was trained on {len(seen)} of the pictures that fold {options.fold} holds out (of a model that "
            "is not in its run folder, a data set counts as a whole); start from a model that never saw them"
        )
