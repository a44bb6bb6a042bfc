"""Below which probability a model abstains, and what this promises."""

from ..errors import InputError
from ..hub.model_info import ModelInfo

__all__ = ["decision_rule"]


def decision_rule(
    info: ModelInfo, threshold: float | None = None, risk: float | None = None
) -> tuple[float | None, float | None]:
    """Lowest calibrated probability of the chosen class at which a model decides, and the risk that this promises.

    Args:
        info: Of the model.
        threshold: One that is wanted instead of the model's own; it promises nothing.
        risk: Share of wrong ones, at most, among the heads that the model decides on; else the model's own promise.

    Returns:
        Both are None where the model has none.

    Raises:
        InputError: Both are wanted, one is not from 0 to 1, or the model can't promise this risk.
    """
    for name, value in (("threshold", threshold), ("risk", risk)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} {value:g}: expected a number from 0 to 1")
    if threshold is not None and risk is not None:
        raise InputError("threshold and risk: a threshold follows from a risk; expected one of the two")
    if threshold is not None:
        return threshold, None
    if info.guarantee is None:
        if risk is not None:
            raise InputError(f"risk {risk:g}: this model comes without a guarantee; expected a threshold of your own")
        return info.threshold, None
    if risk is None:
        return info.threshold, info.guarantee.risk
    found = info.guarantee.candidate(risk)
    if found is None:
        raise InputError(
            f"risk {risk:g}: the model's {info.guarantee.cells} held-out cells are too few to promise it; the least "
            f"that they allow is {info.guarantee.least_risk:.2g}"
        )
    return found.threshold, risk
