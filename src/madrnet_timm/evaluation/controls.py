"""Controls: what simple things reach on the same folds, to be read beside every accuracy.

- ``largest class``: always the most frequent class of the training images.
- ``background``: a random forest on colour statistics of what lies around the head. It sees no head, so that whatever
  it gets above the largest class is a confound of the data (on HuSHeM 14 points), open to any network on whole
  crops.
- ``shape and stain``: logistic regression on what `madrnet_timm.morphology.measure` finds, relative stain included,
  absolute colour not. A network has to beat it to be worth its weights.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.sessions import around_head
from ..data.sources import PROFILES, images_of
from ..morphology import MEASUREMENTS
from ..opencv import cv2

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["CONTROLS", "Controls", "background_features", "better_control", "linear_model", "shape_features"]

CONTROLS = ("largest class", "background", "shape and stain")

_PERCENTILES = (5, 25, 50, 75, 95)

Floats = NDArray[np.float64]


def better_control(accuracy: float, controls: Mapping[str, float]) -> str:
    """A sentence where a control is at least as good as a model on the same images; empty where none is.

    Args:
        accuracy: Of the model.
        controls: Accuracy of each control by name.
    """
    if not controls:
        return ""
    best = max(controls, key=lambda name: controls[name])
    if controls[best] < accuracy:
        return ""
    return (
        f"The control “{best}” is right on {100 * controls[best]:.1f} %, the model on {100 * accuracy:.1f} %: as it "
        "is, the network is not worth its weights; train it longer, start from other weights (--weights, "
        "--pretrained-backbone), or look at the labels"
    )


def background_features(image: NDArray[np.uint8]) -> Floats:
    """Colour and texture outside of the disc that holds the head, ``(30,)``.

    Of each CIE Lab channel: mean, standard deviation, five percentiles, and mean size of the differences to the next
    pixel across, down and diagonally.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)
    height, width = image.shape[:2]
    around = around_head(height, width)
    values = lab[around] if around.any() else lab.reshape(-1, 3)
    parts = [values.mean(0), values.std(0), np.percentile(values, _PERCENTILES, axis=0).ravel()]
    for down, across in ((0, 1), (1, 0), (1, 1)):
        steps = np.abs(lab[down:, across:] - lab[: height - down, : width - across])
        both = around[down:, across:] & around[: height - down, : width - across]
        parts.append(steps[both].mean(0) if both.any() else np.zeros(3))
    return np.concatenate(parts)


def shape_features(dataset: "Dataset") -> Floats:
    """Measurements of each record but the angle, and its profiles, ``(records, features)``; NaN where missing."""
    names = [name for name in MEASUREMENTS if name != "angle"]
    columns = [[np.nan if value is None else value for value in dataset[name]] for name in names]
    profiles = [[[*row, *[np.nan] * 10][:10] for row in dataset[name]] for name in PROFILES]
    return np.hstack([np.array(columns, dtype=np.float64).T, *(np.array(rows, dtype=np.float64) for rows in profiles)])


def linear_model() -> Any:
    """Logistic regression on standardised features, medians where one is missing; for ``shape and stain``."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )


class Controls:
    """The controls of a data set, fold by fold.

    Args:
        dataset: Its records.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self.labels = np.array(dataset["label"])
        self._dataset = dataset
        self._features: dict[str, Floats] = {}

    def features(self, control: str) -> Floats:
        """What a control goes by, ``(records, features)``."""
        if control not in self._features:
            self._features[control] = {
                "largest class": lambda: np.zeros((len(self.labels), 1)),
                "background": lambda: np.stack([background_features(image) for image in images_of(self._dataset)]),
                "shape and stain": lambda: shape_features(self._dataset),
            }[control]()
        return self._features[control]

    def _estimator(self, control: str) -> Any:
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import RandomForestClassifier

        if control == "largest class":
            return DummyClassifier(strategy="most_frequent")
        if control == "background":
            return RandomForestClassifier(300, random_state=0)
        return linear_model()

    def _fitted(self, control: str, train: NDArray[np.bool_]) -> Any:
        return self._estimator(control).fit(self.features(control)[train], self.labels[train])

    def predict(self, control: str, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Class ids of the records in ``test`` by a control fitted on those in ``train`` (masks over the records)."""
        return self._fitted(control, train).predict(self.features(control)[test])

    def probabilities(self, control: str, train: NDArray[np.bool_], test: NDArray[np.bool_], classes: int) -> Floats:
        """Like `predict`: ``(records in test, classes)``, 0 for a class that ``train`` lacks."""
        fitted = self._fitted(control, train)
        found = np.zeros((int(test.sum()), classes))
        found[:, fitted.classes_] = fitted.predict_proba(self.features(control)[test])
        return found

    def accuracies(self, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> dict[str, float]:
        """Accuracy of each control on ``test``."""
        right = {name: self.predict(name, train, test) == self.labels[test] for name in CONTROLS}
        return {name: float(values.mean()) for name, values in right.items()}
