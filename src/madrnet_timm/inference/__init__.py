"""Using a trained model: classify, explain, report, export."""

from .classifier import Classifier, Prediction
from .sheet import prediction_sheet

__all__ = ["Classifier", "Prediction", "prediction_sheet"]
