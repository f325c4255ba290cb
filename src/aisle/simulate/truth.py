"""Truth: what the items of a world really are.  Never a column of a shop.

Legend: I items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisle.core.lists import Array


@dataclass(frozen=True, eq=False)
class Truth:
    """
    leaf, brand, use  int16[I]   index into LEAVES, ``brands``, ``uses``
    tier              int8[I]    0 budget, 1 middle, 2 premium
    quality           float32[I] about normal
    price_cents       int64[I]
    texts, families   attribute name -> int16[I], index into TEXTS, -1 where an item has none
    numbers           attribute name -> float64[I], NaN where an item has none
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
    brands: tuple[str, ...]
    uses: tuple[str, ...]
