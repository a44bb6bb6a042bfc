"""Using a trained model."""

from .classifier import Classifier, Prediction

__all__ = ["Classifier", "Prediction"]
