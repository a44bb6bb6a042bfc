"""A training whose numbers leave their bounds is stopped at once: nothing that follows could be trusted."""

from dataclasses import asdict

import torch
from torch import nn

from ..errors import InputError
from .recipe import Recipe

__all__ = ["check_finite", "check_loss", "check_weights"]

_RATES = ("lr_head", "lr_reversible", "lr_backbone")


def _stopped(what: str, where: str, recipe: Recipe) -> InputError:
    values, usual = asdict(recipe), asdict(Recipe())
    rates = sorted(_RATES, key=lambda name: values[name] / usual[name], reverse=True)
    lower = ", ".join(f"--{name.replace('_', '-')} ({values[name]:g})" for name in rates)
    return InputError(
        f"{where}: {what} is not finite, so that the training is stopped and no model is written; lower a learning "
        f"rate ({lower}) or --clip-grad ({recipe.clip_grad:g}), and start again with another --output"
    )


def check_loss(loss: torch.Tensor, norm: torch.Tensor | None, epoch: int, step: int, recipe: Recipe) -> None:
    """Raise `InputError` unless a step's loss, and the norm of its gradients where it is known, are finite.

    Args:
        loss: Scalar.
        norm: Before clipping; None where infinite gradients are looked after elsewhere (fp16).
        epoch: From 0.
        step: Within the epoch, from 0.
        recipe: To say what to lower.
    """
    where = f"epoch {epoch + 1}, step {step + 1}"
    if not torch.isfinite(loss):
        raise _stopped(f"the loss ({float(loss.detach()):g})", where, recipe)
    if norm is not None and not torch.isfinite(norm):
        raise _stopped("the gradient", where, recipe)


def check_finite(values: torch.Tensor, what: str, epoch: int, recipe: Recipe) -> None:
    """Raise `InputError` unless all values are finite."""
    if not torch.isfinite(values).all():
        raise _stopped(what, f"epoch {epoch + 1}", recipe)


def check_weights(model: nn.Module, epoch: int, recipe: Recipe) -> None:
    """Raise `InputError` unless all weights and batch statistics of a model are finite."""
    values = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    if not torch.stack([torch.isfinite(value).all() for value in values.values()]).all():
        name = next(name for name, value in values.items() if not torch.isfinite(value).all())
        raise _stopped(name, f"epoch {epoch + 1}", recipe)
