"""Facet counts over match set and filter: products, not variants; each facet without its own selection.

Legend: I items, N codes of one field, V labels of one field, P (group, label) pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

import numpy as np

from aisle.core.filters import Filter, In, conjuncts, without
from aisle.core.lists import Array
from aisle.engine.embedded.filters import Fields, stored

MOST_VALUES = 50
MOST_BUCKETS = 8
REMEMBERED = 256


class FacetCounter:
    """Counts one catalogue's facets."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._of_all: dict[tuple[Filter | None, str], Mapping[str, Any]] = {}
        self._group = fields.items.group()
        self._num_groups = int(self._group.max(initial=-1)) + 1
        # Without variants every row is a product of its own, and nothing needs to be made unique.
        self._has_variants = self._num_groups < len(self._group)

    def count(self, filter: Filter | None, match: Array | None, names: Sequence[str]) -> Mapping[str, Any]:
        """Field -> ``{"kind": "values", "values": [...]}`` or ``{"kind": "range", "low", "high", "buckets"}``.

        ``match`` is bool[I], or None for every row.  Raises SettingError for a field that no item has.
        """
        if match is not None:
            return {name: self._one(filter, match, name) for name in names}
        # The facets of a whole catalogue or department page are its dearest, and asked for again and again.
        if len(self._of_all) >= REMEMBERED:
            self._of_all.clear()
        for name in names:
            if (filter, name) not in self._of_all:
                self._of_all[filter, name] = self._one(filter, None, name)
        return {name: self._of_all[filter, name] for name in names}

    def _one(self, filter: Filter | None, match: Array | None, name: str) -> Mapping[str, Any]:
        numeric = self._fields.is_numeric(name)
        allowed = self._fields.bitmap(without(filter, name))
        rows_I = allowed if match is None else allowed & match
        return self._ranges(name, rows_I) if numeric else self._values(name, rows_I, selected(filter, name))

    def num_groups(self, rows_I: Array) -> int:
        """Products among these rows."""
        return len(np.unique(self._group[rows_I])) if self._has_variants else int(rows_I.sum())

    def _values(self, field: str, rows_I: Array, chosen: Sequence[object]) -> dict[str, Any]:
        codes, labels = self._fields.codes(field)
        rows = np.flatnonzero(rows_I)
        if 4 * len(rows) < len(rows_I):
            some = codes.take(rows)
            code, group = some.values, np.repeat(self._group[rows], np.diff(some.splits))
        else:
            owner_N = self._fields.owner(field)
            inside = rows_I[owner_N]
            code, group = codes.values[inside], self._group[owner_N[inside]]
        count_V = np.bincount(self._unique(group, code, len(labels)), minlength=len(labels))
        best = np.lexsort((np.arange(len(labels)), -count_V))[:MOST_VALUES]
        shown = [int(v) for v in best if count_V[v]]
        shown += [v for v in self._fields.codes_of(field, chosen) if v not in shown]
        return {"kind": "values", "values": [{"value": labels[v], "count": int(count_V[v])} for v in shown]}

    def _ranges(self, field: str, rows_I: Array) -> dict[str, Any]:
        column = self._fields.number(field)
        inside = np.flatnonzero(rows_I & ~np.isnan(column))
        value = column[inside]
        if not len(value):
            return {"kind": "range", "low": None, "high": None, "buckets": []}
        group = self._group[inside]
        buckets = []
        for low, high in round_buckets(value):
            there = (value >= stored(field, low)) & (value <= stored(field, high))
            buckets.append({"low": low, "high": high, "count": self._num_distinct(group[there])})
        return {"kind": "range", "low": float(value.min()), "high": float(value.max()), "buckets": buckets}

    def _num_distinct(self, group: Array) -> int:
        return len(np.unique(group)) if self._has_variants else len(group)

    def _unique(self, group: Array, label: Array, num_labels: int) -> Array:
        """int64[P]: the label of every distinct (group, label) pair."""
        if not self._has_variants:
            return label
        # A flag for each possible pair is quicker than sorting, as long as there are not many more than pairs.
        size = self._num_groups * num_labels
        pair = group.astype(np.int64) * num_labels + label
        if size <= 256 * len(pair):
            seen = np.zeros(size, bool)
            seen[pair] = True
            return np.flatnonzero(seen) % num_labels
        return np.unique(pair) % num_labels


def selected(filter: Filter | None, field: str) -> tuple[object, ...]:
    """Values of the field that the filter selects at its top level."""
    return tuple(v for part in conjuncts(filter) if isinstance(part, In) and part.field == field for v in part.values)


def round_buckets(value: Array) -> list[tuple[float, float]]:
    """Some 5 to 8 (low, high) at round numbers that cover the values, both ends included as in a ``Range``.

    Whole numbers end one below the next bucket (1000 to 1999).  The step follows the 2nd to 98th percentile, so that
    one outlier does not put all products into one bucket; the outer buckets take the tails.
    """
    least, most = float(value.min()), float(value.max())
    whole = bool(np.all(value == np.floor(value)))
    low, high = (float(v) for v in np.percentile(value, [2, 98]))
    if high <= low:
        low, high = least, most
    if high <= low:
        return [(low, high)]
    step = _step(low, high, 1.0 if whole else 0.0)
    first, last = floor(low / step), ceil(high / step)
    # Rounded, since 3 * 0.1 is not 0.3.
    edges = [round(n * step, 10) for n in range(first, max(last, first + 1) + 1)]
    edges[0], edges[-1] = min(edges[0], floor(least / step) * step), max(edges[-1], ceil(most / step) * step)
    ends = [edge - 1 if whole and edge != edges[-1] else edge for edge in edges[1:]]
    return list(zip(edges, ends, strict=False))


def _step(low: float, high: float, least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that cuts low to high into at most 8."""
    power = 10.0 ** floor(log10((high - low) / MOST_BUCKETS))
    steps = [r * p for p in (power, 10 * power) for r in (1.0, 2.0, 2.5, 5.0)]
    steps = [max(s, least) for s in steps if not least or max(s, least) == round(max(s, least))]
    return next(s for s in steps if ceil(high / s) - floor(low / s) <= MOST_BUCKETS)
