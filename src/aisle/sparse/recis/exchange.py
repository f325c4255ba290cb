"""What the processes of a group send each other: arrays for every rank, arrays from every rank.

``Collectives`` goes through ``torch.distributed``; ``shared.py`` has the way between processes of one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.lists import Array

Arrived = Callable[[], list[Array]]
"""Waits for what is on its way: one flat array from each rank, good until the next message is sent."""


class Exchange(Protocol):
    """Every rank of the group makes the same calls in the same order.  ``parts[r]`` stand one after the other for rank r."""

    def swap(self, parts: Sequence[Sequence[Array]]) -> list[Array]:
        """int64 arrays of which no receiver knows the length."""
        ...

    def send(self, parts: Sequence[Sequence[Array]], lengths: Sequence[int]) -> Arrived:
        """float32 arrays, of which ``lengths[r]`` numbers come from rank r; on their way until the result is called."""
        ...


class Collectives:
    """Through ``torch.distributed``."""

    FIRST_ROOM = 1 << 10

    def __init__(self, group: Any) -> None:
        self._group, self._room = group, self.FIRST_ROOM

    def swap(self, parts: Sequence[Sequence[Array]]) -> list[Array]:
        """Nobody knows how much the others send.  A message begins with the longest length of its sender's messages and its own;
        what does not fit into the room that all have agreed on follows in a second exchange, and the room grows for the
        next time."""
        sizes = [2 + sum(map(len, own)) for own in parts]
        longest = max(sizes)
        message = np.zeros((len(parts), max(longest, self._room)), np.int64)
        for row, size, own in zip(message, sizes, parts, strict=True):
            np.concatenate([(longest, size), *own], out=row[:size])
        got = self._swapped(message[:, : self._room])
        most = int(got[:, 0].max())
        if most > self._room:
            rest = np.zeros((len(parts), most - self._room), np.int64)
            rest[:, : message.shape[1] - self._room] = message[:, self._room :]
            got = np.hstack([got, self._swapped(rest)])
            self._room = -(-5 * most // 4 // self.FIRST_ROOM) * self.FIRST_ROOM
        return [row[2 : row[1]] for row in got]

    def _swapped(self, message: Array) -> Array:
        """Row r for rank r -> row r from rank r."""
        out = torch.empty(message.shape, dtype=torch.int64)
        dist.all_to_all_single(out, torch.from_numpy(np.ascontiguousarray(message)), group=self._group)
        return out.numpy()

    def send(self, parts: Sequence[Sequence[Array]], lengths: Sequence[int]) -> Arrived:
        out = torch.empty(sum(lengths))
        given = torch.from_numpy(np.concatenate([array for own in parts for array in own]))
        sizes = list(lengths), [sum(map(len, own)) for own in parts]
        work = dist.all_to_all_single(out, given, *sizes, group=self._group, async_op=True)

        def arrived() -> list[Array]:
            work.wait()
            return np.split(out.numpy(), np.cumsum(lengths)[:-1])

        return arrived
