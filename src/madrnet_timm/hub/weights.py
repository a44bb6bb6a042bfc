"""Weights from files: safetensors only, checked before they are used."""

from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from ..errors import InputError
from ..models import MADRNet

__all__ = ["check_safetensors", "load_backbone_weights", "load_model_weights"]

_BACKBONE = "backbone."  # of the names in a MADRNet's file


def check_safetensors(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file, from its header alone.

    Raises:
        InputError: No such file, or something else than safetensors; a pickle is never opened.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; expected a .safetensors file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        with path.open("rb") as opened:
            start = opened.read(2)
        pickled = start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        what = "a pickled checkpoint, which is never opened" if pickled else f"not a whole safetensors file ({error})"
        raise InputError(f"{path}: {what}; convert the weights to safetensors or fetch the file again") from None


def load_backbone_weights(model: Any, path: str | Path) -> None:
    """Load the weights of a timm model, or of a MADRNet's backbone, into the backbone of a MADRNet or a plain timm
    model.

    The classifier of the weights is left out, so are R and P; everything else must fit.

    Args:
        model: A `MADRNet`, or a timm model.
        path: A safetensors file with timm's names, or that of a MADRNet's model folder.

    Raises:
        InputError: The file can't be read, or does not fit; the message names the first tensor that does not.
    """
    found = check_safetensors(path)
    prefix = _BACKBONE if any(name.startswith(_BACKBONE) for name in found) else ""
    shapes = {name.removeprefix(prefix): shape for name, shape in found.items() if name.startswith(prefix)}
    if isinstance(model, MADRNet):
        _load(model, model.backbone, (), path, prefix, shapes)
    else:
        _load(model, model, _classifiers(model), path, prefix, shapes)


def load_model_weights(model: Any, path: str | Path) -> None:
    """Load another model's weights, all but its classifier's: a MADRNet's B, R and P, or a plain timm model's.

    Args:
        model: A `MADRNet` or a timm model.
        path: A safetensors file with the names of the same architecture.

    Raises:
        InputError: The file can't be read, or does not fit; the message names the first tensor that does not.
    """
    shapes, left_out, own = check_safetensors(path), _classifiers(model), model.state_dict().keys()
    _load(model, model, left_out, path, "", shapes)
    idle = [name for name in shapes if name not in own and not name.startswith(left_out)]
    if idle:
        raise InputError(
            f"{path}: does not fit {_architecture(model)}: has {len(idle)} tensors more, the first is {idle[0]}; "
            "give the --model-kwargs (depth, global_pool, ...) of that model"
        )


def _classifiers(model: Any) -> tuple[str, ...]:
    """How the names of a classifier's tensors begin."""
    names = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def _architecture(model: Any) -> str:
    return model.pretrained_cfg.get("architecture", "the model")


def _load(
    model: Any,
    target: torch.nn.Module,
    left_out: tuple[str, ...],
    path: str | Path,
    prefix: str,
    shapes: dict[str, tuple[int, ...]],
) -> None:
    own = {name: tuple(value.shape) for name, value in target.state_dict().items()}
    needed = {name: shape for name, shape in own.items() if not name.startswith(left_out)}
    wrong = [name for name, shape in needed.items() if shapes.get(name) != shape]
    if wrong:
        name = wrong[0]
        there = "not in the file" if name not in shapes else f"{shapes[name]} in the file"
        raise InputError(
            f"{path}: does not fit {_architecture(model)}: {len(wrong)} of {len(needed)} tensors differ, the first "
            f"is {name}, {needed[name]} in the model and {there}; choose weights of the same architecture and "
            "--model-kwargs"
        )
    state = load_file(path)
    with torch.no_grad():
        target.load_state_dict({name: state[prefix + name] for name in needed}, strict=False)
