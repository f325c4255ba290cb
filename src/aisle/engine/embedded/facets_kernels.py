"""Compiled loops of facets: products, not variants, counted by value and by range.

Rows come with the variants of a product one after the other, so that a product is counted once by remembering which one
was counted last.

Legend: I items, N chosen rows, V labels, B buckets, G groups (products).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded.compiled import compiled

LANES = 4
"""Neighbouring rows count in different places: an addition to the same place waits for the one before."""


@compiled
def by_group(row_N: Array, group_I: Array, num_groups: int) -> Array:
    """int32[N]: the rows by group, in their order within a group."""
    start_G = np.zeros(num_groups + 1, np.int64)
    for n in range(len(row_N)):
        start_G[group_I[row_N[n]] + 1] += 1
    for g in range(num_groups):
        start_G[g + 1] += start_G[g]
    out = np.empty(len(row_N), np.int32)
    for n in range(len(row_N)):
        group = group_I[row_N[n]]
        out[start_G[group]] = row_N[n]
        start_G[group] += 1
    return out


@compiled
def those_in(row_N: Array, rows_I: Array) -> Array:
    """int32: the rows of which ``rows_I`` (bool[I]) is true, in their order."""
    out = np.empty(len(row_N) + 1, np.int32)
    used: Any = 0
    for n in range(len(row_N)):
        # Written whether it counts or not: processors cannot foresee such a branch.
        out[used] = row_N[n]
        used += np.int64(rows_I[row_N[n]])
    return out[:used]


@compiled
def count_groups(variant_N: Array, group_I: Array) -> int:
    """Products among rows that come product by product."""
    count, last = 0, -1
    for n in range(len(variant_N)):
        count += group_I[variant_N[n]] != last
        last = group_I[variant_N[n]]
    return count


@compiled
def count_single(alone_N: Array, variant_N: Array, group_I: Array, code_I: Array, num_labels: int) -> Array:
    """int64[V]: products that have each label, of a field with one label a row (-1: none)."""
    last_V, count_LV = np.full(num_labels, -1, np.int32), np.zeros((LANES, num_labels + 1), np.int64)
    for n in range(len(alone_N)):
        # Rows without a label are counted too, in a place that nobody reads.
        count_LV[n % LANES, code_I[alone_N[n]]] += 1
    for n in range(len(variant_N)):
        code, group = code_I[variant_N[n]], group_I[variant_N[n]]
        if code >= 0 and last_V[code] != group:
            last_V[code] = group
            count_LV[0, code] += 1
    count_V: Array = count_LV.sum(0)[:num_labels]
    return count_V


@compiled
def count_several(
    alone_N: Array, variant_N: Array, group_I: Array, values: Array, splits: Array, num_labels: int
) -> Array:
    """int64[V]: products that have each label, of a field with any number of labels a row."""
    last_V, count_LV = np.full(num_labels, -1, np.int32), np.zeros((LANES, num_labels), np.int64)
    for n in range(len(alone_N)):
        for p in range(splits[alone_N[n]], splits[alone_N[n] + 1]):
            count_LV[n % LANES, values[p]] += 1
    for n in range(len(variant_N)):
        group = group_I[variant_N[n]]
        for p in range(splits[variant_N[n]], splits[variant_N[n] + 1]):
            code = values[p]
            if last_V[code] != group:
                last_V[code] = group
                count_LV[0, code] += 1
    count_V: Array = count_LV.sum(0)
    return count_V


@compiled
def count_ranges(
    alone_N: Array, variant_N: Array, group_I: Array, value_I: Array, low_B: Array, high_B: Array
) -> Array:
    """int64[B]: products with a value from low to high, both included; the ranges in ascending order."""
    last_B, count_B = np.full(len(low_B), -1, np.int32), np.zeros(len(low_B), np.int64)
    value_N = np.empty(len(alone_N))
    for n in range(len(alone_N)):
        value_N[n] = value_I[alone_N[n]]
    # Range by range without a branch, several rows an instruction.
    for b in range(len(low_B)):
        low, high = low_B[b], high_B[b]
        count: Any = 0
        for n in range(len(value_N)):
            count += np.int64((low <= value_N[n]) & (value_N[n] <= high))
        count_B[b] = count
    for n in range(len(variant_N)):
        value, group = value_I[variant_N[n]], group_I[variant_N[n]]
        for b in range(len(low_B)):
            if not low_B[b] <= value:
                break
            if value <= high_B[b] and last_B[b] != group:
                last_B[b] = group
                count_B[b] += 1
    return count_B


@compiled
def extent(row_N: Array, value_I: Array, low: float, high: float) -> tuple[float, float, bool]:
    """Smallest and largest value of the rows, from ``low`` and ``high`` on, and whether all are whole; NaN is left out."""
    whole = True
    for n in range(len(row_N)):
        value = value_I[row_N[n]]
        # No comparison with NaN holds.
        low = value if value < low else low
        high = value if value > high else high
        whole &= (value == np.floor(value)) | (value != value)
    return low, high, whole
