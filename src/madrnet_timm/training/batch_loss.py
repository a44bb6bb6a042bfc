"""The loss of a batch: cross entropy, the hybrid loss, or the hybrid loss with a distillation loss."""

from collections.abc import Mapping

import torch

from ..losses import Distillation
from .setup import Setup

__all__ = ["BatchLoss"]


class BatchLoss:
    """Call it with a batch of `ImageDataset`.

    Args:
        setup: Whose model, criterion and teachers it takes.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.distillation = Distillation(setup.config.recipe.distill_temperature)

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The total loss, and its parts before they are weighted."""
        setup = self.setup
        images = setup.images.network_input(batch["image"])
        output = setup.model(images)
        if not setup.config.hybrid:
            loss = setup.criterion.cross_entropy(output, batch["label"])
            return loss, {"cross_entropy": loss}
        total, parts = setup.hybrid(*output, batch["label"], batch["aspect_ratio"].float())
        if setup.teachers is not None:
            others = [setup.images.network_input(view) for view in batch.get("others", ())]
            recipe, followed = setup.config.recipe, self.distillation(*output, *setup.teachers([images, *others]))
            total = total + recipe.distill_probabilities * followed["probabilities"]
            total = total + recipe.distill_embedding * followed["embedding"]
            parts = parts | {f"distill_{name}": value for name, value in followed.items()}
        return total, parts
