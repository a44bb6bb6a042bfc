"""Bytes that tensors hold, now and at most, counted storage by storage."""

from typing import Any

import torch

from madrnet_timm._compat import StorageWeakRef, TorchDispatchMode, storage_key, tree_iter

__all__ = ["LiveBytes"]


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make inside of ``with LiveBytes() as live:``, however they are held.

    The saved-tensor hooks of autograd alone miss what a context or an attribute holds; this census does not. Storages
    that exist before are not counted. On CUDA `torch.cuda.max_memory_allocated` tells the same at less cost.

    Attributes:
        now: Bytes of the storages alive after the last operation.
        peak: The largest value of `now`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._before: dict[int, StorageWeakRef] = {}  # the reference keeps the address from being used again
        self.peak = 0

    @property
    def now(self) -> int:
        self._alive = {key: (ref, size) for key, (ref, size) in self._alive.items() if not ref.expired()}
        return sum(size for _, size in self._alive.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for given in tree_iter((args, kwargs)):
            if isinstance(given, torch.Tensor) and not self._known(given.untyped_storage()):
                storage = given.untyped_storage()
                self._before[storage_key(storage)] = StorageWeakRef(storage)
        out = func(*args, **(kwargs or {}))
        for made in tree_iter(out):
            if isinstance(made, torch.Tensor) and not self._known(made.untyped_storage()):
                storage = made.untyped_storage()
                self._alive[storage_key(storage)] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _known(self, storage: torch.UntypedStorage) -> bool:
        key = storage_key(storage)
        counted, before = self._alive.get(key), self._before.get(key)
        return (counted is not None and not counted[0].expired()) or (before is not None and not before.expired())
