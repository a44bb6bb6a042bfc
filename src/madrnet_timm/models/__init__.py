"""The model family: importing it registers ``madrnet_<architecture>`` with timm."""

from .attention import DualAttention
from .bilinear import BilinearPool
from .interaction import ReversibleInteraction
from .madrnet import MADRNet
from .reversible import ReversibleSequence

__all__ = ["BilinearPool", "DualAttention", "MADRNet", "ReversibleInteraction", "ReversibleSequence"]
