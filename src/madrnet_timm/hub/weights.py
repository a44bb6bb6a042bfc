"""Weights from files: safetensors only, checked before they are used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from ..errors import InputError
from ..models import MADRNet

__all__ = [
    "check_fit",
    "check_loaded",
    "check_numbers",
    "check_safetensors",
    "fill",
    "load_backbone_weights",
    "load_model_weights",
]

_BACKBONE = "backbone."  # of the names in a MADRNet's file
_REAL = ("F16", "BF16", "F32", "F64")  # as safetensors calls them


def check_safetensors(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file, from its header alone.

    Raises:
        InputError: No such file, or something else than safetensors; a pickle is never opened.
    """
    return {name: shape for name, (_, shape) in _header(Path(path)).items()}


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type, in the words of safetensors, and shape of each tensor."""
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; expected a .safetensors file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (safetensors.SafetensorError, OSError) as error:
        with path.open("rb") as opened:
            start = opened.read(2)
        pickled = start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        what = "a pickled checkpoint, which is never opened" if pickled else f"not a whole safetensors file ({error})"
        raise InputError(f"{path}: {what}; convert the weights to safetensors or fetch the file again") from None


def check_numbers(state: Mapping[str, torch.Tensor], where: str | Path) -> None:
    """Refuse weights with which a network gives no answers, or wrong ones in silence.

    Args:
        state: Tensors by name.
        where: What they come from.

    Raises:
        InputError: A number that is not finite, or a negative running variance; the message names the tensor.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        wrong = int((~torch.isfinite(tensor)).sum())
        what = "not finite"
        if not wrong and name.endswith("running_var"):
            wrong, what = int((tensor < 0).sum()), "negative, and no variance is"
        if wrong:
            raise InputError(
                f"{where}: {name} has {wrong} of {tensor.numel()} numbers that are {what}; the weights are damaged or "
                "their training failed: take others"
            )


def check_fit(model: torch.nn.Module, path: str | Path) -> None:
    """Refuse a file whose tensors are not a model's own: other names, other shapes, or whole numbers for real ones.

    Args:
        model: Built as its config says; it may lie on the meta device.
        path: A safetensors file, of which only the header is read.

    Raises:
        InputError: They are not; the message names the first tensor that is not.
    """
    header, own = _header(Path(path)), model.state_dict()
    for name in [*own, *header]:
        if name not in header or name not in own:
            what = "not in the file" if name in own else "not in that model"
        elif header[name][1] != tuple(own[name].shape):
            what = f"{header[name][1]} in the file and {tuple(own[name].shape)} in the model"
        elif (kind := _wrong_kind(header[name][0], own[name])) is not None:
            what = kind
        else:
            continue
        raise InputError(f"{path}: does not fit the config.json beside it: {name} is {what}; fetch or save both again")


def check_loaded(model: torch.nn.Module, where: str | Path) -> None:
    """Refuse weights that timm has put into a model, which looks neither at their type nor at their values.

    Args:
        model: With its weights.
        where: The safetensors file that they come from, else its name; a name alone says nothing of types.

    Raises:
        InputError: Whole numbers in the place of real ones, or see `check_numbers`.
    """
    own = model.state_dict()
    for name, (kind, _) in _header(Path(where)).items() if Path(where).is_file() else ():
        if name in own and (wrong := _wrong_kind(kind, own[name])) is not None:
            raise InputError(f"{where}: {name} is {wrong}; choose weights that are not quantized")
    check_numbers(own, where)


def _wrong_kind(kind: str, own: torch.Tensor) -> str | None:
    """What is wrong with the type of a tensor in a file, or None."""
    if own.is_floating_point() and kind not in _REAL:
        return f"{kind} in the file; expected one of {', '.join(_REAL)}"
    return None


def fill(model: torch.nn.Module, path: str | Path) -> None:
    """Put a model's own weights into it.

    Raises:
        InputError: See `check_fit` and `check_numbers`.
    """
    check_fit(model, path)
    state = load_file(path)
    check_numbers(state, path)
    model.load_state_dict(state)


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
    own = target.state_dict()
    needed = {name: tuple(value.shape) for name, value in own.items() if not name.startswith(left_out)}
    wrong = [name for name, shape in needed.items() if shapes.get(name) != shape]
    if wrong:
        name = wrong[0]
        there = "not in the file" if name not in shapes else f"{shapes[name]} in the file"
        raise InputError(
            f"{path}: does not fit {_architecture(model)}: {len(wrong)} of {len(needed)} tensors differ, the first "
            f"is {name}, {needed[name]} in the model and {there}; choose weights of the same architecture and "
            "--model-kwargs"
        )
    header = _header(Path(path))
    for name in needed:
        if (kind := _wrong_kind(header[prefix + name][0], own[name])) is not None:
            raise InputError(f"{path}: {prefix}{name} is {kind}; choose weights that are not quantized")
    whole = load_file(path)
    state = {name: whole[prefix + name] for name in needed}
    check_numbers(state, path)
    with torch.no_grad():
        target.load_state_dict(state, strict=False)
