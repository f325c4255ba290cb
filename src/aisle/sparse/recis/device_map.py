"""The id map in torch operations, for a GPU: open addressing like ``map_kernels.py``, all keys of a batch probing in step.

Legend: U distinct keys, C capacity (a power of 2).
"""

from __future__ import annotations

import torch

from aisle.sparse.recis.id_map import FULL, SMALLEST

EMPTY, GONE = 0, -1
"""What an entry holds instead of key + 1: nothing yet, and a key that was taken out (passed over until the next rebuilding).
Child tables stop below 4095, so no key + 1 is either."""


def mixed(key: torch.Tensor) -> torch.Tensor:
    """int64: the bits of ``map_kernels.mixed``; torch shifts carry the sign, so what they bring in is masked off."""
    bits = key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        bits = bits ^ ((bits >> shift) & ((1 << (64 - shift)) - 1))
        bits = bits * (factor - (1 << 64) if factor >> 63 else factor)
    return bits


def _first_of_each(value: torch.Tensor) -> torch.Tensor:
    """int64: where each distinct number stands for the first time, by rising number."""
    distinct, index = torch.unique(value, return_inverse=True)
    first = torch.full_like(distinct, len(value))
    return first.scatter_reduce_(0, index, torch.arange(len(value), device=value.device), "amin")


class DeviceMap:
    """Key -> row on one device.  A row below 0 is no row: an id met that often, waiting for admission."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._set(SMALLEST)
        self.num_rows = 0
        self.free = torch.empty(0, dtype=torch.int64, device=device)

    def _set(self, capacity: int) -> None:
        self.entry = torch.zeros(capacity, dtype=torch.int64, device=self.device)
        self.row = torch.zeros(capacity, dtype=torch.int64, device=self.device)
        self.mask, self.num_used = capacity - 1, 0

    def find(self, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(place where each key stands or would stand, bool[U] whether it does)."""
        place = mixed(key) & self.mask
        while True:
            here = self.entry[place]
            found = here == key + 1
            stop = found | (here == EMPTY)
            if bool(stop.all()):
                return place, found
            place = torch.where(stop, place, (place + 1) & self.mask)

    def enter(self, key: torch.Tensor, row: torch.Tensor) -> None:
        """Distinct keys that are not there.  Where several want one entry, the first of them gets it and the others go on: what a
        write to the same place twice leaves there is undefined on a GPU."""
        if self.num_used + len(key) > FULL * (self.mask + 1):
            self._rebuild(len(key))
        place = mixed(key) & self.mask
        while True:
            open_ = (self.entry[place] == EMPTY).nonzero()[:, 0]
            winner = open_[_first_of_each(place[open_])]
            self.entry[place[winner]] = key[winner] + 1
            won = self.entry[place] == key + 1
            if bool(won.all()):
                break
            place = torch.where(won, place, (place + 1) & self.mask)
        self.row[place] = row
        self.num_used += len(key)

    def _rebuild(self, more: int) -> None:
        key, row = self.listed()
        capacity = SMALLEST
        while len(key) + more > FULL * capacity:
            capacity *= 2
        self._set(capacity)
        if len(key):
            self.enter(key, row)

    def listed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(keys, rows) of all entries."""
        live = (self.entry != EMPTY) & (self.entry != GONE)
        return self.entry[live] - 1, self.row[live]

    def erase(self, key: torch.Tensor) -> None:
        """Take distinct keys out that are there, and free their rows."""
        place, found = self.find(key)
        rows = self.row[place[found]]
        self.entry[place[found]] = GONE
        self.free = torch.cat([self.free, rows[rows >= 0]])

    def new_rows(self, num: int) -> torch.Tensor:
        """int64[num]: the last freed first, then rows that nobody had."""
        reused = min(num, len(self.free))
        again = self.free[len(self.free) - reused :].flip(0)
        self.free = self.free[: len(self.free) - reused]
        fresh = torch.arange(self.num_rows, self.num_rows + num - reused, device=self.device)
        self.num_rows += num - reused
        return torch.cat([again, fresh])
