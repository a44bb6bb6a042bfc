"""Using a trained model: classify, explain, report, export."""

from typing import TYPE_CHECKING

from ..lazy import lazy
from .contact_sheet import contact_sheet

if TYPE_CHECKING:
    from .classifier import Classifier, FieldPrediction, Prediction

__all__ = ["Classifier", "FieldPrediction", "Prediction", "contact_sheet"]

__getattr__ = lazy(__name__, dict.fromkeys(("Classifier", "FieldPrediction", "Prediction"), "classifier"))
