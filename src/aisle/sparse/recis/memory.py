"""Memory that grows without moving: address space is reserved once and costs nothing until it is written to.

A block of rows is given out by writing to it for the first time, so a row's place never changes and no array is copied
when a table grows.  Large pages are asked for where the system has them: rows are met at random, and with pages of 4 KB
finding the page takes longer than reading the row.

What every step needs anew (outputs, sums of gradients) is taken from ``Recycled``: fresh memory of that size would come from the
system page by page, and zeroed, each time.
"""

from __future__ import annotations

import mmap
import sys
from collections import deque
from contextlib import suppress

import numpy as np

from aisle.core.errors import AisleError
from aisle.core.lists import Array

_ON_LINUX = sys.platform == "linux"
NO_RESERVE = 0x4000 if _ON_LINUX else 0
SMALLEST = 1 << 20
LINE = 64
"""Bytes of a cache line."""


def reserved(words: int) -> Array:
    """float32[words], 0 where nothing was written; fewer words where the system grants no more.

    Raises AisleError when not even a megabyte is granted.
    """
    size = max(4 * words, SMALLEST)
    while True:
        try:
            return np.frombuffer(_mapped(size), np.float32)
        except OSError as error:
            size //= 2
            if size < SMALLEST:
                raise AisleError(
                    f"the system grants no address space for a table ({error}); lift the limit that 'ulimit -v' shows"
                ) from None


def zeros(words: int) -> Array:
    """int64[words] of 0, in large pages when it is large."""
    return np.frombuffer(_mapped(max(8 * words, mmap.PAGESIZE)), np.int64)[:words]


class Recycled:
    """Arrays that begin on a cache line, in memory that is used again once nobody holds them; any thread may ask.

    An array's memory counts as held as long as the array, a view of it, or a tensor made of one of these lives.
    """

    MOST = 4

    def __init__(self) -> None:
        self._kept: deque[Array] = deque()

    def __call__(self, words: int) -> Array:
        """float32[words] of anything."""
        for _ in range(len(self._kept)):
            try:
                whole, holders = _taken(self._kept)  # out of the others' sight while it is looked at
            except IndexError:
                break
            fits = holders == _UNHELD and len(whole) >= words + LINE // 4
            found = _aligned(whole, words) if fits else None
            self._kept.append(whole)
            if found is not None:
                return found
        whole = np.empty(words + words // 8 + LINE // 4, np.float32)
        found = _aligned(whole, words)
        self._kept.append(whole)
        if len(self._kept) > self.MOST:
            self._kept.popleft()
        return found


def _aligned(whole: Array, words: int) -> Array:
    first = -whole.ctypes.data % LINE // 4
    return whole[first : first + words]


def _taken(kept: deque[Array]) -> tuple[Array, int]:
    """(the first one, taken out; how often it is held)"""
    whole = kept.popleft()
    return whole, sys.getrefcount(whole)


_UNHELD = _taken(deque([np.empty(0)]))[1]
"""What ``_taken`` says of an array that nobody else holds."""


def _mapped(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows: pages are committed at once
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
    if hasattr(mmap, "MADV_HUGEPAGE") and size >= SMALLEST:
        with suppress(OSError):  # a kernel without large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
