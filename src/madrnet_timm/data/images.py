"""Prepared images as tensors, with random changes for training."""

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

from ..morphology import measure
from ..opencv import cv2
from ..progress import progress
from .pipelines import prepare
from .sources import images_of

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["AUGMENTATIONS", "ImageDataset", "View", "start_worker"]

View = tuple[str, float]
"""What an image is prepared by: a name of `PIPELINES`, and the part of the shorter side that ``raw`` keeps."""

_VIEW = 1  # of the random numbers of an image and epoch: those that draw its view


class _AffineOnBackground(v2.RandomAffine):
    """`RandomAffine` that fills with the median colour of the image's own border, so that no black wedges appear.

    The turning is OpenCV's, bilinear: a third of the time of torchvision's on the CPU.
    """

    def transform(self, inpt: torch.Tensor, params: dict[str, Any]) -> torch.Tensor:
        border = torch.cat([inpt[:, 0], inpt[:, -1], inpt[:, :, 0], inpt[:, :, -1]], dim=1)
        fill = border.float().median(dim=1).values.tolist()
        height, width = inpt.shape[1:]
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, -params["angle"], params["scale"])  # torchvision turns clockwise
        matrix[:, 2] += params["translate"]
        turned = cv2.warpAffine(inpt.permute(1, 2, 0).numpy(), matrix, (width, height), borderValue=fill)
        return torch.from_numpy(turned).permute(2, 0, 1)


def _affine(degrees: float, shift: float = 0.0, scale: float = 0.0) -> v2.Transform:
    return _AffineOnBackground(
        degrees, translate=(shift, shift) if shift else None, scale=(1 - scale, 1 + scale) if scale else None
    )


# none of them changes the aspect ratio of a head: no shear, no perspective
AUGMENTATIONS: dict[str, v2.Transform] = {
    "none": v2.Identity(),
    "light": v2.Compose([v2.RandomHorizontalFlip(), _affine(20)]),
    "medium": v2.Compose([v2.RandomHorizontalFlip(), _affine(15, 0.05, 0.08), v2.ColorJitter(0.1, 0.2, 0.1, 0.02)]),
    "varied": v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            _affine(20, 0.05, 0.1),
            v2.ColorJitter(0.25, 0.4, 0.4, 0.05),
            v2.RandomGrayscale(0.25),
            v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], 0.3),
            v2.RandomAdjustSharpness(2.0, 0.3),
        ]
    ),
    "strong": v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            _affine(180, 0.06, 0.1),
            v2.ColorJitter(0.2, 0.3, 0.2, 0.04),
        ]
    ),
}
"""``light`` is the paper's: horizontal flip and rotation by up to 20°. ``varied`` is for aligned heads whose stain and
focus are not to be relied on, ``strong`` for images in which heads lie in any direction."""


def _in_any_direction(augmentation: v2.Transform) -> v2.Transform:
    """The same augmentation, turning by any angle."""
    turned = deepcopy(augmentation)
    for part in getattr(turned, "transforms", ()):
        if isinstance(part, _AffineOnBackground):
            part.degrees = [-180.0, 180.0]
    return turned


class ImageDataset(TorchDataset):
    """Records of a `datasets.Dataset`, prepared once and kept in memory as uint8.

    Items are dicts: ``image`` (uint8 ``(3, size, size)``, see `madrnet_timm.data.normalization`), ``label``,
    ``aspect_ratio`` (NaN where it is missing or can't be trusted) and ``index``, the row in ``records``; with other
    views ``others``, one image each, changed in the same way.

    The random changes of an image depend on ``(seed, epoch, index)`` alone, not on the order of the images nor
    on the number of processes; `set_epoch` before each pass.

    Args:
        records: See `madrnet_timm.data.sources.load`.
        pipeline: A name of `PIPELINES`.
        size: Side of the images in pixels.
        crop_pct: For the pipeline ``raw``.
        augmentation: A name of `AUGMENTATIONS`.
        seed: Of the random changes.
        others: Views beside the one that is trained on.
        mixed: Views that take the place of the one that is trained on, drawn at random for each image and epoch, all
            with the same probability as that one. Heads lie in any direction in ``raw``, so that it is turned by any
            angle.
    """

    def __init__(
        self,
        records: "Dataset",
        pipeline: str,
        size: int,
        crop_pct: float = 1.0,
        augmentation: str = "none",
        seed: int = 0,
        others: Sequence[View] = (),
        mixed: Sequence[View] = (),
    ) -> None:
        views = [(pipeline, crop_pct), *mixed, *others]
        prepared: list[list[NDArray[np.uint8]]] = []
        for image in progress(images_of(records), len(records), "preparing", "image", shown_from=500):
            morphology = measure(image) if len(views) > 1 else None  # once for all views
            prepared.append([prepare(image, name, size, crop, morphology) for name, crop in views])
        stacked = [
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
            for images in zip(*prepared, strict=True)
        ]
        self.views, self.others = stacked[: 1 + len(mixed)], stacked[1 + len(mixed) :]
        self.labels = list(records["label"])
        self.aspect_ratios = [
            float(value) if ok and value is not None else float("nan")
            for value, ok in zip(records["aspect_ratio"], records["ok"], strict=True)
        ]
        plain = AUGMENTATIONS[augmentation]
        turning = _in_any_direction(plain) if mixed else plain
        self.augmentation = plain
        self.view_augmentations = [turning if name == "raw" else plain for name, _ in views[: 1 + len(mixed)]]
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # a loader's worker processes see it change

    def set_epoch(self, epoch: int) -> None:
        """Choose the random changes of a pass."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self._drawn_view(index)
        image = self._changed(self.views[number][index], index, self.view_augmentations[number])
        others = [self._changed(view[index], index, self.augmentation) for view in self.others]
        return {
            "image": image,
            "label": self.labels[index],
            "aspect_ratio": torch.tensor(self.aspect_ratios[index], dtype=torch.float32),
            "index": index,
            **({"others": others} if others else {}),
        }

    def _drawn_view(self, index: int) -> int:
        if len(self.views) == 1:
            return 0
        return int(np.random.default_rng([self.seed, int(self._epoch), index, _VIEW]).integers(len(self.views)))

    def _changed(self, image: torch.Tensor, index: int, augmentation: v2.Transform) -> torch.Tensor:
        if isinstance(augmentation, v2.Identity):
            return image
        state = np.random.SeedSequence([self.seed, int(self._epoch), index]).generate_state(1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(state[0]))  # the CPU's alone
            return augmentation(image)


def start_worker(number: int) -> None:
    """``worker_init_fn`` of a loader: a worker, whatever its ``number``, computes with one thread in OpenCV, too."""
    cv2.setNumThreads(0)
