"""The forward pass of one table as one compiled loop: keys to rows, first values, pooled vectors, feature by feature.

What a feature's keys bring into the core's cache is still there when its vectors are read; called one after another over the
whole batch, the three loops met each other's data in memory again.

Legend: B samples, F features of the table, P keys of a batch, U distinct rows, D width of a vector.
"""

from __future__ import annotations

from typing import Any

from aisle.sparse.recis.lanes import compiled
from aisle.sparse.recis.map_kernels import NUM_NEW, find_or_add
from aisle.sparse.recis.row_kernels import FIRST, SIZE, begin_rows, encode, pool


@compiled
def look_up(
    features: Any, splits: Any, weight: Any, id_bits: Any, key: Any, num_admitted: Any, times: Any,
    entry: Any, payload: Any, mask: Any, count: Any, free: Any,
    index: Any, row_U: Any, slot_U: Any, new_key: Any, new_row: Any,
    data: Any, bf16: Any, is_bf16: Any, record: Any, dim: Any, std: Any, seed: Any,
    out: Any, out_width: Any, num_samples: Any,
) -> None:  # fmt: skip
    """``encode``, ``find_or_add`` (every key counts once), ``begin_rows`` and ``pool`` of float32 vectors."""
    for f in range(len(features)):
        first, begun = features[f, FIRST], count[NUM_NEW]
        last = first + features[f, SIZE]
        encode(features[f : f + 1], id_bits, key)
        find_or_add(
            key[first:last], num_admitted - first, times, 1, entry, payload, mask, count, free,
            index[first:last], row_U, slot_U, new_key, new_row, data, record,
        )  # fmt: skip
        new = slice(begun, count[NUM_NEW])
        begin_rows(new_key[new], new_row[new], data, bf16, is_bf16, record, dim, std, seed)
        pool(features[f : f + 1], splits, weight, index, row_U, data, record, dim, out, out_width, num_samples)
