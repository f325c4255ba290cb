"""Beside: two parts of one page at the same time, where a processor is free.

The compiled loops of the indexes let other Python code run, so matching words and searching vectors, or counting facets and
ranking, take the time of the longer one.  One helper a process: while it is busy with another page, or where there is one
processor only, a part is done at once by its caller, so that many pages at a time cost no more than before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


class Beside:
    """Safe to share between threads, and to use in a process that was forked."""

    def __init__(self, *, processors: int | None = None) -> None:
        self._alone = (processors or len(os.sched_getaffinity(0))) < 2
        self._idle = Lock()
        self._helper: tuple[int, ThreadPoolExecutor] | None = None

    def start(self, work: Callable[[], T]) -> Callable[[], T]:
        """Begin ``work``; the call that is returned waits for it and gives what it returns, or raises what it raises."""
        if self._alone or not self._idle.acquire(blocking=False):
            return _done(work)
        try:
            future = self._thread().submit(self._work, work)
        except RuntimeError:  # the interpreter is shutting down
            self._idle.release()
            return _done(work)
        return future.result

    def _work(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self._idle.release()

    def _thread(self) -> ThreadPoolExecutor:
        if self._helper is None or self._helper[0] != os.getpid():  # threads do not live on in a fork
            self._helper = os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="aisle-page")
        return self._helper[1]


def _done(work: Callable[[], T]) -> Callable[[], T]:
    future: Future[T] = Future()
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
    return future.result


BESIDE = Beside()
"""The process's own."""
