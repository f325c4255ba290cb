"""Compiled loops over rows: fill new ones, pool the vectors of a batch, and sum its gradients by row.

Rows stand in one flat float32 array: the record of row r, its vector first, begins at ``data[r * record]``;
``bf16[2 * r * record + d]`` is number d of a bfloat16 one.

Batches are worked on feature by feature: the rows of one feature fit into a core's own cache, those of all do not.

Legend: B samples, F features of the table, P ids in all, U distinct rows, D width of a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from aisle.sparse.recis.lanes import WIDE, add_row, compiled, copy_row, number_at, prefetch
from aisle.sparse.recis.map_kernels import mixed

COLUMN, ADDRESS, FIRST, SIZE, CHILD, KIND, TILE_LEN, LEARNS, SPLITS, WEIGHT, FIELDS = range(11)
"""Columns of ``features`` int64[F, FIELDS]: where its vector goes in a sample's output; the address of its ids, where they
begin among the P, and their number; its logical table; how vectors are combined; ``tile_len``; whether it learns; where its
row boundaries begin in ``splits`` and its factors in ``weight`` (-1: one id a sample; no factors)."""
SUM, MEAN, TILE = range(3)
GOLDEN = 0x9E3779B97F4A7C15
AHEAD = 16
"""Samples whose gradients are asked for before they are added."""


@njit(inline="always")
def nearest(bits: Any) -> Any:
    """uint16: bfloat16 nearest to a float32 given as uint32."""
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@compiled
def begin_rows(
    key: Any, row: Any, data: Any, bf16: Any, is_bf16: Any, record: Any, dim: Any, std: Any, seed: Any
) -> None:
    """New rows: a vector that depends on key and seed only, and slots of 0.

    A number is the sum of four 16-bit ones, which is bell-shaped and ends at 3.46 standard deviations.
    """
    scratch = np.zeros(dim, np.float32)
    for n in range(len(key)):
        first = np.int64(row[n]) * record
        for at in range(first, first + record):
            data[at] = 0
        if std > 0:
            start = mixed(np.uint64(key[n]) + np.uint64(seed) * np.uint64(GOLDEN))
            if is_bf16:
                _bell(start, std, scratch, 0, dim)
                bits = scratch.view(np.uint32)
                for d in range(dim):
                    bf16[2 * first + d] = nearest(bits[d])
            else:
                _bell(start, std, data, first, dim)


@njit(inline="always")
def _bell(start: Any, std: Any, out: Any, at: Any, dim: Any) -> None:
    """out[at:at+D]: number d follows from ``start + d`` alone, so that the compiler takes eight at once."""
    for d in range(dim):
        bits = mixed(start + np.uint64(d))
        low, high = bits & np.uint64(0x0000FFFF0000FFFF), (bits >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
        pair = low + high
        total = np.int64(pair & np.uint64(0xFFFFFFFF)) + np.int64(pair >> np.uint64(32))
        out[at + d] = np.float32(total - 131070) * std


@compiled
def read_rows(row: Any, data: Any, bf16: Any, is_bf16: Any, record: Any, dim: Any, out: Any) -> None:
    """out float32[N * D]: the vector of each row, 0 for row -1."""
    bits = out.view(np.uint32)
    for n in range(len(row)):
        at = n * dim
        if row[n] < 0:
            out[at : at + dim] = 0
            continue
        first = np.int64(row[n]) * record
        if is_bf16:
            for d in range(dim):
                bits[at + d] = np.uint32(bf16[2 * first + d]) << np.uint32(16)
        else:
            copy_row(data, first, out, at, dim)


@njit(inline="always")
def is_single(feature: Any) -> Any:
    """One id a sample and no factor."""
    return feature[SPLITS] < 0 and feature[WEIGHT] < 0 and feature[KIND] != TILE


@compiled
def pool(
    features: Any, splits: Any, weight: Any, index: Any, row_U: Any, data: Any, record: Any, dim: Any,
    out: Any, out_width: Any, num_samples: Any,
) -> None:  # fmt: skip
    """out float32[B * out_width]: the combined vectors of each feature in its columns, 0 where there is none."""
    for f in range(len(features)):
        if is_single(features[f]):
            _pool_single(features[f], index, row_U, data, record, dim, out, out_width, num_samples)
        else:
            _pool_ragged(features[f], splits, weight, index, row_U, data, record, dim, out, out_width, num_samples)


@njit
def _pool_single(
    feature: Any, index: Any, row_U: Any, data: Any, record: Any, dim: Any, out: Any, out_width: Any, num_samples: Any
) -> None:
    first, at = feature[FIRST], feature[COLUMN]
    for b in range(num_samples):
        u = index[first + b]
        if u < 0:
            out[at : at + dim] = 0
        else:
            copy_row(data, np.int64(row_U[u]) * record, out, at, dim)
        at += out_width


@njit
def _pool_ragged(
    feature: Any, splits: Any, weight: Any, index: Any, row_U: Any, data: Any, record: Any, dim: Any,
    out: Any, out_width: Any, num_samples: Any,
) -> None:  # fmt: skip
    """Any number of ids a sample: their sum, their mean, or the first side by side."""
    for b in range(num_samples):
        low, high = _range(feature, b, splits)
        kind, at = feature[KIND], b * out_width + feature[COLUMN]
        weights, scale, size = feature[WEIGHT] - feature[FIRST], np.float32(1), dim
        if kind == MEAN:
            scale /= np.float32(max(high - low, 1))
        elif kind == TILE:
            size *= feature[TILE_LEN]
            high = min(high, low + feature[TILE_LEN])
        out[at : at + size] = 0
        for p in range(low, high):
            if index[p] >= 0:
                factor = scale if feature[WEIGHT] < 0 else scale * weight[weights + p]
                add_row(factor, data, np.int64(row_U[index[p]]) * record, out, at, dim)
            if kind == TILE:
                at += dim


@njit(inline="always")
def _range(feature: Any, b: Any, splits: Any) -> Any:
    """Where the ids of the feature in sample b stand among the P."""
    first, at = feature[FIRST], feature[SPLITS]
    if at < 0:
        return first + b, first + b + 1
    return first + splits[at + b], first + splits[at + b + 1]


@compiled
def reduce(
    features: Any, splits: Any, weight: Any, index: Any, grad: Any, grad_width: Any, dim: Any, scale: Any,
    value: Any, met: Any, num_samples: Any,
) -> None:  # fmt: skip
    """value float32[U * D]: the sum of the gradients of each row's occurrences, times ``scale``; met int32[U]: their number
    (where met is not empty).  Features that do not learn add nothing."""
    value[:] = 0
    met[:] = 0
    for f in range(len(features)):
        if features[f, LEARNS] == 0:
            continue
        if is_single(features[f]):
            _reduce_single(features[f], index, grad, grad_width, dim, scale, value, met, num_samples)
        else:
            _reduce_ragged(features[f], splits, weight, index, grad, grad_width, dim, scale, value, met, num_samples)


@njit
def _reduce_single(
    feature: Any, index: Any, grad: Any, grad_width: Any, dim: Any, scale: Any, value: Any, met: Any, num_samples: Any
) -> None:
    first, at = feature[FIRST], feature[COLUMN]
    for b in range(num_samples):
        if b + AHEAD < num_samples:
            for d in range(0, dim, WIDE):
                prefetch(grad, at + AHEAD * grad_width + d)
        u = np.int64(index[first + b])
        if u >= 0:
            if len(met):
                met[u] += 1
            add_row(scale, grad, at, value, u * dim, dim)
        at += grad_width


@njit
def _reduce_ragged(
    feature: Any, splits: Any, weight: Any, index: Any, grad: Any, grad_width: Any, dim: Any, scale: Any,
    value: Any, met: Any, num_samples: Any,
) -> None:  # fmt: skip
    for b in range(num_samples):
        low, high = _range(feature, b, splits)
        kind, at = feature[KIND], b * grad_width + feature[COLUMN]
        weights, part = feature[WEIGHT] - feature[FIRST], scale
        if kind == MEAN:
            part /= np.float32(max(high - low, 1))
        elif kind == TILE:
            high = min(high, low + feature[TILE_LEN])
        for p in range(low, high):
            u = np.int64(index[p])
            if u >= 0:
                if len(met):
                    met[u] += 1
                add_row(part if feature[WEIGHT] < 0 else part * weight[weights + p], grad, at, value, u * dim, dim)
            if kind == TILE:
                at += dim


@compiled
def add_rows(index: Any, source: Any, dim: Any, value: Any) -> None:
    """value[index[n]] += source[n], both float32[... * D]: gradients that arrived more than once, merged by row; index -1 is
    left out."""
    for n in range(len(index)):
        if index[n] >= 0:
            add_row(np.float32(1), source, n * dim, value, np.int64(index[n]) * dim, dim)


@compiled
def encode(features: Any, id_bits: Any, key: Any) -> None:
    """Keys of the ids at their addresses: the low ``id_bits`` bits of the id, the number of its logical table above them."""
    mask = (np.int64(1) << id_bits) - 1
    for f in range(len(features)):
        address, first, child = features[f, ADDRESS], features[f, FIRST], features[f, CHILD] << id_bits
        for n in range(features[f, SIZE]):
            key[first + n] = (number_at(address, n) & mask) | child


@compiled
def stamp(row_U: Any, words: Any, record: Any, place: Any, step: Any) -> None:
    """Write the step of last access into word ``place`` of each row's record."""
    for u in range(len(row_U)):
        words[np.int64(row_U[u]) * record + place] = step
