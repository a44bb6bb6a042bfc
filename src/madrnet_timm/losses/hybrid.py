"""The hybrid loss, eqs. 11 and 12."""

import torch
from torch import nn

from .harc import HARC
from .triplet import BatchAllTriplet

__all__ = ["HybridLoss"]


class HybridLoss(nn.Module):
    """``L = CE + α·L_triplet + β·C_HARC``.

    Args:
        normal_class: Index of the class that means a normal head; None leaves the aspect ratio constraint out.
        alpha: Weight α of the triplet loss.
        beta: Weight β of the constraint.
        margin: Of the triplet loss.
        harc: Form of the constraint, ``"coupled"`` or ``"literal"``.
        cross_entropy: Called with logits and target; `torch.nn.CrossEntropyLoss` if None.
    """

    def __init__(
        self,
        normal_class: int | None,
        alpha: float = 0.4,
        beta: float = 0.3,
        margin: float = 0.3,
        harc: str = "coupled",
        cross_entropy: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.cross_entropy = cross_entropy or nn.CrossEntropyLoss()
        self.triplet = BatchAllTriplet(margin)
        self.harc = None if normal_class is None else HARC(normal_class, harc)

    def forward(
        self,
        logits: torch.Tensor,
        embeddings: torch.Tensor,
        target: torch.Tensor,
        aspect_ratio: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Total loss and its unweighted parts by name, all with their graphs.

        Args:
            logits: ``(batch, classes)``.
            embeddings: ``(batch, dim)``.
            target: Class ids ``(batch,)``.
            aspect_ratio: γ ``(batch,)``, NaN where missing.
        """
        parts = {
            "cross_entropy": self.cross_entropy(logits, target),
            "triplet": self.triplet(embeddings, target),
        }
        total = parts["cross_entropy"] + self.alpha * parts["triplet"]
        if self.harc is not None:
            parts["harc"] = self.harc(logits, aspect_ratio)
            total = total + self.beta * parts["harc"]
        return total, parts
