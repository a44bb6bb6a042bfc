"""Head aspect ratio constraint (HARC), eq. 14."""

import torch
from torch import nn

__all__ = ["HARC"]


class HARC(nn.Module):
    """Penalty on heads whose aspect ratio γ lies outside of ``center ± tolerance``.

    ``form="literal"`` is eq. 14 as printed, ``mean(max(|γ - 1.5| - 0.3, 0))``. It contains no output of the network, so
    its gradient is zero everywhere. ``form="coupled"``, a choice, weighs the excess of each head with the probability
    that the network gives to the normal class: ``mean(p(Normal) · max(|γ - 1.5| - 0.3, 0))``.

    A missing γ (NaN) contributes 0; the mean stays over the whole batch.

    Args:
        normal_class: Index of the class that means a normal head.
        form: ``"coupled"`` or ``"literal"``.
        center: Middle of the normal range of γ.
        tolerance: Half of its width, δ.
    """

    def __init__(self, normal_class: int, form: str = "coupled", center: float = 1.5, tolerance: float = 0.3) -> None:
        super().__init__()
        if form not in ("coupled", "literal"):
            raise ValueError(f"form={form!r}: expected 'coupled' or 'literal'")
        self.normal_class = normal_class
        self.form = form
        self.center = center
        self.tolerance = tolerance

    def forward(self, logits: torch.Tensor, aspect_ratio: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, classes)`` and γ ``(batch,)``, NaN where missing, to a scalar."""
        excess = ((aspect_ratio - self.center).abs() - self.tolerance).clamp(min=0).nan_to_num(nan=0.0)
        if self.form == "literal":
            return excess.mean() + 0 * logits.sum()
        return (logits.float().softmax(dim=1)[:, self.normal_class] * excess).mean()
