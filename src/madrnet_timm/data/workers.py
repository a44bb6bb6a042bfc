"""Processes that work for this one, and end with it however it ends."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import Any, TypeVar

from ..errors import InputError

__all__ = ["map_in_processes"]

T = TypeVar("T")


def map_in_processes(
    task: Callable[..., T], *arguments: Sequence[Any], processes: int, chunksize: int = 1
) -> Iterator[T]:
    """What ``map`` gives, in order, computed by several processes.

    The processes import the module of the task and not the program that was started, which needs no guard
    ``if __name__ == "__main__"``.

    Args:
        task: A function of a module, or a `functools.partial` of one.
        arguments: A sequence for each of its arguments.
        processes: How many.
        chunksize: Calls that are handed over at once.

    Raises:
        InputError: One of the processes was killed.
    """
    calls = list(zip(*arguments, strict=True))
    with ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent) as pool:
        try:
            with _quiet_start():
                parts = [
                    pool.submit(_several, task, calls[start : start + chunksize])
                    for start in range(0, len(calls), chunksize)
                ]
            for part in parts:
                yield from part.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {processes} processes was killed, perhaps for want of memory; try again with fewer"
            ) from error
        except BaseException:  # Ctrl-C among them: what is under way is not waited for
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def _several(task: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    return [task(*arguments) for arguments in calls]


def _end_with_parent() -> None:
    """In a worker: end when the parent does, even if that was killed and could tell nobody."""
    threading.Thread(target=_wait_for_end, args=(parent_process(),), daemon=True).start()


def _wait_for_end(parent: Any) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Processes that are started here leave Ctrl-C to their parent, and do not run its program once more.

    Ctrl-C itself waits until they are started: one that has not been told yet what to do would end with a traceback.
    """
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        with _interrupts_later():
            yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _interrupts_later() -> Iterator[None]:
    main_thread = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "pthread_sigmask") or not main_thread or not callable(signal.getsignal(signal.SIGINT)):
        yield  # none come: on Windows, beside the main thread, where they are ignored
        return
    waiting: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))  # by whatever thread it comes
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by the processes
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if waiting:
        raise KeyboardInterrupt
