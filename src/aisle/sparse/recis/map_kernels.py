"""Compiled loops of the id map: open addressing with linear probing over 16-byte entries.

    entry    int64[2C]  entry c: its key + 1 at 2c (EMPTY where none), its payload at 2c + 1
    payload  int32[4C]  the same memory: the row at 4c + 2, the mark at 4c + 3

A row below 0 is no row yet: an id met -row times that waits for admission.  The mark makes one probe both find and
dedupe: it is the number u that the entry got in the running batch, believed only while ``slot_U[u]`` points back here, so
nothing has to be cleared between batches.

Legend: P keys of a batch, U distinct ones with a row, C capacity (a power of 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from aisle.sparse.recis.lanes import ask, compiled, prefetch

EMPTY = 0
"""No key, and what memory holds that nobody wrote.  Child tables stop below 4095, so a coalesced key is never -1, and key + 1
is never this."""
AHEAD = 32
"""Keys whose entries are asked for before they are looked at: a miss of the cache takes about as long as 32 steps."""
SIZE, NEXT_ROW, NUM_FREE, NUM_UNIQUE, NUM_NEW = range(5)
"""Places in ``count``."""


@njit(inline="always")
def mixed(key: Any) -> Any:
    """uint64: every bit of the key spread over every bit (the finaliser of splitmix64)."""
    bits = np.uint64(key)
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


@njit(inline="always")
def _place(key: Any, entry: Any, mask: Any) -> Any:
    """Where the key stands, or the empty entry where it would."""
    place = np.int64(mixed(key) & np.uint64(mask))
    while entry[2 * place] != key + 1 and entry[2 * place] != EMPTY:
        place = (place + 1) & mask
    return place


@compiled
def find_or_add(
    key: Any, num_admitted: Any, times: Any, min_count: Any, entry: Any, payload: Any, mask: Any, count: Any, free: Any,
    index: Any, row_U: Any, slot_U: Any, new_key: Any, new_row: Any, data: Any, record: Any,
) -> None:  # fmt: skip
    """Rows for the keys of a batch, new ones for the first ``num_admitted`` keys that have none.

    ``times`` int32[P] says how often each key was met (0: looked up only), or is empty for once each.  Writes
    index int32[P] (the key's u, -1 without a row), row_U, slot_U, and the new ones to new_key and new_row, from the numbers
    of ``count`` on, which several calls for one batch go on counting.  The map must have room for all keys; rows come from
    ``free`` first.
    """
    num, unique, fresh = len(key), count[NUM_UNIQUE], count[NUM_NEW]
    ring = np.empty(AHEAD, np.int64)
    for j in range(-AHEAD, num):
        place = ring[j & (AHEAD - 1)]
        if j + AHEAD < num:
            wanted = np.int64(mixed(key[j + AHEAD]) & np.uint64(mask))
            ring[j & (AHEAD - 1)] = wanted
            prefetch(entry, 2 * wanted)
        if j < 0:
            continue
        wanted = key[j] + 1
        meets = 1 if j < num_admitted else 0
        if len(times):
            meets = np.int64(times[j])
        found = entry[2 * place]
        while found != wanted and found != EMPTY:
            place = (place + 1) & mask
            found = entry[2 * place]
        if found == EMPTY:
            if meets == 0:
                index[j] = -1
                continue
            count[SIZE] += 1
            entry[2 * place] = wanted
            payload[4 * place + 2] = 0
            payload[4 * place + 3] = 0
        row = np.int64(payload[4 * place + 2])
        if row < 0 or found == EMPTY:  # not admitted so far
            met = (0 if found == EMPTY else -row) + meets
            if meets == 0 or met < min_count:
                if meets:
                    payload[4 * place + 2] = -met
                index[j] = -1
                continue
            if count[NUM_FREE] > 0:
                count[NUM_FREE] -= 1
                row = np.int64(free[count[NUM_FREE]])
            else:
                row = count[NEXT_ROW]
                count[NEXT_ROW] += 1
            payload[4 * place + 2] = row
            new_key[fresh] = key[j]
            new_row[fresh] = row
            fresh += 1
            seen = False
        else:
            u = np.int64(payload[4 * place + 3])
            seen = u < unique and slot_U[u] == place
        if not seen:
            u = unique
            unique += 1
            slot_U[u] = place
            row_U[u] = row
            payload[4 * place + 3] = u
            ask(data, row, record)
        index[j] = u
    count[NUM_UNIQUE] = unique
    count[NUM_NEW] = fresh


@compiled
def find(key: Any, entry: Any, payload: Any, mask: Any, data: Any, record: Any, row_P: Any) -> None:
    """The row of each key, -1 where it has none.  Writes nothing else, so that many may read at once."""
    num = len(key)
    for j in range(-AHEAD, num):
        if j + AHEAD < num:
            prefetch(entry, 2 * np.int64(mixed(key[j + AHEAD]) & np.uint64(mask)))
        if j >= 0:
            place = _place(key[j], entry, mask)
            row = np.int64(-1)
            if entry[2 * place] != EMPTY:
                row = max(row, np.int64(payload[4 * place + 2]))
            if row >= 0:
                prefetch(data, row * record)
            row_P[j] = row


@compiled
def put(key: Any, row: Any, entry: Any, payload: Any, mask: Any) -> None:
    """Enter keys that are not there, with their rows."""
    for j in range(len(key)):
        place = _place(key[j], entry, mask)
        entry[2 * place] = key[j] + 1
        payload[4 * place + 2] = row[j]
        payload[4 * place + 3] = 0


@compiled
def move(entry: Any, larger: Any, mask: Any) -> None:
    """Copy every entry into a larger empty map of this mask.

    In the order of the old map, since the low bits of the hash are the place: both are read and written from front to back.
    """
    for old in range(len(entry) // 2):
        if entry[2 * old] != EMPTY:
            place = np.int64(mixed(entry[2 * old] - 1) & np.uint64(mask))
            while larger[2 * place] != EMPTY:
                place = (place + 1) & mask
            larger[2 * place] = entry[2 * old]
            larger[2 * place + 1] = entry[2 * old + 1]


@compiled
def listed(entry: Any, payload: Any, key: Any, row: Any) -> Any:
    """Every entry's key and row, in the order of the entries; returns their number."""
    num = 0
    for place in range(len(entry) // 2):
        if entry[2 * place] != EMPTY:
            key[num] = entry[2 * place] - 1
            row[num] = payload[4 * place + 2]
            num += 1
    return num


@compiled
def erase(key: Any, entry: Any, payload: Any, mask: Any, row: Any) -> Any:
    """Take keys out; row[j] becomes their row, -1 where there is none.  Returns how many were there.

    The entries behind a gap move up, so no markers of the dead stay.
    """
    num = 0
    for j in range(len(key)):
        gap = _place(key[j], entry, mask)
        row[j] = -1
        if entry[2 * gap] == EMPTY:
            continue
        row[j] = max(np.int64(payload[4 * gap + 2]), np.int64(-1))
        num += 1
        place = gap
        while True:
            place = (place + 1) & mask
            if entry[2 * place] == EMPTY:
                break
            home = np.int64(mixed(entry[2 * place] - 1) & np.uint64(mask))
            if ((place - home) & mask) >= ((place - gap) & mask):
                entry[2 * gap] = entry[2 * place]
                entry[2 * gap + 1] = entry[2 * place + 1]
                gap = place
        entry[2 * gap] = EMPTY
    return num
