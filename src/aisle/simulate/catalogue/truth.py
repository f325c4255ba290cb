"""Truth: what the items of a world really are, and what their sellers told of it.  Never a column of a shop.

Legend: I items, A places of attributes, N chosen rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from aisle.core.lists import Array


def bits(chosen: Array) -> Array:
    """uint8[I]: bit a of a number is column a of bool[I, A], as in ``Told``."""
    packed: Array = (chosen << np.arange(chosen.shape[1])).sum(axis=1).astype(np.uint8)
    return packed


@dataclass(frozen=True, eq=False)
class Told:
    """What the displayed text of an item holds.  Bit a of a number is the a-th attribute of the shelf.

    listed     uint8[I]  stands in the attribute list
    titled     uint8[I]  stands in the title
    described  uint8[I]  stands in the description
    misled     uint8[I]  the list holds another value than the true one
    mistitled  uint8[I]  the title (and description) would hold that other value too
    use        int8[I]   the description says what the item is for: 0 not, 1 in the shopper's word, 2 in other words
    """

    listed: Array
    titled: Array
    described: Array
    misled: Array
    mistitled: Array
    use: Array


@dataclass(frozen=True, eq=False)
class Truth:
    """
    leaf, brand, use  int16[I]   index into LEAVES, ``brands``, ``uses``
    tier              int8[I]    0 budget, 1 middle, 2 premium
    quality           float32[I] about normal
    price_cents       int64[I]
    texts, families   attribute name -> int16[I], index into TEXTS, -1 where an item has none
    numbers           attribute name -> float64[I], NaN where an item has none
    entry             int16[I, A] index into taxonomy's ENTRIES in the order of the shelf, -1 past its last attribute
    key               uint64[I]  of the product: what else is true of it is drawn from this
    group, member     int32[I], int8[I]   the product whose variant an item is, and which one
    merchant          int16[I]   index into ``merchants``
    look              int8[I]    index into LOOKS
    demand            float32[I] 1 or more: how often an item would be wanted; its tail follows a power law
    photo             float32[I] 0 to 1: how good its picture is: light, size, background
    created_s, leaves_s float64[I] unix seconds; later than the catalogue's now for coming items; inf where one stays
    german            bool[I]    the seller writes German
    told              what the displayed text holds
    """

    leaf: Array
    brand: Array
    use: Array
    tier: Array
    quality: Array
    price_cents: Array
    texts: Mapping[str, Array]
    families: Mapping[str, Array]
    numbers: Mapping[str, Array]
    entry: Array
    key: Array
    group: Array
    member: Array
    merchant: Array
    look: Array
    demand: Array
    photo: Array
    created_s: Array
    leaves_s: Array
    german: Array
    told: Told
    brands: tuple[str, ...]
    uses: tuple[str, ...]
    merchants: tuple[str, ...]

    def alive(self, time_s: float) -> Array:
        """bool[I]: on sale at a time: has come, has not gone."""
        alive: Array = (self.created_s <= time_s) & (time_s < self.leaves_s)
        return alive

    def take(self, rows: Array) -> Truth:
        """The truth of N rows, in that order."""
        return _mapped([self], lambda columns: columns[0][rows])

    @staticmethod
    def joined(parts: Sequence[Truth]) -> Truth:
        """The items of all parts, in order; they share brands, uses and merchants."""
        return _mapped(parts, np.concatenate)


_Record = TypeVar("_Record", Truth, Told)


def _mapped(parts: Sequence[_Record], change: Callable[[list[Array]], Array]) -> _Record:
    """A record like the first of ``parts`` whose arrays are ``change`` of the parts' arrays."""
    first = parts[0]
    changed: dict[str, Any] = {}
    for field in fields(first):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            changed[field.name] = change(values)
        elif isinstance(values[0], Mapping):
            changed[field.name] = {name: change([v[name] for v in values]) for name in values[0]}
        elif isinstance(values[0], Told):
            changed[field.name] = _mapped(values, change)
    return replace(first, **changed)
