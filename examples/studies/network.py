"""What a network gives for prepared images, batch by batch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def outputs(
    network: Callable[[Any], Any], views: Any, data_config: Mapping[str, Any], batch_size: int = 64
) -> NDArray[np.float64]:
    """What a network, or a function of its input, gives for prepared images.

    Args:
        network: Takes a batch ``(images, 3, size, size)`` float32, normalised, and gives ``(images, outputs)``.
        views: The images, a tensor ``(images, 3, size, size)`` uint8.
        data_config: With ``mean`` and ``std``, as timm has it.
        batch_size: Images at once.

    Returns:
        ``(images, outputs)``.
    """
    import torch

    from madrnet_timm.data.normalization import normalized
    from madrnet_timm.progress import progress

    batches = views.split(batch_size)
    with torch.inference_mode():
        found = [
            network(normalized(batch, data_config["mean"], data_config["std"]))
            for batch in progress(batches, len(batches), "network", "batch")
        ]
    return torch.cat(found).double().numpy()
