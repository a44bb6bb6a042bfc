"""What a model gives must be finite: NaN and infinity are the signs of damaged weights."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["check_finite"]


def check_finite(values: NDArray[Any], model: str | Path) -> None:
    """Raise `InputError` where what a model gives is NaN or infinite: any class made of it would be wrong."""
    if not np.isfinite(values).all():
        raise InputError(
            f"{model}: the model gives numbers that are not finite; its weights are damaged or its training "
            "diverged: fetch the model again, or train it with a lower learning rate"
        )
