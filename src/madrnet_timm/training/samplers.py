"""An order of the training images in which every batch has several of each of its classes."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

__all__ = ["PerClassSampler"]


class PerClassSampler(Sampler[int]):
    """Indices in an order whose batches are made of groups of ``samples_per_class`` images of one class.

    So that the triplet loss finds triplets in every batch, however rare a class is. Classes take turns in a random
    order, so that a batch holds as many as it has groups, or all of them; within a class images come in a random
    order, and again from the start when they are used up. A pass has as many whole batches as the images fill. The
    order depends on ``(seed, epoch)`` alone; `set_epoch` before each pass.

    Args:
        labels: Class id of each image.
        batch_size: Images per batch.
        samples_per_class: Images of a class in a group.
        seed: Of the order.

    Raises:
        ValueError: ``batch_size`` is no multiple of ``samples_per_class``.
    """

    def __init__(self, labels: Sequence[int], batch_size: int, samples_per_class: int, seed: int = 0) -> None:
        if samples_per_class < 1 or batch_size % samples_per_class:
            raise ValueError(
                f"samples_per_class={samples_per_class}: expected a divisor of the batch size {batch_size}"
            )
        self.members = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
        self.groups = batch_size // samples_per_class
        self.samples_per_class = samples_per_class
        self.batches = max(len(labels) // batch_size, 1)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of a pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.groups * self.samples_per_class

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        queues: list[list[int]] = [[] for _ in self.members]
        waiting: list[int] = []
        for _ in range(self.batches):
            while len(waiting) < self.groups:  # those that still wait come first, and none of them again
                rest = [label for label in range(len(self.members)) if label not in waiting]
                waiting += rng.permutation(rest or range(len(self.members))).tolist()
            chosen, waiting = waiting[: self.groups], waiting[self.groups :]
            for label in chosen:
                while len(queues[label]) < self.samples_per_class:
                    queues[label] += rng.permutation(self.members[label]).tolist()
                yield from queues[label][: self.samples_per_class]
                del queues[label][: self.samples_per_class]
