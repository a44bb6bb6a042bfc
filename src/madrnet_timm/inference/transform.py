"""From an image in any form to what a network takes, as its weights were trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data import resolve_model_data_config

from ..data.normalization import normalized
from ..data.pipelines import check_pipeline, prepare
from ..data.reading import ImageLike, read_image
from ..errors import InputError
from ..hub.model_folder import ModelFolder
from ..hub.preparation import pipeline_of
from ..morphology import HeadMorphology

__all__ = ["Transform", "create_transform", "transforms_of"]

_COLUMN = "image"


@dataclass(frozen=True)
class Transform:
    """Prepares an image and normalises it. It can be pickled: give it to a data set whose loader has workers.

    Attributes:
        pipeline: A name of `madrnet_timm.data.pipelines.PIPELINES`.
        size: Side of the result in pixels.
        mean: Per channel, subtracted from values from 0 to 1.
        std: Per channel, divided by.
        crop_pct: Part of the shorter side that ``raw`` keeps.
    """

    pipeline: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0

    @classmethod
    def of(cls, pipeline: str, data_config: Mapping[str, Any]) -> "Transform":
        """For a pipeline and what `timm.data.resolve_data_config` gives.

        Raises:
            InputError: No such pipeline, or another input than square RGB images.
        """
        check_pipeline(pipeline)
        channels, height, width = data_config["input_size"]
        if channels != 3 or height != width:
            raise InputError(f"input_size {channels}×{height}×{width}: expected square images of three channels (RGB)")
        mean, std = (tuple(map(float, data_config[key])) for key in ("mean", "std"))
        return cls(pipeline, height, mean, std, data_config["crop_pct"])

    def __call__(self, image: ImageLike | Mapping[str, Any]) -> Any:
        """An image as the network takes it.

        Args:
            image: A path, a file's bytes, a Pillow image or an array, see `madrnet_timm.data.reading.read_image`; or a
                row or batch of `datasets`, a dict with the key ``image``, as `Dataset.set_transform` hands it over.

        Returns:
            ``(3, size, size)`` float32, normalised; of a dict, the same with those in the place of its images.

        Raises:
            InputError: An image that can't be read, or is too large for the crop of a single head.
        """
        if isinstance(image, Mapping):
            if _COLUMN not in image:
                raise InputError(f"a batch with the columns {', '.join(image)}: expected one that is named {_COLUMN!r}")
            found = image[_COLUMN]
            return {**image, _COLUMN: [self(one) for one in found] if isinstance(found, list) else self(found)}
        return torch.from_numpy(self.normalized([self.view(read_image(image, crop=True))])[0])

    def view(self, image: NDArray[np.uint8], head: HeadMorphology | None = None) -> NDArray[np.uint8]:
        """An RGB image ``(height, width, 3)`` prepared by the pipeline, ``(size, size, 3)`` uint8.

        Args:
            image: The image.
            head: What `madrnet_timm.morphology.measure` found on it, if that is known already.
        """
        return prepare(image, self.pipeline, self.size, self.crop_pct, head)

    def normalized(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Prepared images as the network takes them, ``(images, 3, size, size)`` float32."""
        images = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)
        return normalized(images, self.mean, self.std).numpy()


def transforms_of(folder: ModelFolder) -> list[Transform]:
    """Those of a model folder: of its pipeline, and of its second view where it takes the mean of two."""
    first, second = Transform.of(folder.pipeline, folder.data_config), folder.info.second_view
    return [first] if second is None else [first, replace(first, pipeline=second)]


def create_transform(model: Any, pipeline: str | None = None) -> Transform:
    """See `madrnet_timm.create_transform`."""
    if not isinstance(getattr(model, "pretrained_cfg", None), Mapping):
        raise InputError(f"create_transform: expected a model made by timm.create_model, not {type(model).__name__}")
    config = resolve_model_data_config(model)
    channels = getattr(model, "in_chans", config["input_size"][0])
    config["input_size"] = (channels, *config["input_size"][1:])
    return Transform.of(pipeline or pipeline_of(model), config)
