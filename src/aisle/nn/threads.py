"""Work on several things side by side (tables, parts of a batch), by the threads that torch computes with.

After an operation of several threads, OpenMP's threads go on looking for work for some milliseconds before they sleep.  Threads
of our own would share the processors with them: with two, a second one won nothing at all between the operations of a model.
So such work is given to torch's own team, which is awake.  Where torch computes without GNU's OpenMP (macOS, Windows)
threads of our own do it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class SideBySide:
    """``call(n)`` for every n, by this thread and ``threads - 1`` others, each taking the next n that nobody has."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 and _parallel() is None else None

    def __call__(self, call: Callable[[int], T], num: int) -> list[T]:
        """The results in their order.  Raises what a call raised, after all have ended."""
        threads = min(self._threads, num)
        if threads <= 1:
            return [call(n) for n in range(num)]
        numbers, seats, out, raised = iter(range(num)), iter(range(threads)), dict[int, T](), list[BaseException]()

        def work(_: Any = None) -> None:
            if next(seats, None) is None:  # the team may be larger
                return
            try:
                for n in numbers:
                    out[n] = call(n)
            except BaseException as error:  # nothing may leave a thread that is not Python's
                raised.append(error)

        if self._pool is None:
            # A team of another size than torch's would end threads, which torch starts anew.
            _parallel()(_BODY(work), None, max(threads, torch.get_num_threads()), 0)
        else:
            others = [self._pool.submit(work) for _ in range(threads - 1)]
            work()
            wait(others)
        if raised:
            raise raised[0]
        return [out[n] for n in range(num)]


@cache
def _parallel() -> Any:
    """GOMP_parallel(body, argument, threads, flags) of the OpenMP that torch uses: every thread of the team calls the body.
    None where torch's folder has no such library."""
    found = sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*")) if sys.platform == "linux" else []
    try:
        function = ctypes.CDLL(str(found[0])).GOMP_parallel
    except (IndexError, OSError, AttributeError):
        return None
    function.argtypes, function.restype = [_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return function
