"""The model family: importing `madrnet` registers ``madrnet_<architecture>`` with timm."""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .attention import DualAttention
    from .bilinear import BilinearPool
    from .interaction import ReversibleInteraction
    from .madrnet import MADRNet
    from .reversible import ReversibleSequence

__all__ = ["BilinearPool", "DualAttention", "MADRNet", "ReversibleInteraction", "ReversibleSequence"]

__getattr__ = lazy(
    __name__,
    {
        "BilinearPool": "bilinear",
        "DualAttention": "attention",
        "MADRNet": "madrnet",
        "ReversibleInteraction": "interaction",
        "ReversibleSequence": "reversible",
    },
)
