"""Using a trained model."""

from .classifier import Classifier, Prediction
from .sheet import prediction_sheet

__all__ = ["Classifier", "Prediction", "prediction_sheet"]
