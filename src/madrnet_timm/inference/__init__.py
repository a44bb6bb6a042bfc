"""Using a trained model: classify, explain, report, export."""

from .classifier import Classifier, FieldPrediction, Prediction
from .contact_sheet import contact_sheet

__all__ = ["Classifier", "FieldPrediction", "Prediction", "contact_sheet"]
