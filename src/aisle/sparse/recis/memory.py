"""Memory that grows without moving: address space is reserved once and costs nothing until it is written to.

A block of rows is given out by writing to it for the first time, so a row's place never changes and no array is copied
when a table grows.  Large pages are asked for where the system has them: rows are met at random, and with pages of 4 KB
finding the page takes longer than reading the row.
"""

from __future__ import annotations

import mmap
import sys

import numpy as np

from aisle.core.errors import AisleError
from aisle.core.lists import Array

_ON_LINUX = sys.platform == "linux"
_NO_RESERVE = 0x4000 if _ON_LINUX else 0
SMALLEST = 1 << 20


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


def filled(words: int, value: int) -> Array:
    """int64[words] of one value, in large pages when it is large."""
    array = np.frombuffer(_mapped(max(8 * words, mmap.PAGESIZE)), np.int64)[:words]
    if value:
        array.fill(value)
    return array


def _mapped(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows: pages are committed at once
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    if hasattr(mmap, "MADV_HUGEPAGE") and size >= SMALLEST:
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel without large pages
            pass
    return memory
