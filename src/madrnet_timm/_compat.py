"""Private API of timm and PyTorch that this package needs, each with the versions that it was seen in.

Nothing else of the package names any: an upgrade that breaks one fails in tests/test_compat.py first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.models._features import feature_take_indices  # timm 1.0.12 to 1.0.31
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor  # torch 2.7 to 2.14
from torch.multiprocessing.reductions import StorageWeakRef  # torch 2.7 to 2.14
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm  # torch 2.7 to 2.14
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode  # torch 2.7 to 2.14
from torch.utils._pytree import tree_iter  # torch 2.7 to 2.14

__all__ = [
    "AnyBatchNorm",
    "StorageWeakRef",
    "TorchDispatchMode",
    "buffers_of",
    "feature_take_indices",
    "is_functorch_wrapped_tensor",
    "is_replica",
    "storage_key",
    "tree_iter",
    "uncached_parametrizations",
    "version_of",
]


def buffers_of(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """The module's own buffers as it keeps them: a change of the dict is one of the module (torch 2.7 to 2.14)."""
    return module._buffers


def is_replica(module: Any) -> bool:
    """Whether `nn.DataParallel` made it for one of its devices (torch 2.7 to 2.14)."""
    return getattr(module, "_is_replica", False)


def version_of(tensor: torch.Tensor) -> int:
    """A number that every change in place raises (torch 2.7 to 2.14)."""
    return tensor._version


def storage_key(storage: torch.UntypedStorage) -> int:
    """A number that no other storage has while this one is alive or a `StorageWeakRef` to it (torch 2.7 to 2.14)."""
    return storage._cdata


@contextmanager
def uncached_parametrizations() -> Iterator[None]:
    """Parametrized tensors are computed at each use, also within `parametrize.cached` (torch 2.7 to 2.14)."""
    enabled, parametrize._cache_enabled = parametrize._cache_enabled, 0
    try:
        yield
    finally:
        parametrize._cache_enabled = enabled
