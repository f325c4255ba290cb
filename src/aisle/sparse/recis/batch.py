"""Batch: the ids of one physical table's features, joined into one call.

Legend: B samples, F features of the table, P ids in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.core.tables import Embedding, Ids
from aisle.sparse.recis.layout import Physical, encode
from aisle.sparse.recis.row_kernels import COLUMN, FIELDS, FIRST, KIND, MEAN, SPLITS, SUM, TILE, TILE_LEN, WEIGHT

KINDS = {"sum": SUM, "mean": MEAN, "tile": TILE}
NO_FLOAT, NO_INT = np.zeros(0, np.float32), np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """
    key           int64[P]          keys of all features, one feature after the other
    num_admitted  how many of them, from the front, may enter the table
    features      int64[F, FIELDS]  see row_kernels
    splits        int64             row boundaries of the features that have any
    weight        float32           factors of the features that have any
    trainable     bool[F]           which features learn
    """

    key: Array
    num_admitted: int
    features: Array
    splits: Array
    weight: Array
    trainable: Array

    @property
    def single(self) -> Array:
        """bool[F]: features with one id a sample and no factor, whose loops are short."""
        f = self.features
        return (f[:, SPLITS] < 0) & (f[:, WEIGHT] < 0) & (f[:, KIND] != TILE)


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
    if not isinstance(array, np.ndarray):
        array = array.detach().cpu().numpy()  # type: ignore[attr-defined]
    return np.ascontiguousarray(array, dtype)


def rising(name: str, splits: Array) -> Array:
    """Row boundaries, checked, because compiled loops follow them blindly.  Raises ContractError."""
    if splits[0] != 0 or (splits[1:] < splits[:-1]).any():
        raise ContractError(f"the splits of {name!r} begin at {splits[0]} or fall; they begin at 0 and never fall")
    return splits


def joined(
    table: Physical,
    embeddings: Mapping[str, Embedding],
    columns: Mapping[str, tuple[int, int]],
    ids: Mapping[str, Ids],
    num_samples: int,
) -> Batch:
    """The batch of one physical table.  Raises ContractError when features disagree about the number of samples."""
    sizes = [len(ids[f].id) for f in table.features]
    key = np.empty(sum(sizes), np.int64)
    features = np.full((len(sizes), FIELDS), -1, np.int64)
    splits, weight, at, num_admitted = [NO_INT], [NO_FLOAT], 0, 0
    num_splits = num_weights = 0
    for f, ((name, child), size) in enumerate(zip(table.features.items(), sizes, strict=True)):
        column, e = ids[name], embeddings[name]
        if len(column) != num_samples:
            raise ContractError(f"feature {name!r} has {len(column)} samples, others have {num_samples}")
        encode(numpy_of(column.id, np.int64), child, key[at : at + size])
        features[f, [COLUMN, FIRST, KIND, TILE_LEN]] = columns[name][0], at, KINDS[e.combiner], e.tile_len
        if column.splits is not None:
            features[f, SPLITS] = num_splits
            splits.append(rising(name, numpy_of(column.splits, np.int64)))
            num_splits += len(splits[-1])
        if column.weight is not None:
            features[f, WEIGHT] = num_weights
            weight.append(numpy_of(column.weight, np.float32))
            num_weights += len(weight[-1])
        at += size
        if e.admit == "all":
            num_admitted = at
    trainable = np.array([embeddings[f].trainable for f in table.features], bool)
    return Batch(key, num_admitted, features, np.concatenate(splits), np.concatenate(weight), trainable)
