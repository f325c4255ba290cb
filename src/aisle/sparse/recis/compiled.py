"""Feature chains, run in step: equal beginnings once, and each kind of operation as one call over all chains that are at it.

Legend: B samples, P values in all, S parts that one fused call works on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisle.core.errors import ContractError, SettingError, UnknownName, nearest
from aisle.core.lists import Array
from aisle.core.tables import Ids
from aisle.sparse.recis import feature_kernels as kernels
from aisle.sparse.recis.features import (
    MULTIPLIERS,
    Bucketize,
    FeatureCross,
    Hash,
    IDMultiHash,
    Mod,
    Op,
    SelectField,
    SequenceTruncate,
)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """
    value   int64[P] ids, float64[P] numbers, or a pyarrow string array of P texts
    splits  int64[B+1], or None when every sample has one
    weight  float32[P] or None
    """

    value: Any
    splits: Array | None = None
    weight: Array | None = None

    def as_ids(self, name: str) -> Ids:
        if not isinstance(self.value, np.ndarray) or self.value.dtype != np.int64:
            raise ContractError(f"feature {name!r} ends as text or fractions; end its chain with Hash or Bucketize")
        return Ids(self.value, self.splits, self.weight)

    def dense(self, name: str) -> Array:
        """float32[B, k]: k is the longest sample; shorter ones end with 0."""
        if not isinstance(self.value, np.ndarray):
            raise ContractError(f"feature {name!r} ends as text and has no embedding; hash it and give it one")
        value = self.value.astype(np.float32)
        if self.splits is None:
            return value[:, None]
        count = np.diff(self.splits)
        out = np.zeros((len(count), count.max(initial=0)), np.float32)
        out[np.arange(out.shape[1]) < count[:, None]] = value
        return out


class FeatureEngine:
    """Chains compiled: ``engine(columns)`` gives each feature's ``Ids``.

    steps  for every position in the chains, operation type -> [(what is made, from what, operation)]
    """

    def __init__(self, chains: Mapping[str, Sequence[Op]]) -> None:
        self.steps: list[dict[type, list[tuple[str, str, Any]]]] = []
        self.outputs: dict[str, str] = {}
        made: set[str] = set()
        for name, chain in chains.items():
            _check(name, chain)
            key = ""
            for position, op in enumerate(chain):
                before, key = key, key + repr(op)
                if key not in made:
                    made.add(key)
                    if position == len(self.steps):
                        self.steps.append(defaultdict(list))
                    self.steps[position][type(op)].append((key, before, op))
            last = chain[-1]
            if isinstance(last, IDMultiHash):
                self.outputs |= {f"{name}_{i}": f"{key}#{i}" for i in range(len(last.num_buckets))}
            else:
                self.outputs[name] = key

    @property
    def num_operations(self) -> int:
        """Operations left after equal beginnings were joined."""
        return sum(len(part) for step in self.steps for part in step.values())

    def __call__(self, columns: Mapping[str, Any], *, fused: bool = True) -> dict[str, Column]:
        """Feature -> its column.  ``fused`` False runs operation by operation, with the same result.

        Raises UnknownName for a column that is not there, ContractError for one of the wrong type.
        """
        value: dict[str, Column] = {}
        for step in self.steps:
            for kind, parts in step.items():
                groups = [parts] if fused else [[part] for part in parts]
                for group in groups:
                    ops, given = [op for _, _, op in group], [value.get(before) for _, before, _ in group]
                    for (key, _, _), made in zip(group, RUN[kind](ops, given, columns), strict=True):
                        if isinstance(made, list):
                            value |= {f"{key}#{i}": column for i, column in enumerate(made)}
                        else:
                            value[key] = made
        return {name: value[key] for name, key in self.outputs.items()}


def _check(name: str, chain: Sequence[Op]) -> None:
    if not chain or not isinstance(chain[0], SelectField):
        raise SettingError(f"the chain of feature {name!r} begins with {chain[:1]}; begin with SelectField")
    if any(isinstance(op, SelectField) for op in chain[1:]):
        raise SettingError(f"the chain of feature {name!r} selects twice; select once, then cross with FeatureCross")
    if any(isinstance(op, IDMultiHash) for op in chain[:-1]):
        raise SettingError(f"IDMultiHash stands inside the chain of feature {name!r}; it ends a chain")


def column_of(columns: Mapping[str, Any], field: str) -> Column:
    """A raw column as values with row boundaries: an array, a tensor, ``Ids``, a pyarrow array, or a list of either."""
    import pyarrow as pa

    if field not in columns:
        raise UnknownName(f"the batch has no column {field!r}{nearest(field, columns)}")
    raw = columns[field]
    if isinstance(raw, Ids):
        splits = None if raw.splits is None else np.asarray(raw.splits, np.int64)
        return Column(np.asarray(raw.id, np.int64), splits, None if raw.weight is None else np.asarray(raw.weight))
    if isinstance(raw, pa.ChunkedArray):
        raw = raw.combine_chunks()
    if isinstance(raw, list | tuple) or (isinstance(raw, np.ndarray) and raw.dtype.kind in "OU"):
        raw = pa.array(raw)
    if not isinstance(raw, pa.Array):
        return Column(_numbers(np.asarray(raw)))
    splits = None
    if pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type):
        offsets = raw.offsets.to_numpy().astype(np.int64)
        raw, splits = raw.values.slice(offsets[0], offsets[-1] - offsets[0]), offsets - offsets[0]
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type):
        return Column(raw.fill_null("").cast(pa.large_string()), splits)
    return Column(_numbers(raw.to_numpy(zero_copy_only=False)), splits)


def _numbers(array: Array) -> Array:
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        return array.view(np.int64)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64, copy=False)


def _select(ops: list[SelectField], given: list[Any], columns: Mapping[str, Any]) -> list[Column]:
    return [column_of(columns, op.field) for op in ops]


def _elementwise(
    ops: list[Any], given: list[Column], call: Callable[[Array, Array], Array], dtype: type
) -> list[Column]:
    """One call over the values of all parts, laid end to end; ``starts`` int64[S+1] says where each begins."""
    starts = np.zeros(len(given) + 1, np.int64)
    np.cumsum([len(c.value) for c in given], out=starts[1:])
    joined = np.concatenate([np.asarray(c.value, dtype) for c in given])
    out = call(joined, starts)
    return [replace(c, value=out[a:b]) for c, a, b in zip(given, starts[:-1], starts[1:], strict=True)]


def _hash(ops: list[Hash], given: list[Column], columns: Mapping[str, Any]) -> list[Column]:
    return [replace(c, value=hashed(c.value, op.seed)) for op, c in zip(ops, given, strict=True)]


def hashed(value: Any, seed: int) -> Array:
    """int64[P]: 52-bit ids of texts (a large_string array) or whole numbers."""
    if isinstance(value, np.ndarray):
        if value.dtype != np.int64:
            raise ContractError("fractions cannot be hashed; use Bucketize")
        return kernels.hash_numbers(value, np.uint64(seed))
    _, offsets, text = value.buffers()
    ends = np.frombuffer(offsets, np.int64)[value.offset : value.offset + len(value) + 1]
    letters = np.frombuffer(text, np.uint8) if text is not None and text.size else np.zeros(1, np.uint8)
    return kernels.hash_texts(letters, ends, np.uint64(seed))


def _mod(ops: list[Mod], given: list[Column], columns: Mapping[str, Any]) -> list[Column]:
    divisor = np.array([op.divisor for op in ops], np.uint64)
    return _elementwise(ops, given, lambda value, starts: kernels.mod(value, starts, divisor), np.int64)


def _bucketize(ops: list[Bucketize], given: list[Column], columns: Mapping[str, Any]) -> list[Column]:
    edge = np.concatenate([np.array(op.boundaries) for op in ops])
    edges = np.cumsum([0, *(len(op.boundaries) for op in ops)])
    return _elementwise(ops, given, lambda value, starts: kernels.bucketize(value, starts, edge, edges), np.float64)


def _multi_hash(ops: list[IDMultiHash], given: list[Column], columns: Mapping[str, Any]) -> list[list[Column]]:
    repeated = [c for op, c in zip(ops, given, strict=True) for _ in op.num_buckets]
    rule = np.array(
        [(m, p, n) for op in ops for m, p, n in zip(MULTIPLIERS, op.primes, op.num_buckets, strict=False)], np.int64
    )
    flat = _elementwise(ops, repeated, lambda value, starts: kernels.multi_hash(value, starts, rule), np.int64)
    out, at = [], 0
    for op in ops:
        out.append(flat[at : at + len(op.num_buckets)])
        at += len(op.num_buckets)
    return out


def _cross(ops: list[FeatureCross], given: list[Column], columns: Mapping[str, Any]) -> list[Column]:
    out = []
    for op, left in zip(ops, given, strict=True):
        right = column_of(columns, op.field)
        pair = [c if _is_ids(c) else replace(c, value=hashed(c.value, 0)) for c in (left, right)]
        splits = [np.arange(len(c.value) + 1) if c.splits is None else c.splits for c in pair]
        if len(splits[0]) != len(splits[1]):
            raise ContractError(
                f"a cross with {op.field!r} has {len(splits[0]) - 1} samples beside {len(splits[1]) - 1}"
            )
        weights = [np.ones(len(c.value), np.float32) if c.weight is None else c.weight for c in pair]
        value, ends, weight = kernels.cross(pair[0].value, splits[0], weights[0], pair[1].value, splits[1], weights[1])
        one = pair[0].splits is None and pair[1].splits is None
        plain = pair[0].weight is None and pair[1].weight is None
        out.append(Column(value, None if one else ends, None if plain else weight))
    return out


def _is_ids(column: Column) -> bool:
    return isinstance(column.value, np.ndarray) and column.value.dtype == np.int64


def _truncate(ops: list[Any], given: list[Column], columns: Mapping[str, Any]) -> list[Column]:
    out = []
    for op, c in zip(ops, given, strict=True):
        if c.splits is None:
            out.append(c)
            continue
        count = np.diff(c.splits)
        kept = np.minimum(count, op.length)
        begin = c.splits[:-1] if op.keep == "first" else c.splits[1:] - kept
        splits = np.zeros(len(count) + 1, np.int64)
        np.cumsum(kept, out=splits[1:])
        source = np.arange(splits[-1]) + np.repeat(begin - splits[:-1], kept)
        value = c.value[source] if isinstance(c.value, np.ndarray) else c.value.take(source)
        out.append(Column(value, splits, None if c.weight is None else c.weight[source]))
    return out


RUN: dict[type, Callable[[list[Any], list[Any], Mapping[str, Any]], list[Any]]] = {
    SelectField: _select,
    Hash: _hash,
    Mod: _mod,
    Bucketize: _bucketize,
    IDMultiHash: _multi_hash,
    FeatureCross: _cross,
    SequenceTruncate: _truncate,
}
"""Operation type -> one call for all chains that are at it."""
