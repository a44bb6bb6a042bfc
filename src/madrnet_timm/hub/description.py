"""What a model folder says of its model beside the weights: in config.json, and on the card."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from .model_info import ModelInfo

__all__ = ["DataConfig", "Description"]


class DataConfig(TypedDict):
    """How images are prepared, in the words of `timm.data.resolve_model_data_config`, whose dict it is."""

    input_size: tuple[int, int, int]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float
    crop_mode: NotRequired[str]


@dataclass(frozen=True)
class Description:
    """A model in words and numbers.

    Attributes:
        architecture: timm name.
        label_names: Name of each class id.
        data_config: How its images are prepared.
        info: What timm's format has no key for.
        license: Identifier of the weights' licence, such as ``apache-2.0``, as the Hub knows it.
        tag: Of its published name, where it has one.
    """

    architecture: str
    label_names: Sequence[str]
    data_config: DataConfig
    info: ModelInfo
    license: str | None = None
    tag: str | None = None

    @property
    def name(self) -> str:
        """Published name; of a model that has none, the architecture."""
        return self.architecture if self.tag is None else f"{self.architecture}.{self.tag}"

    @property
    def img_size(self) -> int:
        """Side of the images that the network takes, pixels."""
        return self.data_config["input_size"][-1]
