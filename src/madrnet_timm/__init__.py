"""MADRNet for sperm head classification, as a timm model family.

Importing the package registers ``madrnet_<architecture>`` for every timm architecture::

    import timm
    import madrnet_timm

    model = timm.create_model("madrnet_resnet50", num_classes=4)

`create_transform` prepares images as a model's weights were trained.

With ``MADRNET_WITHOUT_MODELS=1`` in the environment nothing is registered, and neither PyTorch nor timm imported, which
takes seconds, until something is used that needs them: for programs that only measure, and for those verbs of
``madrnet`` that ask no network.
"""

import os
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models
from .models.pretrained import set_weights_finder, set_weights_listener

if TYPE_CHECKING:
    from .inference.transform import Transform

__all__ = ["__version__", "create_transform", "models"]
__version__ = version("madrnet-timm")


def _find_weights(name: str) -> Path:
    from .hub.lookup import find_weights  # late: what it needs is more than timm

    return find_weights(name)


def _weights_loaded(model: Any, cache_dir: str | Path | None) -> None:
    from .hub.preparation import weights_loaded

    weights_loaded(model, cache_dir)


set_weights_finder(_find_weights)
set_weights_listener(_weights_loaded)
if os.environ.get("MADRNET_WITHOUT_MODELS") != "1":
    import_module(".models.madrnet", __name__)


def create_transform(model: Any, pipeline: str | None = None) -> "Transform":
    """What makes of an image what a model takes: the pipeline that its weights were trained with, then mean and std.

    It stands in the place of `timm.data.create_transform`, which knows no pipelines::

        transform = madrnet_timm.create_transform(model)
        logits = model(transform("head.png")[None])

    Args:
        model: A MADRNet or a plain timm model, made with its weights by `timm.create_model`.
        pipeline: A name of `madrnet_timm.data.pipelines.PIPELINES`, for weights that were loaded otherwise, as by
            ``load_state_dict``; by default the model's own.

    Raises:
        madrnet_timm.errors.InputError: No timm model, one that takes no square RGB images, no such pipeline, or a model
            whose folder is not there any more.
    """
    from .inference.transform import create_transform

    return create_transform(model, pipeline)
