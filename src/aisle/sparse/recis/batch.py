"""Batch: the ids of one physical table's features, joined into one call.

Columns are not copied together: compiled loops read each where it stands, by its address, and make keys of its ids as they go.

Legend: B samples, F features of the table, P ids in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.core.tables import Embedding, Ids
from aisle.sparse.recis import row_kernels as kernels
from aisle.sparse.recis.layout import ID_BITS, Physical
from aisle.sparse.recis.row_kernels import (
    ADDRESS,
    CHILD,
    COLUMN,
    FIELDS,
    FIRST,
    KIND,
    LEARNS,
    MEAN,
    SIZE,
    SPLITS,
    SUM,
    TILE,
    TILE_LEN,
    WEIGHT,
)  # fmt: skip

KINDS = {"sum": SUM, "mean": MEAN, "tile": TILE}
NO_FLOAT, NO_INT = np.zeros(0, np.float32), np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """
    columns       the id columns, int64, kept alive while their addresses are in use
    key           int64[P]          room for the keys of all features, one feature after the other
    num_admitted  how many of them, from the front, may enter the table
    features      int64[F, FIELDS]  see row_kernels
    splits        int64             row boundaries of the features that have any
    weight        float32           factors of the features that have any
    """

    columns: list[Any]
    key: Array
    num_admitted: int
    features: Array
    splits: Array
    weight: Array

    def keys(self) -> Array:
        """int64[P], written."""
        kernels.encode(self.features, ID_BITS, self.key)
        return self.key


def columns_of(tables: list[Physical], embeddings: Mapping[str, Embedding]) -> dict[str, tuple[int, int]]:
    """Feature -> (first column, number of columns) in a sample's output: table by table."""
    at, out = 0, {}
    for table in tables:
        for feature in table.features:
            e = embeddings[feature]
            size = e.dim * (e.tile_len if e.combiner == "tile" else 1)
            out[feature] = (at, size)
            at += size
    return out


def as_ids(value: Ids | Array) -> Ids:
    """An id column as given: ``Ids``, or int64[B] or [B, k] (k ids a sample) as array or tensor."""
    if isinstance(value, Ids):
        return value
    if value.ndim == 2:
        num, k = value.shape
        if k == 1:
            return Ids(value.reshape(-1))
        return Ids(value.reshape(-1), np.arange(0, num * k + 1, k, dtype=np.int64))
    if value.ndim != 1:
        raise ContractError(f"an id column has {value.ndim} dimensions; give ids [B], [B, k] or Ids with splits")
    return Ids(value)


def numpy_of(array: object, dtype: type) -> Array:
    """A tensor or array as a numpy array of this type, without copying where it has it."""
    if isinstance(array, torch.Tensor):
        array = array.numpy(force=True)
    return np.asarray(array, dtype)


def placed(column: object) -> tuple[Any, int, int]:
    """(an id column as int64 without gaps, its address, its length), without copying where it is that already."""
    if isinstance(column, torch.Tensor):
        if column.dtype is torch.int64 and column.is_cpu and column.is_contiguous():
            return column, column.data_ptr(), column.numel()
        column = column.numpy(force=True)
    array = np.ascontiguousarray(column, np.int64)
    return array, array.__array_interface__["data"][0], len(array)


def rising(name: str, splits: Array) -> Array:
    """Row boundaries, checked, because compiled loops follow them blindly.  Raises ContractError."""
    if splits[0] != 0 or (splits[1:] < splits[:-1]).any():
        raise ContractError(f"the splits of {name!r} begin at {splits[0]} or fall; they begin at 0 and never fall")
    return splits


class Joined:
    """Makes the batches of one physical table; what does not change from batch to batch is worked out once."""

    def __init__(
        self, table: Physical, embeddings: Mapping[str, Embedding], columns: Mapping[str, tuple[int, int]]
    ) -> None:
        self.names = list(table.features)
        own = [embeddings[name] for name in self.names]
        self._features = np.full((len(own), FIELDS), -1, np.int64)
        self._features[:, COLUMN] = [columns[name][0] for name in self.names]
        self._features[:, CHILD] = list(table.features.values())
        self._features[:, KIND] = [KINDS[e.combiner] for e in own]
        self._features[:, TILE_LEN] = [e.tile_len for e in own]
        self._features[:, LEARNS] = [e.trainable for e in own]
        self._num_admitting = sum(e.admit == "all" for e in own)  # these stand first

    def __call__(self, ids: Mapping[str, Ids], num_samples: int) -> Batch:
        """Raises ContractError when features disagree about the number of samples."""
        own = [ids[name] for name in self.names]
        columns, addresses, sizes = zip(*[placed(column.id) for column in own], strict=True)
        features, size_F = self._features.copy(), np.array(sizes)
        ends = size_F.cumsum()
        features[:, ADDRESS], features[:, SIZE], features[:, FIRST] = addresses, size_F, ends - size_F
        splits, weight = NO_INT, NO_FLOAT
        if sizes.count(num_samples) < len(own) or any(c.splits is not None or c.weight is not None for c in own):
            splits, weight = self._ragged(own, features, num_samples)
        num_admitted = int(ends[self._num_admitting - 1]) if self._num_admitting else 0
        return Batch(list(columns), np.empty(ends[-1], np.int64), num_admitted, features, splits, weight)

    def _ragged(self, own: list[Ids], features: Array, num_samples: int) -> tuple[Array, Array]:
        """(row boundaries, factors) of the features that have any; where they stand is written to ``features``."""
        splits, weight, num_splits, num_weights = [NO_INT], [NO_FLOAT], 0, 0
        for f, (name, column) in enumerate(zip(self.names, own, strict=True)):
            if len(column) != num_samples:
                raise ContractError(f"feature {name!r} has {len(column)} samples, others have {num_samples}")
            if column.splits is not None:
                features[f, SPLITS] = num_splits
                splits.append(rising(name, numpy_of(column.splits, np.int64)))
                num_splits += len(splits[-1])
            if column.weight is not None:
                features[f, WEIGHT] = num_weights
                weight.append(numpy_of(column.weight, np.float32))
                num_weights += len(weight[-1])
        return np.concatenate(splits), np.concatenate(weight)
