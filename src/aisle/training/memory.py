"""What training asks of the C library's memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings."""
MOST = 2**31 - 1


@cache
def keep_freed() -> None:
    """Let memory that is freed stay with the process, where the C library is glibc.

    It gives large blocks back to the system, which hands them out again page by page, zeroed: a training step frees and takes the
    same ones again, and a DCN of 416 columns met 6,000 new pages at each step, a tenth of its time.  A process that trains
    keeps the most that it ever had.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL("libc.so.6")
            library.mallopt(MMAP_THRESHOLD, 1 << 30)
            library.mallopt(TRIM_THRESHOLD, MOST)
