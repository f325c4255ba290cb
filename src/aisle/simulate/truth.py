"""Truth: what the items of a world really are, and the rule table that grades them.  Never a column of a shop.

Legend: I items, N chosen rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.taxonomy import CODE, LEAVES

AISLE_OF_LEAF = np.unique([leaf.department + leaf.aisle for leaf in LEAVES], return_inverse=True)[1].astype(np.int16)


@dataclass(frozen=True, slots=True)
class Want:
    """A secondary constraint: a text (``family`` is the one it belongs to), a number, or a highest price."""

    field: str
    text: str = ""
    family: str = ""
    number: float = float("nan")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a shopper means: a shelf (the core constraint) and any number of wants."""

    leaf: int
    wants: tuple[Want, ...] = ()


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

    def missed(self, want: Want, rows: Array) -> Array:
        """float32[N]: 0 where a want holds, 1 where not, 0.5 nearly (another blue, a little too dear)."""
        if want.field == "brand":
            return _no(self.brand[rows] != self.brands.index(want.text))
        if want.field == "use":
            return _no(self.use[rows] != self.uses.index(want.text))
        if want.field == "price_cents":
            over = self.price_cents[rows] / want.number
            return np.where(over <= 1.0, 0.0, np.where(over <= 1.25, 0.5, 1.0)).astype(np.float32)
        if want.field in self.numbers and not want.text:
            return _no(self.numbers[want.field][rows] != want.number)
        family = self.families[want.field][rows] == CODE[want.family]
        exact = self.texts[want.field][rows] == CODE[want.text]
        holds = exact | family if want.text == want.family else exact
        return np.where(holds, 0.0, np.where(family, 0.5, 1.0)).astype(np.float32)

    def grades(self, intent: Intent, rows: Array | None = None) -> Array:
        """int8[N] grades 0 to 3 of the rows (all items when None), by this table:

        shelf   wants missed    grade
        right   none            3
        right   at most one     2
        right   more            1
        aisle   any             1       (another shelf of the same aisle)
        other   any             0
        """
        rows = np.arange(len(self.leaf)) if rows is None else rows
        leaf = self.leaf[rows]
        shelf = leaf == intent.leaf
        missed = np.zeros(len(rows), np.float32)
        for want in intent.wants:
            missed += self.missed(want, rows)
        on_shelf = np.where(missed == 0, 3, np.where(missed <= 1, 2, 1))
        grade: Array = np.where(shelf, on_shelf, AISLE_OF_LEAF[leaf] == AISLE_OF_LEAF[intent.leaf]).astype(np.int8)
        return grade


def _no(differs: Array) -> Array:
    missed: Array = differs.astype(np.float32)
    return missed
