"""Work on several tables side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class SideBySide:
    """``call(n)`` for every n, by this thread and ``threads - 1`` helpers, each taking the next n that nobody has."""

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers) if self._helpers > 0 else None

    def __call__(self, call: Callable[[int], T], num: int) -> list[T]:
        """The results in their order.  Raises what a call raised, after all have ended."""
        numbers, out = iter(range(num)), dict[int, T]()

        def work() -> None:
            for n in numbers:
                out[n] = call(n)

        others = [self._pool.submit(work) for _ in range(min(self._helpers, num - 1))] if self._pool else []
        try:
            work()
        finally:
            wait(others)
        for other in others:
            other.result()
        return [out[n] for n in range(num)]
