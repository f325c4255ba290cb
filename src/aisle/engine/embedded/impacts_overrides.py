"""Overrides: what a person changed about bags, kept apart from what a model made.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aisle.core.bags import Bags
from aisle.core.lists import Array
from aisle.engine.embedded.impacts_segment import query_of


@dataclass(frozen=True, slots=True)
class Edit:
    """A weight that stands in for the one of the row's own bag; 0 is no posting."""

    weight: float
    own: float


@dataclass(frozen=True, slots=True)
class Overrides:
    """factors: term -> what its weight is multiplied by in every row.  edits: row -> term -> Edit.  Never changed in place."""

    factors: Mapping[int, float] = field(default_factory=dict)
    edits: Mapping[int, Mapping[int, Edit]] = field(default_factory=dict)

    def with_factor(self, term: int, factor: float) -> Overrides:
        others = {t: f for t, f in self.factors.items() if t != term}
        return replace(self, factors=others if factor == 1 else {**others, term: factor})

    def with_edit(self, row: int, term: int, edit: Edit | None) -> Overrides:
        mine = {t: e for t, e in self.edits.get(row, {}).items() if t != term} | ({term: edit} if edit else {})
        return replace(self, edits={**self.without([row]).edits, **({row: mine} if mine else {})})

    def without(self, rows: Sequence[int]) -> Overrides:
        """Without the edits of these rows."""
        gone = set(rows)
        return replace(self, edits={r: e for r, e in self.edits.items() if r not in gone})

    def over(self, rows: Array, bags: Bags) -> tuple[Bags, Overrides]:
        """New bags of these rows with the edits in them, and overrides that remember what the bags said instead."""
        edited = np.flatnonzero([row in self.edits for row in rows.tolist()]) if self.edits else np.zeros(0, np.int64)
        if not len(edited):
            return bags, self
        maps, edits = [], dict(self.edits)
        for n, (terms, weights) in zip(edited.tolist(), query_of(bags.select(edited)), strict=True):
            row, own = int(rows[n]), dict(zip(terms.tolist(), weights.tolist(), strict=True))
            edits[row] = {t: Edit(e.weight, own.get(t, 0.0)) for t, e in self.edits[row].items()}
            bag = {**own, **{t: e.weight for t, e in edits[row].items()}}
            maps.append({t: w for t, w in bag.items() if w > 0})
        others = np.setdiff1d(np.arange(len(rows)), edited)
        joined = bags.select(others).joined(Bags.of(maps))
        return joined.select(np.argsort(np.concatenate([others, edited]))), replace(self, edits=edits)

    def to_json(self) -> dict[str, list[list[float]]]:
        edits = [[r, t, e.weight, e.own] for r, mine in self.edits.items() for t, e in mine.items()]
        return {"factors": [[t, f] for t, f in self.factors.items()], "edits": edits}
