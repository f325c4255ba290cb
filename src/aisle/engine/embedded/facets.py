"""Facet counts over match set and filter: products, not variants; each facet without its own selection.

Legend: I items, N chosen rows, V labels of one field, B buckets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil, floor, log10
from typing import Any, NamedTuple

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.filters import Filter, In, conjuncts, without
from aisle.core.lists import Array
from aisle.core.shop import Tally
from aisle.engine.embedded import facets_kernels as kernels
from aisle.engine.embedded.analysis import unfolded
from aisle.engine.embedded.compiled import frozen, rows_where
from aisle.engine.embedded.filters import Fields, stored

MOST_VALUES = 50
MOST_BUCKETS = 8
FEW = 16
"""A match set is small when it is less than this part of the catalogue."""
REMEMBERED = 256
MOST_PREPARED = 32
SAMPLED = 2048
"""Values that are looked at for the width of buckets."""


class Rows(NamedTuple):
    """int32 rows that are counted: those that are their product alone, and variants, product by product."""

    alone: Array
    variants: Array


class FacetCounter:
    """Counts one catalogue's facets.

    wanted  fields that were counted over the whole catalogue before it changed, and so will be again
    """

    def __init__(self, fields: Fields, wanted: Sequence[str] = ()) -> None:
        self._fields, self._wanted = fields, wanted
        self._of_all: dict[tuple[Filter | None, str], Mapping[str, Any]] = {}
        self._size_of_all: dict[Filter | None, tuple[int, int]] = {}

    def count(self, filter: Filter | None, match: Array | None, names: Sequence[str]) -> Tally:
        """Rows and products of a match set under a filter, and each field's
        ``{"kind": "values", "values": [...]}`` or ``{"kind": "range", "low", "high", "unit", "buckets"}``.

        ``match`` is bool[I], or None for every row.  Raises SettingError for a field that no item has.
        """
        if match is not None:
            return self._counted(filter, match, names)
        # The facets of a whole catalogue or department page are its dearest, and asked for again and again.
        size = self._size_of_all.get(filter)
        known = {name: facet for name in names if (facet := self._of_all.get((filter, name))) is not None}
        missing = [name for name in names if name not in known]
        if missing or size is None:
            new = self._counted(filter, None, missing)
            size, known = (new.rows, new.groups), {**known, **new.facets}
            if len(self._of_all) >= REMEMBERED:
                self._of_all.clear()
                self._size_of_all.clear()
            self._of_all |= {(filter, name): facet for name, facet in new.facets.items()}
            self._size_of_all[filter] = size
        return Tally(*size, {name: known[name] for name in names})

    def followed(self, fields: Fields) -> FacetCounter:
        """The same over a catalogue that changed."""
        asked = dict.fromkeys([*(name for filter, name in list(self._of_all) if filter is None), *self._wanted])
        return FacetCounter(fields, list(asked)[:MOST_PREPARED])

    def prepare(self) -> None:
        """Count over the whole catalogue what was counted over it before it changed, so that no request has to."""
        # A field is gone with the last item that had it.
        with suppress(SettingError):
            self.count(None, None, self._wanted)

    def values_like(
        self, filter: Filter | None, match: Array | None, name: str, texts: Sequence[str]
    ) -> Mapping[str, Any]:
        """A facet of values, kept to those with a word that begins as one of the texts does, in any case.

        Raises SettingError for a field that no item has.
        """
        self._fields.check(name)
        labels = self._fields.codes(name)[1]
        wanted = np.array([_begins(label, texts) for label in labels], bool)
        count_V = self._count(name, self._rows(without(filter, name), match))
        return _shown(labels, np.where(wanted, count_V, 0))

    def _counted(self, filter: Filter | None, match: Array | None, names: Sequence[str]) -> Tally:
        chosen = self._rows(filter, match)
        size = len(chosen.alone) + len(chosen.variants)
        groups = len(chosen.alone) + int(kernels.count_groups(chosen.variants, self._fields.groups.number))
        rows = {filter: chosen}
        facets = {}
        for name in names:
            others = without(filter, name)
            if others not in rows:
                rows[others] = self._rows(others, match)
            numeric = self._fields.is_numeric(name)
            facets[name] = self._ranges(name, rows[others]) if numeric else self._values(name, rows[others], filter)
        return Tally(size, groups, facets)

    def _rows(self, filter: Filter | None, match: Array | None) -> Rows:
        """The rows of a match set that a filter leaves."""
        allowed, groups = self._fields.bitmap(filter), self._fields.groups
        if match is None or FEW * np.count_nonzero(match) > len(match):
            mask = allowed if match is None else allowed & match
            return Rows(
                frozen(rows_where(mask & groups.alone)), frozen(kernels.those_in(groups.variants, frozen(mask)))
            )
        # Few rows are put by product more quickly than they are picked out of all that are.
        rows = rows_where(match, allowed)
        alone = groups.alone[rows]
        variants = rows[~alone]
        return Rows(frozen(rows[alone]), frozen(variants[np.argsort(groups.number[variants], kind="stable")]))

    def _count(self, name: str, rows: Rows) -> Array:
        """int64[V]: products that have each label."""
        codes, labels = self._fields.codes(name)
        single, group_I = self._fields.single(name), self._fields.groups.number
        if single is not None:
            count_V: Array = kernels.count_single(*rows, group_I, single, len(labels))
        else:
            where = (frozen(codes.values), frozen(codes.splits))
            count_V = kernels.count_several(*rows, group_I, *where, len(labels))
        return count_V

    def _values(self, name: str, rows: Rows, filter: Filter | None) -> dict[str, Any]:
        labels, count_V = self._fields.codes(name)[1], self._count(name, rows)
        return _shown(labels, count_V, self._fields.codes_of(name, selected(filter, name)))

    def _ranges(self, name: str, rows: Rows) -> dict[str, Any]:
        column, unit = frozen(self._fields.number(name)), self._fields.items.unit(name)
        low, high, whole = kernels.extent(rows.alone, column, np.inf, -np.inf)
        low, high, also = kernels.extent(rows.variants, column, low, high)
        if low > high:
            return {"kind": "range", "low": None, "high": None, "unit": unit, "buckets": []}
        edges = bucket_edges(low, high, _sample(rows, column), whole and also)
        ends = (np.array([stored(name, edge[n]) for edge in edges]) for n in (0, 1))
        count_B = kernels.count_ranges(*rows, self._fields.groups.number, column, *map(frozen, ends))
        buckets = [{"low": a, "high": b, "count": int(n)} for (a, b), n in zip(edges, count_B, strict=True)]
        return {"kind": "range", "low": low, "high": high, "unit": unit, "buckets": buckets}


def _sample(rows: Rows, column: Array) -> Array:
    """At most SAMPLED values of the rows, evenly picked."""
    step = max(1, (len(rows.alone) + len(rows.variants)) // SAMPLED)
    some = column[np.concatenate([rows.alone[::step], rows.variants[::step]])]
    if np.isnan(some).all():  # hardly any row has a value
        some = column[np.concatenate(rows)]
    known: Array = some[~np.isnan(some)]
    return known


def selected(filter: Filter | None, field: str) -> tuple[object, ...]:
    """Values of the field that the filter selects at its top level."""
    return tuple(v for part in conjuncts(filter) if isinstance(part, In) and part.field == field for v in part.values)


def round_buckets(value: Array) -> list[tuple[float, float]]:
    """``bucket_edges`` of these values, all of them looked at."""
    whole = bool(np.all(value == np.floor(value)))
    return bucket_edges(float(value.min()), float(value.max()), value, whole)


def bucket_edges(least: float, most: float, some: Array, whole: bool) -> list[tuple[float, float]]:
    """Some 5 to 8 (low, high) at round numbers that cover least to most, both ends included as in a ``Range``.

    ``whole`` numbers end one below the next bucket (1000 to 1999).  The step follows the 2nd to 98th percentile of
    ``some`` of the values, so that one outlier does not put all products into one bucket; the outer buckets take the tails.
    """
    low, high = (float(v) for v in np.percentile(some, [2, 98]))
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


def _shown(labels: Sequence[str], count_V: Array, always: Sequence[int] = ()) -> dict[str, Any]:
    """The values with most products, by count and then by label, and those that are chosen."""
    some = np.flatnonzero(count_V)
    # One number for both, so that few of many labels are picked quickly.
    key = some - count_V[some] * len(labels)
    best = np.argpartition(key, MOST_VALUES)[:MOST_VALUES] if len(some) > MOST_VALUES else np.arange(len(some))
    shown = some[best[np.argsort(key[best])]].tolist()
    shown += [v for v in always if v not in shown]
    counts = zip(shown, count_V[shown].tolist(), strict=True)
    return {"kind": "values", "values": [{"value": labels[v], "count": count} for v, count in counts]}


def _begins(label: str, texts: Sequence[str]) -> bool:
    words = f" {unfolded(label)}"
    return any(f" {text}" in words for text in texts)
