"""ItemLists: Q lists of items as flat columns.  Histories, candidate sets and pages are all this type.

Legend: Q lists, N rows in total, K cut-off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.core.errors import ContractError, GenerationError, UnknownName, nearest

Array = NDArray[Any]


def missing_value(dtype: np.dtype[Any]) -> Any:
    """What stands in a column for "no value": NaN for floats, -1 for signed integers, False and 0 otherwise."""
    if dtype.kind == "f":
        return dtype.type(np.nan)
    if dtype.kind == "i":
        return dtype.type(-1)
    return dtype.type(0)


def splits_of(counts: Array) -> Array:
    """int64[Q+1] row boundaries of lists with these lengths."""
    splits = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=splits[1:])
    return splits


def mask_of_size(mask: Array, size: int) -> Array:
    """bool[size]: the mask, cut, or longer by False; a catalogue may have grown between two looks at it."""
    if len(mask) >= size:
        return mask[:size]
    out = np.zeros(size, bool)
    out[: len(mask)] = mask
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows of unequal length: row i is ``values[splits[i]:splits[i+1]]``."""

    values: Array
    splits: Array

    def __len__(self) -> int:
        return len(self.splits) - 1

    def __getitem__(self, row: int) -> Array:
        return self.values[self.splits[row] : self.splits[row + 1]]

    @property
    def owner(self) -> Array:
        """int64[N]: the row each value belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.splits))

    def take(self, rows: Array) -> Ragged:
        """The given rows, in that order."""
        counts = np.diff(self.splits)[rows]
        splits = splits_of(counts)
        source = np.arange(splits[-1]) + np.repeat(self.splits[rows] - splits[:-1], counts)
        return Ragged(self.values[source], splits)


@dataclass(frozen=True, slots=True, eq=False)
class ItemLists:
    """Q lists, N rows in total; never changed in place.

    item        int32[N]    catalogue row of each entry
    splits      int64[Q+1]  list q owns rows ``splits[q]:splits[q+1]``
    columns     name -> numeric array[N, ...], row-aligned with ``item``
    generation  the catalogue generation whose row numbers these are; None when made by hand

    Raises ContractError when lengths disagree.
    """

    item: Array
    splits: Array
    columns: Mapping[str, Array] = field(default_factory=dict)
    generation: int | None = None

    def __post_init__(self) -> None:
        if self.item.dtype != np.int32:
            object.__setattr__(self, "item", self.item.astype(np.int32))
        if self.splits.dtype != np.int64:
            object.__setattr__(self, "splits", self.splits.astype(np.int64))
        if len(self.splits) == 0 or self.splits[0] != 0 or self.splits[-1] != len(self.item):
            raise ContractError(
                f"splits {self.splits[:1]}..{self.splits[-1:]} do not cover {len(self.item)} rows; "
                "they start at 0 and end at the number of rows"
            )
        self._check(self.columns)

    def _check(self, columns: Mapping[str, Array]) -> None:
        for name, column in columns.items():
            if len(column) != len(self.item):
                raise ContractError(f"column {name!r} has {len(column)} rows, the lists have {len(self.item)}")

    @classmethod
    def _of(cls, item: Array, splits: Array, columns: Mapping[str, Array], generation: int | None) -> ItemLists:
        """Made of parts that are known to fit: a page makes some twenty of these."""
        made = object.__new__(cls)
        for name, value in (("item", item), ("splits", splits), ("columns", columns), ("generation", generation)):
            object.__setattr__(made, name, value)
        return made

    def __len__(self) -> int:
        """Number of lists, Q."""
        return len(self.splits) - 1

    @classmethod
    def empty(cls, q: int, columns: Mapping[str, Array] | None = None, generation: int | None = None) -> ItemLists:
        """Q lists without a row; ``columns`` give names and dtypes."""
        none = {n: c[:0] for n, c in (columns or {}).items()}
        return cls(np.zeros(0, np.int32), np.zeros(q + 1, np.int64), none, generation)

    @property
    def counts(self) -> Array:
        """int64[Q]: rows of each list."""
        counts: Array = self.splits[1:] - self.splits[:-1]
        return counts

    @property
    def owner(self) -> Array:
        """int64[N]: which list each row belongs to."""
        if len(self.splits) == 2:  # one request, as a server mostly has it
            return np.zeros(len(self.item), np.int64)
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def position(self) -> Array:
        """int64[N]: place of each row in its own list, from 0."""
        if len(self.splits) == 2:
            return np.arange(len(self.item))
        place: Array = np.arange(len(self.item)) - np.repeat(self.splits[:-1], self.counts)
        return place

    @property
    def keys(self) -> Array:
        """int64[N]: list and item of each row in one number, to compare and join rows by."""
        key: Array = self.owner.astype(np.int64) << 32 | self.item.view(np.uint32)
        return key

    def find(self, other: ItemLists) -> Array:
        """int64[rows of other]: the row here of the same item in the same list, -1 where there is none."""
        if not len(self.item):
            return np.full(len(other.item), -1, np.int64)
        keys, wanted = self.keys, other.keys
        order = np.argsort(keys, kind="stable")
        place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
        return np.where(keys[order[place]] == wanted, order[place], -1)

    def __getitem__(self, name: str) -> Array:
        if name not in self.columns:
            raise UnknownName(f"no column {name!r}{nearest(name, self.columns)}")
        return self.columns[name]

    def with_columns(self, **columns: Array) -> ItemLists:
        self._check(columns)
        return ItemLists._of(self.item, self.splits, {**self.columns, **columns}, self.generation)

    def only(self, *names: str) -> ItemLists:
        """The same rows with just these columns."""
        return ItemLists._of(self.item, self.splits, {n: self[n] for n in names}, self.generation)

    def take(self, rows: Array) -> ItemLists:
        """The given rows (int or bool), which must already be grouped by list, in that order."""
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        columns = {n: c[rows] for n, c in self.columns.items()}
        if len(self) == 1:
            return ItemLists._of(self.item[rows], np.array([0, len(rows)]), columns, self.generation)
        counts = np.bincount(self.owner[rows], minlength=len(self))
        return ItemLists._of(self.item[rows], splits_of(counts), columns, self.generation)

    def top(self, k: int, by: str) -> ItemLists:
        """The k best rows of each list, best first; NaN last, ties go to the lower catalogue row."""
        return self.take(self.best(k, by))

    def best(self, k: int, by: str) -> Array:
        """int64: where the rows of ``top`` stand here."""
        score = self[by]
        key = np.where(np.isnan(score), np.inf, -score) if score.dtype.kind == "f" else -score.astype(np.int64)
        if len(self) > 1:
            order: Array = np.lexsort((self.item, key, self.owner))
            return order[self.position < k]
        if not 0 < 4 * k < len(key):
            whole: Array = np.lexsort((self.item, key))
            return whole[:k]
        # Few of many: only those up to the k-th key, ties included, are put in order.
        few = np.flatnonzero(key <= np.partition(key, k - 1)[k - 1])
        best: Array = few[np.lexsort((self.item[few], key[few]))[:k]]
        return best

    def list_of(self, q: int) -> ItemLists:
        """List q alone, as a batch of one."""
        return self.select(np.array([q]))

    def select(self, lists: Array) -> ItemLists:
        """The given lists, in that order."""
        counts = self.counts[lists]
        splits = splits_of(counts)
        rows = np.arange(splits[-1]) + np.repeat(self.splits[lists] - splits[:-1], counts)
        return ItemLists(self.item[rows], splits, {n: c[rows] for n, c in self.columns.items()}, self.generation)

    def first(self, q: int) -> ItemLists:
        """The first q lists; this very object when there are no more."""
        if q == len(self):
            return self
        stop = int(self.splits[q])
        columns = {n: c[:stop] for n, c in self.columns.items()}
        return ItemLists._of(self.item[:stop], self.splits[: q + 1], columns, self.generation)

    @staticmethod
    def union(parts: Sequence[ItemLists]) -> ItemLists:
        """Every item of every part once, in row order; a column holds its missing value where its part lacks the item.

        Raises GenerationError when the parts count rows of different generations, ContractError when they answer
        different numbers of requests.
        """
        generation = same_generation(parts)
        if len({len(p) for p in parts}) > 1:
            sizes = " and ".join(str(len(p)) for p in parts)
            raise ContractError(f"batches of {sizes} lists cannot be joined; give one list a request in each")
        unique, slot = _distinct(np.concatenate([p.keys for p in parts]))
        splits = np.searchsorted(unique, np.arange(len(parts[0]) + 1) << 32)
        columns: dict[str, Array] = {}
        at = 0
        for part in parts:
            here = slot[at : at + len(part.item)]
            at += len(part.item)
            for name, column in part.columns.items():
                if name not in columns:
                    columns[name] = np.full((len(unique), *column.shape[1:]), missing_value(column.dtype), column.dtype)
                columns[name][here] = column
        return ItemLists((unique & 0xFFFFFFFF).astype(np.uint32).view(np.int32), splits, columns, generation)

    @staticmethod
    def concat(parts: Sequence[ItemLists]) -> ItemLists:
        """Batches one after the other: Q1 + Q2 + ... lists.  All parts have the same columns."""
        generation = same_generation(parts)
        counts = np.concatenate([p.counts for p in parts])
        names = parts[0].columns.keys()
        columns = {n: np.concatenate([p[n] for p in parts]) for n in names}
        return ItemLists(np.concatenate([p.item for p in parts]), splits_of(counts), columns, generation)


def _distinct(key_N: Array) -> tuple[Array, Array]:
    """The distinct keys, ascending, and int64[N]: where each key stands among them.  Half of ``np.unique``'s time."""
    order = np.argsort(key_N)
    key_N = key_N[order]
    first = np.ones(len(key_N), bool)
    np.not_equal(key_N[1:], key_N[:-1], out=first[1:])
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(first) - 1
    return key_N[first], place


def same_generation(parts: Sequence[ItemLists]) -> int | None:
    """The generation that all tagged parts share.  Raises GenerationError when they differ."""
    tags = {p.generation for p in parts if p.generation is not None}
    if len(tags) > 1:
        raise GenerationError(
            f"lists of generations {sorted(tags)} cannot be joined: a row number names another item in each; "
            "fit or load the stages again on the current generation"
        )
    return tags.pop() if tags else None
