"""The ``attributes`` column taken apart: one flat row for every attribute of every item, grouped by name.

Legend: I items, A attributes of all items together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.lists import Array, splits_of


def flat_list(column: pa.ChunkedArray | pa.Array) -> tuple[Array, pa.Array]:
    """int64[I] lengths of a list column (0 where null), and all its values one after the other."""
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    values = pc.list_flatten(column)
    return counts, values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def join_lists(counts: Array, values: pa.Array, blank: str = " ") -> list[str]:
    """I strings: the values of each list joined, nulls left out."""
    if not len(values):
        return [""] * len(counts)
    words = values.to_pylist()
    return [blank.join(filter(None, words[a:b])) for a, b in pairwise(splits_of(counts).tolist())]


def number_text(numbers: pa.Array) -> pa.Array:
    """Numbers as people write them: 6 and not 6.0."""
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 1e15))
    integers = pc.if_else(pc.fill_null(whole, False), numbers, None)
    return pc.coalesce(pc.cast(pc.cast(integers, pa.int64()), pa.string()), pc.cast(numbers, pa.string()))


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """All attributes of I items.

    counts  int64[I]   attributes of each item
    owner   int32[A]   the item's place among the I
    name    int32[A]   index into ``names``
    text, number, unit   Arrow arrays of length A
    order   int64[A]   grouped by name, by item within a name; name n owns ``order[splits[n]:splits[n+1]]``
    """

    counts: Array
    owner: Array
    name: Array
    names: list[str]
    text: pa.Array
    number: pa.Array
    unit: pa.Array
    order: Array
    splits: Array

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array) -> Attributes:
        """Take a list<struct<name, text, number, unit>> column apart."""
        counts, values = flat_list(column)
        name, text, number, unit = values.flatten()
        encoded = pc.fill_null(name, "").dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        names = encoded.dictionary.to_pylist()
        splits = splits_of(np.bincount(codes, minlength=len(names)))
        owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return cls(counts, owner, codes, names, text, number, unit, np.argsort(codes, kind="stable"), splits)

    def places(self, name: str) -> Array:
        """int64: where the attributes of this name stand; empty when no item has it."""
        if name not in self.names:
            return np.zeros(0, np.int64)
        at = self.names.index(name)
        return self.order[self.splits[at] : self.splits[at + 1]]

    def values(self, places: Array | None = None) -> pa.Array:
        """The text of an attribute, or its number as text; null where it has neither."""
        if places is None:
            return pc.coalesce(_filled(self.text), number_text(self.number))
        at = pa.array(places, pa.int64())
        return pc.coalesce(_filled(self.text.take(at)), number_text(self.number.take(at)))

    def sentences(self) -> list[str]:
        """I strings: every attribute as 'name value unit', joined by blanks."""
        if not len(self.owner):
            return [""] * len(self.counts)
        # A name is an identifier; in running text it is words.
        name = pc.replace_substring(pa.array(self.names), "_", " ").take(pa.array(self.name))
        value = self.values()
        words = pc.binary_join_element_wise(name, value, _filled(self.unit), " ", null_handling="skip")
        return join_lists(self.counts, pc.if_else(pc.is_valid(value), words, None))


def _filled(text: pa.Array) -> pa.Array:
    """The empty string is no value."""
    return pc.if_else(pc.equal(text, ""), None, text)
