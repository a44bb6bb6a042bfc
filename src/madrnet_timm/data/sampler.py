"""Order of training pictures in which every batch holds several of each of its classes."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

__all__ = ["PerClassSampler"]


class PerClassSampler(Sampler[int]):
    """Indices in an order whose every batch has ``per_class`` pictures of each of ``batch_size / per_class`` classes.

    So that the triplet loss finds triplets in every batch, however rare a class is. The classes of a batch are drawn
    without replacement; within a class pictures come in a random order, and again from the start when they are used
    up. A pass has as many whole batches as the pictures fill. The order depends on ``(seed, epoch)`` alone;
    `set_epoch` before each pass.

    Args:
        labels: Class id of each picture.
        batch_size: Pictures a batch.
        per_class: Pictures of a class in a batch.
        seed: Of the order.

    Raises:
        ValueError: ``batch_size`` is no multiple of ``per_class``, or needs more classes than there are.
    """

    def __init__(self, labels: Sequence[int], batch_size: int, per_class: int, seed: int = 0) -> None:
        self.members = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
        if per_class < 1 or batch_size % per_class or batch_size // per_class > len(self.members):
            raise ValueError(
                f"per_class={per_class}: expected a divisor of the batch size {batch_size} that leaves at most "
                f"{len(self.members)} classes a batch"
            )
        self.classes = batch_size // per_class
        self.per_class = per_class
        self.batches = max(len(labels) // batch_size, 1)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of a pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.classes * self.per_class

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        queues: list[list[int]] = [[] for _ in self.members]
        waiting: list[int] = []
        for _ in range(self.batches):
            if len(waiting) < self.classes:  # those that still wait come first
                rest = rng.permutation([c for c in range(len(self.members)) if c not in waiting]).tolist()
                waiting += rest
            chosen, waiting = waiting[: self.classes], waiting[self.classes :]
            for label in chosen:
                while len(queues[label]) < self.per_class:
                    queues[label] += rng.permutation(self.members[label]).tolist()
                yield from queues[label][: self.per_class]
                del queues[label][: self.per_class]
