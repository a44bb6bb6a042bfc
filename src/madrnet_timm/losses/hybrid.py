"""The hybrid loss, eqs. 11 and 12."""

import math

import torch
from torch import nn

from .harc import HARC
from .triplet import BatchAllTriplet

__all__ = ["HybridLoss"]


class HybridLoss(nn.Module):
    """``L = CE + α·L_triplet + β·C_HARC``.

    Weights are fixed by default. The paper calls them learnable scalars; taken literally they fall without bound, since
    no term is negative. ``weights="learned"``, a choice, makes each ``w = exp(s)`` with the barrier
    ``w₀·(w/w₀ - 1 - log(w/w₀))`` added to the loss, whose optimum ``w₀ / (1 + term)`` is positive and at most w₀. The
    module then has parameters: give them to the optimizer, and under Accelerate prepare it, so that processes agree.

    Args:
        num_classes: Number of classes.
        normal_class: Index of the class that means a normal head; None leaves the aspect ratio constraint out.
        alpha: Weight α of the triplet loss, or w₀ of it.
        beta: Weight β of the constraint, or w₀ of it.
        margin: Of the triplet loss.
        harc: Form of the constraint, ``"coupled"`` or ``"literal"``.
        weights: ``"fixed"`` or ``"learned"``.
        cross_entropy: Called with logits and target; `torch.nn.CrossEntropyLoss` if None. timm's losses do, too.

    Raises:
        ValueError: ``normal_class`` out of range, unknown ``weights``, or a weight of 0 that is to be learned.
    """

    def __init__(
        self,
        num_classes: int,
        normal_class: int | None,
        alpha: float = 0.4,
        beta: float = 0.3,
        margin: float = 0.3,
        harc: str = "coupled",
        weights: str = "fixed",
        cross_entropy: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if normal_class is not None and not 0 <= normal_class < num_classes:
            raise ValueError(f"normal_class={normal_class}: expected 0 to {num_classes - 1}, or None")
        if weights not in ("fixed", "learned"):
            raise ValueError(f"weights={weights!r}: expected 'fixed' or 'learned'")
        self.cross_entropy = cross_entropy or nn.CrossEntropyLoss()
        self.triplet = BatchAllTriplet(margin)
        self.harc = None if normal_class is None else HARC(normal_class, harc)
        self.initial = {"triplet": alpha} | ({} if self.harc is None else {"harc": beta})
        self.log_weights = nn.ParameterDict()
        if weights == "learned":
            for name, value in self.initial.items():
                if not value > 0:
                    raise ValueError(f"the weight {value} of {name} can't be learned: expected more than 0")
                self.log_weights[name] = nn.Parameter(torch.tensor(math.log(value)))

    def weights(self) -> dict[str, float]:
        """Weight of each part after the cross entropy, as it is now."""
        return {
            name: float(self.log_weights[name].detach().exp()) if name in self.log_weights else value
            for name, value in self.initial.items()
        }

    def forward(
        self,
        logits: torch.Tensor,
        embeddings: torch.Tensor,
        target: torch.Tensor,
        aspect_ratio: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Total loss and its unweighted parts by name, all with their graphs.

        Args:
            logits: ``(batch, num_classes)``.
            embeddings: ``(batch, dim)``.
            target: Class ids ``(batch,)``, or soft targets ``(batch, num_classes)`` for a cross entropy that takes them
                (timm's `SoftTargetCrossEntropy`, torch's own); the triplets then see the most probable class.
            aspect_ratio: γ ``(batch,)``, NaN where missing.
        """
        parts = {
            "cross_entropy": self.cross_entropy(logits, target),
            "triplet": self.triplet(embeddings, target.argmax(dim=1) if target.ndim == 2 else target),
        }
        if self.harc is not None:
            parts["harc"] = self.harc(logits, aspect_ratio)
        total = parts["cross_entropy"]
        for name, initial in self.initial.items():
            if name in self.log_weights:
                weight = self.log_weights[name].exp()
                barrier = weight - initial - initial * (self.log_weights[name] - math.log(initial))
                total = total + weight * parts[name] + barrier
            else:
                total = total + initial * parts[name]
        return total, parts
