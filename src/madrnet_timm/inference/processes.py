"""The processes that a launcher (`accelerate launch`, `torchrun`) has started for one prediction."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

__all__ = ["Processes"]

T = TypeVar("T")

_SET_BY_A_LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(days=30)  # of a process that waits for those whose share takes longer
_OTHER_HAS_ENDED = ("closed by peer", "reset by peer", "Broken pipe")


@dataclass(frozen=True)
class Processes:
    """This process among those that predict together.

    Attributes:
        index: Its number, from 0; process 0 says what there is to say and writes the table.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    @classmethod
    @contextmanager
    def launched(cls) -> Iterator["Processes"]:
        """Those that a launcher has started; without one this process alone.

        They talk over the CPU (gloo), on whatever device they compute.
        """
        several = all(name in os.environ for name in _SET_BY_A_LAUNCHER) and int(os.environ["WORLD_SIZE"]) > 1
        if not several:
            yield cls()
            return
        index, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if index == 0:
            print(f"{count} processes divide the images among themselves", file=sys.stderr, flush=True)
        distributed.init_process_group("gloo", timeout=_PATIENCE)
        try:
            yield cls(index, count)
        finally:
            distributed.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """It is process 0, or the only one."""
        return self.index == 0

    def device(self, wanted: str) -> str:
        """The device of this process: of several GPUs each has another."""
        if wanted != "cuda" or self.count == 1 or not torch.cuda.is_available():
            return wanted
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.index)) % torch.cuda.device_count()}"

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The part of the items that is this process's to do: every ``count``-th, so that all have about as much."""
        return items[self.index :: self.count]

    def told(self, value: T | None) -> T:
        """What process 0 gives; the others give None."""
        values = [value]
        if self.count > 1:
            with _quiet_where_another_ended():
                distributed.broadcast_object_list(values)
        assert values[0] is not None
        return values[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            with _quiet_where_another_ended():
                distributed.barrier()


@contextmanager
def _quiet_where_another_ended() -> Iterator[None]:
    """End, too, where another process has ended before its time: that one has said why."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _OTHER_HAS_ENDED):
            raise
        sys.exit(2)
