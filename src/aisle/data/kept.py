"""What was worked out of a catalogue once and is mended where rows change, instead of being worked out again.

A catalogue of 200,000 rows takes 300 ms to code and group; mending what one upsert touched takes 1 ms.  A table that
follows another one takes over its columns with the rows that went stale; the first who asks pays for the mending.

Legend: I items of the new catalogue, N stale rows, V labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from aisle.core.lists import Array, Ragged, splits_of

STALE_SHARE = 0.05
"""With a larger share of rows stale a column is made anew, which is then about as quick."""
STALE_ROWS = 5000
"""A column that nobody asked for while so many rows went stale is forgotten."""


class _Column(NamedTuple):
    value: Any
    stale: Array


class Kept:
    """Values by name, each with the rows (int64, sorted, distinct) in which it may be out of date."""

    def __init__(self, columns: dict[Any, _Column] | None = None) -> None:
        self._columns = columns if columns is not None else {}

    def after(self, rows: Array) -> Kept:
        """For a catalogue in which these rows are new or different."""
        followed = {}
        for name, (value, stale) in list(self._columns.items()):
            stale = np.union1d(stale, rows) if len(stale) else np.unique(rows).astype(np.int64)
            if len(stale) <= STALE_ROWS:
                followed[name] = _Column(value, stale)
        return Kept(followed)

    def get(self, name: Any, make: Callable[[], Any], mend: Callable[[Any, Array], Any], num_rows: int) -> Any:
        """The value of this name, up to date.

        ``make()`` works it out; ``mend(value, rows)`` brings one to date that is right everywhere else.
        """
        known = self._columns.get(name)
        if known is not None and not len(known.stale):
            return known.value
        if known is None or len(known.stale) > STALE_SHARE * num_rows:
            value = make()
        else:
            value = mend(known.value, known.stale)
        self._columns[name] = _Column(value, np.zeros(0, np.int64))
        return value


def mended_numbers(column: Array, rows: Array, new: Array, size: int) -> Array:
    """A column of ``size`` rows with ``new`` values in these rows; the same one when they hold them already."""
    if len(column) == size and np.array_equal(column[rows], new, equal_nan=column.dtype.kind == "f"):
        return column
    out = np.empty(size, column.dtype)
    out[: len(column)] = column
    out[rows] = new
    return out


def mended_codes(
    old: tuple[Ragged, list[str]], rows: Array, new: tuple[Ragged, list[str]], size: int
) -> tuple[Ragged, list[str]]:
    """Codes and sorted labels of ``size`` rows with other codes in these rows, ``new`` by its own labels.

    A label that no row has any more stays, with no rows.  The very same codes come back when no row differs.
    """
    codes, labels = old
    labels, moved_V = _with_labels(labels, new[1])
    if moved_V is not None:
        codes = Ragged(moved_V[codes.values], codes.splits)
    place = {label: bisect_left(labels, label) for label in new[1]}
    renamed = np.array([place[label] for label in new[1]], np.int32)
    mended = _spliced(codes, rows, Ragged(renamed[new[0].values], new[0].splits), size)
    return old if mended is old[0] else (mended, labels)


def _same(one: Ragged, other: Ragged) -> bool:
    return np.array_equal(one.splits, other.splits) and np.array_equal(one.values, other.values)


def _with_labels(labels: list[str], more: Sequence[str]) -> tuple[list[str], Array | None]:
    """All labels, sorted, and the new code of each old one; None when none is new."""
    fresh = [label for label in more if not _holds(labels, label)]
    if not fresh:
        return labels, None
    places = np.array([bisect_left(labels, label) for label in sorted(fresh)])
    moved_V = np.arange(len(labels)) + np.searchsorted(places, np.arange(len(labels)), side="right")
    return sorted(labels + fresh), moved_V.astype(np.int32)


def _holds(labels: list[str], label: str) -> bool:
    at = bisect_left(labels, label)
    return at < len(labels) and labels[at] == label


def _spliced(old: Ragged, rows: Array, new: Ragged, size: int) -> Ragged:
    """``old`` with other values in these rows; rows that it did not have are there, empty or new."""
    if size == len(old) and _same(old.take(rows), new):
        return old
    counts = np.zeros(size, np.int64)
    counts[: len(old)] = np.diff(old.splits)
    counts[rows] = np.diff(new.splits)
    # Pieces of the old values between the changed rows, and the new values of each changed row.
    pieces, at = [], 0
    for n, row in enumerate(rows.tolist()):
        start = int(old.splits[min(row, len(old))])
        pieces += [old.values[at:start], new.values[new.splits[n] : new.splits[n + 1]]]
        at = int(old.splits[min(row + 1, len(old))])
    pieces.append(old.values[at:])
    return Ragged(np.concatenate(pieces), splits_of(counts))
