"""Using a trained model: classify, explain, report, export."""

from .classifier import Classifier, Prediction
from .contact_sheet import contact_sheet

__all__ = ["Classifier", "Prediction", "contact_sheet"]
