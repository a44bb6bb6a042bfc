"""MADRNet for sperm head classification, as a timm model family.

Importing the package registers ``madrnet_<architecture>`` for every timm architecture::

    import timm
    import madrnet_timm

    model = timm.create_model("madrnet_resnet50", num_classes=4)
"""

from importlib.metadata import version

from . import models

__all__ = ["__version__", "models"]
__version__ = version("madrnet-timm")
