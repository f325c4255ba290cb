"""What steps of autograd over loops of our own have in common: memory as the loops read it, and rows dealt out to threads.

Imports numba; nothing imports this file before a network learns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from aisle.core.lists import Array
from aisle.nn.threads import SideBySide


def numbers_of(tensor: Tensor) -> Array:
    """A tensor's memory, flat: float32, or bfloat16 as uint16."""
    flat = tensor.detach().view(-1)
    return flat.view(torch.int16).numpy().view(np.uint16) if flat.dtype == torch.bfloat16 else flat.numpy()


def words_of(numbers: Array) -> Array:
    """The same memory as products read it: float32, or pairs of bfloat16 as uint32."""
    return numbers.view(np.uint32) if numbers.dtype == np.uint16 else numbers


def room_for(num: int, kind: object) -> Array:
    """So many numbers or words of anything, from a cache line on: loads that cross one take twice as long."""
    out: Array = torch.empty(num, dtype=_HELD[np.dtype(kind)]).numpy().view(kind)
    return out


_HELD = {np.dtype(np.float32): torch.float32, np.dtype(np.uint16): torch.int16, np.dtype(np.uint32): torch.int32}
"""numpy's kind -> torch's of the same size: torch's memory begins on a cache line, numpy's need not."""


def parts_of(num: int, block: int) -> list[tuple[int, int]]:
    """(first row, end) of equal parts of the rows in whole blocks, one a thread of torch."""
    blocks = -(-num // block)
    parts = min(torch.get_num_threads(), blocks)
    return list(pairwise(min(num, block * (blocks * n // parts)) for n in range(parts + 1)))


def in_parts(call: Callable[[int], None], num: int) -> None:
    """``call(n)`` for the n-th part, side by side."""
    _team(num)(call, num)


@cache
def _team(threads: int) -> SideBySide:
    return SideBySide(threads)
