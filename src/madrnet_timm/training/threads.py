"""How many threads a training takes on the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

__all__ = ["cores", "few_threads", "threads_for"]

_SMALL = 160
"""Side of images so small that a step has little to share out; measured at 112 pixels."""


def cores() -> int:
    """Those that this process may use, by its affinity and by the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        most, period = quota.read_text(encoding="ascii").split()
        if most != "max":
            count = min(count, max(1, int(most) // int(period)))
    return count


def threads_for(img_size: int, available: int) -> int:
    """Threads for images of such a size: for small ones half of the cores, at most four.

    Threads wait for each other after every layer. Where one of them has to share its core with something else, all
    others wait for it: on two busy cores an epoch took 82 s with two threads, 18 s with one.
    """
    return max(1, min(4, available // 2)) if img_size <= _SMALL else available


@contextmanager
def few_threads(img_size: int) -> Iterator[str]:
    """PyTorch with `threads_for` an image's size, unless ``OMP_NUM_THREADS`` says how many; gives it in words."""
    before, available = torch.get_num_threads(), cores()
    if os.environ.get("OMP_NUM_THREADS"):
        yield f"{before} of {available} cores, as OMP_NUM_THREADS says"
        return
    torch.set_num_threads(threads_for(img_size, available))
    try:
        yield f"{torch.get_num_threads()} of {available} cores (OMP_NUM_THREADS=N takes another number)"
    finally:
        torch.set_num_threads(before)
