"""A model that knows what is no sperm, before one that does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .classifier import Classifier, Prepared

__all__ = ["NO_SPERM", "Screen"]

NO_SPERM = "no_sperm"
"""Flag of a head that the screen takes for none, and the column with the probability of that."""


@dataclass(frozen=True)
class Screen:
    """A model with a class of what is no sperm.

    Attributes:
        classifier: The model.
    """

    classifier: "Classifier"

    @classmethod
    def of(cls, name: str | Path, before: "Classifier", backend: str = "torch", device: str = "cpu") -> "Screen":
        """Load it.

        Args:
            name: See `Classifier`, as the others.
            before: The model that it screens for.
            backend: Of the screen.
            device: Of the screen.

        Raises:
            InputError: No such model, one without such a class, or the model that it screens for has one itself.
        """
        from .classifier import Classifier

        if before.folder.info.no_head_class is not None:
            raise InputError(
                f"--screen {name}: {before.folder.path.name} has a class for what is no sperm itself, "
                f"{before.folder.info.no_head_class}; leave --screen out"
            )
        classifier = Classifier(name, device, backend)
        if classifier.folder.info.no_head_class is None:
            raise InputError(
                f"--screen {name}: has no class for what is no sperm, only {', '.join(classifier.label_names)}; "
                "expected a model such as madrnet_tf_efficientnet_lite0.smids"
            )
        return cls(classifier)

    def no_sperm(self, prepared: Sequence["Prepared"]) -> list[tuple[float, bool]]:
        """For each head the probability that it is no sperm, and whether that is the most probable of all classes.

        Args:
            prepared: By the screen's own `Classifier.prepare`.
        """
        name = self.classifier.folder.info.no_head_class
        found = self.classifier.predict(prepared)
        return [(one.probabilities[str(name)], one.label == name) for one in found]
