"""A model soup: the mean of the weights of several trainings from the same initial weights."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, update_bn

from .setup import Setup

__all__ = ["Soup"]

_PASSES = 2
"""Over the training images, with random changes, for the batch statistics of the mean."""


class Soup:
    """What is kept of several trainings, one after the other (Wortsman et al., ICML 2022).

    Trainings that begin with the same weights end close enough to each other for the mean of their weights to be a
    model, and often a better one than each. Its batch statistics are none of theirs: they are computed anew.

    Attributes:
        mean: The mean; its ``n_averaged`` says of how many trainings.

    Args:
        setup: Of the training, before its first step.
        scheduler: Of its optimizer.
        ema: Its moving average, if there is one.
    """

    def __init__(self, setup: Setup, scheduler: LRScheduler, ema: ModelEmaV3 | None) -> None:
        self.mean: Any = AveragedModel(setup.bare_model)
        vars(self.mean.module).pop("forward", None)  # Accelerate's, which computes in the training's precision
        self._setup = setup
        self._parts = [setup.bare_model, setup.criterion, setup.optimizer.optimizer, scheduler]
        self._start = deepcopy([part.state_dict() for part in self._parts])
        self._ema = ema

    @property
    def complete(self) -> bool:
        """Whether all trainings are in it."""
        return int(self.mean.n_averaged) == self._setup.config.recipe.soup

    def finish(self) -> None:
        """Call it complete, for the mean's weights to be read from a finished run."""
        self.mean.n_averaged.fill_(self._setup.config.recipe.soup)

    def begin_again(self) -> None:
        """Put model, loss, optimizer and scheduler back to where the first training began."""
        for part, state in zip(self._parts, deepcopy(self._start), strict=True):
            part.load_state_dict(state)
        if self._ema is not None:
            self._ema.module.load_state_dict(self._start[0])

    def add(self, model: torch.nn.Module, epoch: int) -> None:
        """Take a training's last weights in; with the last training's, compute the batch statistics.

        Args:
            model: It.
            epoch: Number of the next epoch, by which the random changes are drawn.
        """
        self.mean.update_parameters(model)
        if self.complete:
            update_bn(self._batches(epoch), self.mean.module)
            for name, value in self.mean.module.named_buffers():
                if name.endswith(("running_mean", "running_var")):  # each process saw a share of the images
                    value.copy_(self._setup.accelerator.reduce(value, "mean"))

    def _batches(self, epoch: int) -> Iterator[torch.Tensor]:
        images = self._setup.images
        for number in range(epoch, epoch + _PASSES):
            images.set_epoch(number)
            for batch in images.train_loader:
                yield images.network_input(batch["image"])
