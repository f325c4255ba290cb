"""Batches whose place can be saved: an epoch is a permutation that follows from the seed and the epoch's number alone.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array


class Batches(Protocol):
    """What ``train`` reads: iterating gives the rest of the present epoch and then moves to the next one."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def state(self) -> Mapping[str, Any]:
        """Where the next batch comes from, as JSON values."""
        ...

    def load(self, state: Mapping[str, Any]) -> None: ...


class Rows(Protocol):
    """Data of which any rows can be taken, as examples or preferences."""

    def __len__(self) -> int: ...

    def take(self, rows: Array) -> Self: ...


R = TypeVar("R", bound=Rows)


class RowBatches:
    """Batches of row numbers, made into what a module takes by ``make``.

    shuffle   False reads in order (one pass over a log in time order)
    rank, of  this process's share of every batch when several train together: together they see the very same batches
    """

    def __init__(
        self,
        num_rows: int,
        size: int,
        make: Callable[[Array], Any],
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        of: int = 1,
    ) -> None:
        if num_rows < of or size < of:
            raise SettingError(f"{num_rows} rows in batches of {size} cannot be shared by {of} processes; use fewer")
        self._num_rows, self._size, self._make = num_rows, size, make
        self._seed, self._shuffle, self._rank, self._of = seed, shuffle, rank, of
        self.epoch, self.next = 0, 0

    @classmethod
    def of_data(
        cls, data: R, size: int, make: Callable[[R], Any], *, seed: int = 0, rank: int = 0, of: int = 1
    ) -> Self:
        """Batches of ``size`` rows of ``data``, in an order that follows from the seed, each made by ``make``."""
        return cls(len(data), size, lambda rows: make(data.take(rows)), seed=seed, rank=rank, of=of)

    def __len__(self) -> int:
        whole, rest = divmod(self._num_rows, self._size)
        return whole + (rest >= self._of)

    def rows(self, index: int) -> Array:
        """int64[N]: the rows of this process's share of batch ``index`` of the present epoch."""
        batch = self._order()[index * self._size : (index + 1) * self._size]
        return batch[self._rank :: self._of]

    def __iter__(self) -> Iterator[Any]:
        while self.next < len(self):
            batch = self._make(self.rows(self.next))
            self.next += 1
            yield batch
        self.epoch, self.next = self.epoch + 1, 0

    def state(self) -> Mapping[str, Any]:
        return {"epoch": self.epoch, "next": self.next}

    def load(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.next = int(state["epoch"]), int(state["next"])

    def _order(self) -> Array:
        """The permutation of the present epoch, made once."""
        if not self._shuffle:
            return np.arange(self._num_rows)
        if getattr(self, "_made", None) != self.epoch:
            self._permutation = np.random.default_rng((self._seed, self.epoch)).permutation(self._num_rows)
            self._made = self.epoch
        return self._permutation
