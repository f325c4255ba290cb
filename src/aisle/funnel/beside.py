"""Beside: a second thread of the process does a part of a request while the first goes on; on one processor nothing changes.

One helper thread serves the whole process.  Nobody waits for it: work that it has not begun by the time the result is asked for
is done by the thread that asks.  So a free processor shortens a page, and a busy one costs it a few microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Errand(Generic[T]):
    """Work that is done once, by whichever of two threads comes to it first."""

    __slots__ = ("_begun", "_ended", "_error", "_value", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._begun, self._ended = Lock(), Lock()
        self._ended.acquire()

    def do(self) -> None:
        """Unless somebody has begun it."""
        if self._begun.acquire(blocking=False):
            assert self._work is not None
            self._error: BaseException | None = None
            try:
                self._value = self._work()
            except BaseException as error:
                self._error = error
            self._work = None
            self._ended.release()

    def result(self) -> T:
        """What the work returns; raises what it raises."""
        self.do()
        with self._ended:
            if self._error is not None:
                raise self._error
            return self._value


class Helper:
    """The thread that does errands; it starts with the first one."""

    def __init__(self) -> None:
        self._errands: SimpleQueue[Errand[object]] = SimpleQueue()
        self._starting = Lock()
        self._thread: Thread | None = None
        self.is_wanted = num_processors() > 1

    def send(self, work: Callable[[], T]) -> Errand[T]:
        """The errand of doing this work while the caller goes on."""
        errand = Errand(work)
        if self.is_wanted:
            self._start()
            self._errands.put(errand)  # type: ignore[arg-type]
        return errand

    def _start(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="aisle-beside", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._errands.get().do()


def num_processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


HELPER = Helper()
"""A process that is forked starts a thread of its own."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HELPER.__init__)  # type: ignore[misc]
