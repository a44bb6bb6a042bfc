"""MADRNet for sperm head classification, as a timm model family.

Importing the package registers ``madrnet_<architecture>`` for every timm architecture::

    import timm
    import madrnet_timm

    model = timm.create_model("madrnet_resnet50", num_classes=4)
"""

from importlib.metadata import version
from pathlib import Path

from . import models
from .models.published import set_weights_finder

__all__ = ["__version__", "models"]
__version__ = version("madrnet-timm")


def _find_weights(name: str) -> Path:
    from .hub.lookup import find_weights  # late: what it needs is more than timm

    return find_weights(name)


set_weights_finder(_find_weights)
