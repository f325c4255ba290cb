"""Compiled loops over rows: fill new ones, pool the vectors of a batch, and sum its gradients by row.

A table's rows are records in one flat float32 array: row r begins at ``r * width``, its vector first, then what the
optimiser keeps.  ``bf16[2 * r * width + d]`` is number d of a bfloat16 vector.

Legend: B samples, F features of the table, P ids in all, U distinct rows, D width of a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from aisle.sparse.recis.lanes import LANES, add8, compiled, copy8, prefetch
from aisle.sparse.recis.map_kernels import mixed

COLUMN, FIRST, KIND, TILE_LEN, SPLITS, WEIGHT, FIELDS = range(7)
"""Columns of ``features`` int64[F, FIELDS]: where its vector goes in a sample's output; where its ids begin among the P;
how they are combined; ``tile_len``; where its row boundaries begin in ``splits`` and its factors in ``weight`` (-1: one id a
sample; no factors)."""
SUM, MEAN, TILE = range(3)
GOLDEN = 0x9E3779B97F4A7C15


@njit(inline="always")
def nearest(bits: Any) -> Any:
    """uint16: bfloat16 nearest to a float32 given as uint32."""
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@compiled
def begin_rows(
    new_U: Any, slot_U: Any, entry: Any, row_U: Any, data: Any, bf16: Any, is_bf16: Any, width: Any, dim: Any,
    std: Any, seed: Any,
) -> None:  # fmt: skip
    """Records of new rows: a vector that depends on key and seed only, and zeros behind it.

    A number is the sum of four 16-bit ones, which is bell-shaped and ends at 3.46 standard deviations.
    """
    one = np.empty(1, np.float32)
    bits_of_one = one.view(np.uint32)
    for n in range(len(new_U)):
        u = new_U[n]
        first = np.int64(row_U[u]) * width
        data[first : first + width] = 0
        if std > 0:
            start = mixed(np.uint64(entry[2 * slot_U[u]]) + np.uint64(seed) * np.uint64(GOLDEN))
            for d in range(dim):
                bits = mixed(start + np.uint64(d))
                total = np.int64(bits & np.uint64(65535)) + np.int64((bits >> np.uint64(16)) & np.uint64(65535))
                total += np.int64((bits >> np.uint64(32)) & np.uint64(65535)) + np.int64(bits >> np.uint64(48))
                one[0] = np.float32(total - 131070) * std
                if is_bf16:
                    bf16[2 * first + d] = nearest(bits_of_one[0])
                else:
                    data[first + d] = one[0]


@compiled
def read_rows(row: Any, data: Any, bf16: Any, is_bf16: Any, width: Any, dim: Any, out: Any) -> None:
    """out float32[N * D]: the vector of each row, 0 for row -1."""
    bits = out.view(np.uint32)
    whole = dim - dim % LANES
    for n in range(len(row)):
        at = n * dim
        if row[n] < 0:
            out[at : at + dim] = 0
            continue
        first = np.int64(row[n]) * width
        if is_bf16:
            for d in range(dim):
                bits[at + d] = np.uint32(bf16[2 * first + d]) << np.uint32(16)
        else:
            for d in range(0, whole, LANES):
                copy8(data, first + d, out, at + d)
            for d in range(whole, dim):
                out[at + d] = data[first + d]


@compiled
def pool_single(
    features: Any, index: Any, row_U: Any, data: Any, width: Any, dim: Any, out: Any, out_width: Any, num_samples: Any
) -> None:
    """out float32[B * out_width]: the vectors of features with one id a sample, in their columns, 0 where there is none."""
    whole = dim - dim % LANES
    column, first = features[:, COLUMN].copy(), features[:, FIRST].copy()
    for b in range(num_samples):
        for f in range(len(column)):
            u, at = index[first[f] + b], b * out_width + column[f]
            if u < 0:
                out[at : at + dim] = 0
                continue
            begin = np.int64(row_U[u]) * width
            for d in range(0, whole, LANES):
                copy8(data, begin + d, out, at + d)
            for d in range(whole, dim):
                out[at + d] = data[begin + d]


@compiled
def pool_ragged(
    features: Any, splits: Any, weight: Any, index: Any, row_U: Any, data: Any, width: Any, dim: Any,
    out: Any, out_width: Any, num_samples: Any,
) -> None:  # fmt: skip
    """The same for features with any number of ids a sample: their sum, their mean, or the first side by side."""
    whole = dim - dim % LANES
    for f in range(len(features)):
        for b in range(num_samples):
            low, high = _range(features, f, b, splits)
            kind, at = features[f, KIND], b * out_width + features[f, COLUMN]
            weights, scale, size = features[f, WEIGHT] - features[f, FIRST], np.float32(1), dim
            if kind == MEAN:
                scale /= np.float32(max(high - low, 1))
            elif kind == TILE:
                size *= features[f, TILE_LEN]
                high = min(high, low + features[f, TILE_LEN])
            out[at : at + size] = 0
            for p in range(low, high):
                if index[p] >= 0:
                    factor = scale if features[f, WEIGHT] < 0 else scale * weight[weights + p]
                    begin = np.int64(row_U[index[p]]) * width
                    for d in range(0, whole, LANES):
                        add8(factor, data, begin + d, out, at + d)
                    for d in range(whole, dim):
                        out[at + d] += factor * data[begin + d]
                if kind == TILE:
                    at += dim


@njit(inline="always")
def _range(features: Any, f: Any, b: Any, splits: Any) -> Any:
    """Where the ids of feature f in sample b stand among the P."""
    first, at = features[f, FIRST], features[f, SPLITS]
    if at < 0:
        return first + b, first + b + 1
    return first + splits[at + b], first + splits[at + b + 1]


@compiled
def reduce_single(
    features: Any, index: Any, grad: Any, grad_width: Any, dim: Any, scale: Any, value: Any, met: Any, num_samples: Any
) -> None:
    """Adds to value float32[U * D] the gradients of each row's occurrences, times ``scale``, and to met int32[U] their number
    (where met is not empty); for features with one id a sample."""
    whole = dim - dim % LANES
    column, first = features[:, COLUMN].copy(), features[:, FIRST].copy()
    for b in range(num_samples):
        ahead = min(b + 4, num_samples - 1) * grad_width
        for f in range(len(column)):
            prefetch(grad, ahead + column[f])
            u, at = np.int64(index[first[f] + b]), b * grad_width + column[f]
            if u < 0:
                continue
            if len(met):
                met[u] += 1
            for d in range(0, whole, LANES):
                add8(scale, grad, at + d, value, u * dim + d)
            for d in range(whole, dim):
                value[u * dim + d] += scale * grad[at + d]


@compiled
def reduce_ragged(
    features: Any, splits: Any, weight: Any, index: Any, grad: Any, grad_width: Any, dim: Any, scale: Any,
    value: Any, met: Any, num_samples: Any,
) -> None:  # fmt: skip
    """The same for features with any number of ids a sample."""
    whole = dim - dim % LANES
    for f in range(len(features)):
        for b in range(num_samples):
            low, high = _range(features, f, b, splits)
            kind, at = features[f, KIND], b * grad_width + features[f, COLUMN]
            weights, part = features[f, WEIGHT] - features[f, FIRST], scale
            if kind == MEAN:
                part /= np.float32(max(high - low, 1))
            elif kind == TILE:
                high = min(high, low + features[f, TILE_LEN])
            for p in range(low, high):
                u = np.int64(index[p])
                if u >= 0:
                    factor = part if features[f, WEIGHT] < 0 else part * weight[weights + p]
                    if len(met):
                        met[u] += 1
                    for d in range(0, whole, LANES):
                        add8(factor, grad, at + d, value, u * dim + d)
                    for d in range(whole, dim):
                        value[u * dim + d] += factor * grad[at + d]
                if kind == TILE:
                    at += dim


@compiled
def add_rows(index: Any, source: Any, dim: Any, value: Any) -> None:
    """value[index[n]] += source[n], both float32[... * D]: gradients that arrived more than once, merged by row."""
    whole = dim - dim % LANES
    for n in range(len(index)):
        at = np.int64(index[n]) * dim
        for d in range(0, whole, LANES):
            add8(np.float32(1), source, n * dim + d, value, at + d)
        for d in range(whole, dim):
            value[at + d] += source[n * dim + d]


@compiled
def stamp(row_U: Any, words: Any, width: Any, place: Any, step: Any) -> None:
    """Write the step of last access into word ``place`` of each row's record."""
    for u in range(len(row_U)):
        words[np.int64(row_U[u]) * width + place] = step
