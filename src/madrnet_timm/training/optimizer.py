"""Parameter groups: each part of the model its learning rate, no weight decay on norms and biases."""

from typing import Any

from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from ..models import MADRNet
from .recipe import Recipe

__all__ = ["create_optimizer", "create_scheduler", "part_of"]


def part_of(name: str, model: Any) -> str:
    """``backbone``, ``reversible`` or ``head``: the part of the model that a parameter belongs to."""
    if isinstance(model, MADRNet):
        prefix = name.split(".", 1)[0]
        return prefix if prefix in ("backbone", "reversible") else "head"
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return "head" if name.startswith(tuple(f"{head}." for head in heads)) else "backbone"


def create_optimizer(model: Any, criterion: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW over groups named ``<part>`` and ``<part>_no_decay``, and the loss's own weights where they are learned."""
    rates = {"backbone": recipe.lr_backbone, "reversible": recipe.lr_reversible, "head": recipe.lr_head}
    skip = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    groups: dict[str, dict] = {}
    for name, param in model.named_parameters():
        part = part_of(name, model)
        decay = param.ndim > 1 and name not in skip
        key = part if decay else f"{part}_no_decay"
        group = {"params": [], "name": key, "lr": rates[part], "weight_decay": recipe.weight_decay if decay else 0.0}
        groups.setdefault(key, group)["params"].append(param)
    learned = list(criterion.parameters())
    if learned:
        groups["loss_weights"] = {"params": learned, "name": "loss_weights", "lr": recipe.lr_head, "weight_decay": 0.0}
    return create_optimizer_v2(list(groups.values()), opt="adamw", lr=recipe.lr_head, weight_decay=0.0)


def create_scheduler(optimizer: Optimizer, recipe: Recipe, steps: int) -> OneCycleLR:
    """OneCycleLR (Table I) with every group's own highest learning rate."""
    rates = [group["lr"] for group in optimizer.param_groups]
    # torch divides by the steps of the warm-up less one
    warmup = recipe.warmup if abs(recipe.warmup * steps - 1) > 1e-6 else 0.0
    return OneCycleLR(optimizer, max_lr=rates, total_steps=steps, pct_start=warmup)
