"""Classification metrics of the paper's tables, as one `evaluate.Metric`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from .calibration import expected_calibration_error
from .results import ClassMetrics, Metrics

__all__ = ["ClassificationMetrics", "classification_metrics", "with_probabilities"]


def classification_metrics(
    predictions: Sequence[int], references: Sequence[int], class_names: Sequence[str]
) -> Metrics:
    """Accuracy, macro precision, recall and F1, the same per class, and the confusion matrix.

    A class that was never predicted has precision 0.

    Args:
        predictions: Class ids.
        references: Class ids.
        class_names: Name of each class id.
    """
    ids = list(range(len(class_names)))
    precision, recall, f1, support = precision_recall_fscore_support(
        references, predictions, labels=ids, zero_division=0.0
    )
    return Metrics(
        accuracy=float(np.mean(np.asarray(predictions) == np.asarray(references))),
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        f1=float(f1.mean()),
        per_class={
            name: ClassMetrics(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, name in enumerate(class_names)
        },
        confusion_matrix=tuple(map(tuple, confusion_matrix(references, predictions, labels=ids).tolist())),
    )


def with_probabilities(metrics: Metrics, probabilities: ArrayLike, references: Sequence[int]) -> Metrics:
    """Metrics with the figures that need more than the predicted class.

    ``auc`` is the mean over the classes of the area under the curve of one against the rest, of the classes that some
    but not all images have; None without any. ``calibration_error`` is `expected_calibration_error`.

    Args:
        metrics: Of the same images.
        probabilities: Of each image and class, ``(n, classes)``.
        references: Class ids ``(n,)``.
    """
    p, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(references)
    wanted = [label for label in range(p.shape[1]) if 0 < (labels == label).sum() < len(labels)]
    areas = [roc_auc_score(labels == label, p[:, label]) for label in wanted]
    auc = float(np.mean(areas)) if areas else None
    return replace(metrics, auc=auc, calibration_error=expected_calibration_error(p, labels))


class ClassificationMetrics(evaluate.Metric):
    """`classification_metrics` with the interface of `evaluate`: ``add_batch``, ``compute``, ``combine``.

    What ``compute`` gives is `Metrics.to_dict`.

    Args:
        class_names: Name of each class id.
    """

    def __init__(self, class_names: Sequence[str], **kwargs: Any) -> None:
        self.class_names = list(class_names)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, macro and per-class precision, recall and F1, and the confusion matrix.",
            citation="",
            inputs_description="predictions and references: class ids.",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, Any]:
        return classification_metrics(predictions, references, self.class_names).to_dict()
