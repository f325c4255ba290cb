"""Scale: the ordered grades of a shop's judgments, with a name and a meaning each.

Legend: C grades from worst to best, N pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array
from aisle.core.shop import Judgments


@dataclass(frozen=True)
class Scale:
    """
    grades    as judgments store them, rising
    names     one word each, what a model is taught to say
    meanings  a sentence each, for prompts and rules
    """

    grades: tuple[int, ...]
    names: tuple[str, ...]
    meanings: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.grades) < 2 or len({len(self.grades), len(self.names), len(self.meanings)}) > 1:
            raise SettingError(
                f"grades {self.grades} with names {self.names}; a scale has two grades or more, each with a name"
            )

    def __len__(self) -> int:
        """C."""
        return len(self.grades)

    def to_json(self) -> list[list[Any]]:
        return [list(self.grades), list(self.names), list(self.meanings)]

    @classmethod
    def from_json(cls, value: Sequence[Sequence[Any]]) -> Scale:
        """The scale whose ``to_json`` this is."""
        return cls(*map(tuple, value))

    def places(self, grade_N: Array) -> Array:
        """int64[N]: 0 for the worst grade, C - 1 for the best.  Raises ContractError for a grade outside the scale."""
        place_N = np.searchsorted(self.grades, grade_N)
        known = place_N < len(self.grades)
        known[known] = np.asarray(self.grades)[place_N[known]] == grade_N[known]
        if not known.all():
            raise ContractError(
                f"a grade {grade_N[~known][0]} is not on the scale {self.grades}; fit on the judgments that you use"
            )
        return place_N


MEANINGS_OF_4 = (
    ("irrelevant", "another kind of product than the one asked for"),
    ("mismatch", "the kind asked for, but something that matters is contradicted"),
    ("related", "the kind asked for or one that can stand in for it, and something of lesser weight is missed"),
    ("excellent", "the kind asked for, with all that was asked"),
)
"""TaoSR1's four levels, the worst first; the boundaries are ours, in line with the names."""

MEANINGS_OF_5 = (
    ("irrelevant", "nothing to do with what was asked"),
    ("trivial", "only related to the product asked for, such as an accessory"),
    ("marginal", "the product asked for, but some of the properties asked for are wrong"),
    ("significant", "the product asked for, with the main properties asked for"),
    ("exact", "the product asked for, with every property asked for"),
)
"""LREF's five levels, the worst first."""


def scale_of(grades: Sequence[int]) -> Scale:
    """The scale of these grades: TaoSR1's words where there are four, LREF's where there are five, numbers otherwise.

    Raises SettingError for fewer than two grades.
    """
    rising = tuple(sorted({int(g) for g in grades}))
    known = {4: MEANINGS_OF_4, 5: MEANINGS_OF_5}.get(len(rising))
    if known is None:
        last = max(len(rising) - 1, 1)
        known = tuple((f"level{n}", f"{100 * n // last}% of what was asked") for n in range(len(rising)))
    return Scale(rising, tuple(name for name, _ in known), tuple(meaning for _, meaning in known))


def scale_of_judgments(judgments: Judgments) -> Scale:
    """Every grade that the judgments or their gain map name."""
    return scale_of([*np.unique(judgments.lists["grade"]).tolist(), *judgments.gains])
