"""The hybrid loss of section III-E and its parts."""

from .distillation import Distillation
from .harc import HARC
from .hybrid import HybridLoss
from .triplet import BatchAllTriplet

__all__ = ["HARC", "BatchAllTriplet", "Distillation", "HybridLoss"]
