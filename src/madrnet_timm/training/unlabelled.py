"""Pictures without labels, for which a student learns what its teachers answer."""

from collections.abc import Callable, Iterator, Sequence

import torch
from accelerate.data_loader import DataLoaderShard

from ..data.pictures import PictureDataset
from ..data.sampler import PartSampler
from ..progress import progress
from .teachers import Answers, joined

__all__ = ["Unlabelled"]

_ASKED_AT_ONCE = 64


class Unlabelled:
    """Batches of changed pictures, ``(images, answers)``, with what the teachers say to the same pictures unchanged.

    The teachers are asked once, in the beginning: what they see in a clear picture the student has to see in changed
    ones, too (noisy student, Xie et al. 2020).

    Args:
        pictures: With the student's random changes.
        sampler: Their order.
        loader: Of both.
        ask: The teachers, of uint8 pictures ``(batch, 3, size, size)`` in each of their views.
    """

    def __init__(
        self,
        pictures: PictureDataset,
        sampler: PartSampler,
        loader: DataLoaderShard,
        ask: Callable[[Sequence[torch.Tensor]], Answers],
    ) -> None:
        self.pictures, self.sampler, self.loader = pictures, sampler, loader
        parts = list(zip(*(view.split(_ASKED_AT_ONCE) for view in (*pictures.views, *pictures.others)), strict=True))
        asked = progress(parts, len(parts), "asking the teachers", "batch", shown_from=10)
        self.answers = joined(ask(part) for part in asked)
        pictures.others.clear()  # the student's own is left

    def epoch(self, epoch: int) -> Iterator[tuple[torch.Tensor, Answers]]:
        """The batches of one epoch, as many as the training has steps."""
        self.loader.set_epoch(epoch)
        self.pictures.set_epoch(epoch)  # Accelerate passes it on in a single process only
        self.sampler.set_epoch(epoch)
        for batch in self.loader:
            logits, embeddings = ([of_one[batch["index"]] for of_one in of_all] for of_all in self.answers)
            yield batch["image"], (logits, embeddings)
