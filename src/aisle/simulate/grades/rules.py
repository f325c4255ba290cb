"""The rule table: grades 1 to 4 of (query, item) pairs, with the verdict of every step that leads to them.

Steps: what the query means (its intent), what the item is (truth), whether the kind of product fits (category), whether
what else was asked holds (constraints, and attribute over all of them), and the rule that turns both into a grade.

Legend: N chosen rows, W wants of the query, I items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import CODE, LEAVES, TEXTS
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.grades.intent import Intent, Want

CATEGORY = ("mismatch", "near", "match")
CONSTRAINT = ("contradicted", "nearly", "holds")
ATTRIBUTE = ("conflict", "partial", "all")
GRADES = {1: "irrelevant", 2: "mismatch", 3: "related", 4: "excellent"}
GAINS = {1: 0.0, 2: 0.5, 3: 3.0, 4: 7.0}
"""What a grade is worth on a page; below 1 it does not count as relevant."""

NEARLY_DEAR = 1.25
"""A price up to so many times the highest one asked for nearly holds."""


class Rule(NamedTuple):
    category: str
    attribute: str
    grade: int
    why: str


RULES = (
    Rule("mismatch", "conflict", 1, "another kind of product"),
    Rule("mismatch", "partial", 1, "another kind of product"),
    Rule("mismatch", "all", 1, "another kind of product, whatever else holds"),
    Rule("near", "conflict", 2, "a substitute, and something that matters is contradicted"),
    Rule("near", "partial", 3, "a substitute that misses something of lesser weight"),
    Rule("near", "all", 3, "a substitute with all that was asked"),
    Rule("match", "conflict", 2, "the right kind, but something that matters is contradicted"),
    Rule("match", "partial", 3, "the right kind, but something of lesser weight is missed"),
    Rule("match", "all", 4, "the right kind with all that was asked"),
)
"""Row 3 * category + attribute.  Versions of the table are part of a world's version."""

_GRADE_OF_RULE = np.array([rule.grade for rule in RULES], np.int8)

# Shelves whose products can stand in for each other, both ways.
_SUBSTITUTES = """
T-Shirts, Shirts | Sweaters, Hoodies | Jeans, Trousers | Trousers, Leggings | Jackets, Raincoats
Sneakers, Running Shoes | Ankle Boots, Hiking Boots | Sandals, Slippers | Speakers, Soundbars | Laptops, Tablets
Monitors, Televisions | Sofas, Armchairs | Desks, Dining Tables | Floor Lamps, Pendant Lights | Frying Pans, Saucepans
Coffee, Tea | Pasta, Rice | Crisps, Biscuits | Chocolate, Biscuits | Jigsaw Puzzles, Board Games
"""


def _near() -> Array:
    """bool[S, S]: shelf b can stand in for shelf a."""
    place = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}
    near = np.zeros((len(LEAVES), len(LEAVES)), bool)
    for pair in _SUBSTITUTES.replace("\n", "|").split("|"):
        if pair.strip():
            one, two = (place[name.strip()] for name in pair.split(","))
            near[one, two] = near[two, one] = True
    return near


NEAR = _near()


@dataclass(frozen=True, eq=False)
class Verdicts:
    """
    category    int8[N]     index into CATEGORY
    constraint  int8[N, W]  index into CONSTRAINT, one column a want
    attribute   int8[N]     index into ATTRIBUTE
    """

    category: Array
    constraint: Array
    attribute: Array

    @property
    def rule(self) -> Array:
        """int8[N]: index into RULES."""
        fired: Array = 3 * self.category + self.attribute
        return fired

    @property
    def grade(self) -> Array:
        """int8[N], 1 to 4."""
        grade: Array = _GRADE_OF_RULE[self.rule]
        return grade


def judge(truth: Truth, intent: Intent, rows: Array | None = None) -> Verdicts:
    """The verdicts of these rows, of all items when None.

    attribute: ``conflict`` when a core want, or more than one want, is contradicted; ``all`` when every want holds.
    """
    rows = np.arange(len(truth.leaf)) if rows is None else rows
    constraint = np.empty((len(rows), len(intent.wants)), np.int8)
    for n, want in enumerate(intent.wants):
        constraint[:, n] = holds(truth, want, rows)
    return Verdicts(category_of(truth, intent, rows), constraint, combined(constraint, intent))


def category_of(truth: Truth, intent: Intent, rows: Array) -> Array:
    """int8[N]: 2 on a shelf that was asked for, 1 on one that can stand in for it, 0 elsewhere."""
    category_S: Array = np.where(NEAR[list(intent.leaves)].any(axis=0), 1, 0).astype(np.int8)
    category_S[list(intent.leaves)] = 2
    category: Array = category_S[truth.leaf[rows]]
    return category


def combined(constraint: Array, intent: Intent) -> Array:
    """int8[N]: the attribute verdict over the verdicts [N, W] of the single wants."""
    core = np.array([want.is_core for want in intent.wants], bool)
    contradicted = constraint == 0
    conflict = contradicted[:, core].any(axis=1) | (contradicted.sum(axis=1) > 1)
    attribute: Array = np.where(conflict, 0, np.where((constraint == 2).all(axis=1), 2, 1)).astype(np.int8)
    return attribute


def holds(truth: Truth, want: Want, rows: Array) -> Array:
    """int8[N]: 2 where a want holds, 1 nearly (another blue, a little too dear), 0 where it is contradicted.

    Raises SettingError for an attribute that no item has.
    """
    if want.field == "price_cents":
        over = truth.price_cents[rows] / want.number
        return np.where(over <= 1.0, 2, np.where(over <= NEARLY_DEAR, 1, 0)).astype(np.int8)
    if want.field in ("brand", "use"):
        names, own = (truth.brands, truth.brand) if want.field == "brand" else (truth.uses, truth.use)
        return _turned(want, _yes(own[rows] == names.index(want.text)))
    return value_holds(want, *values_of_rows(truth, want, rows))


def values_of_rows(truth: Truth, want: Want, rows: Array) -> tuple[Array, Array, Array]:
    """Codes of the texts and of their families, and the numbers [N], that rows have of the attribute that is wanted."""
    none, nan = np.full(len(rows), -1, np.int16), np.full(len(rows), np.nan)
    if not want.text and want.field in truth.numbers:
        return none, none, truth.numbers[want.field][rows]
    if want.text and want.field in truth.texts:
        return truth.texts[want.field][rows], truth.families[want.field][rows], nan
    raise SettingError(f"no item of this world has a {want.field!r}; it has {', '.join(sorted(truth.texts))}")


def value_holds(want: Want, text: Array, family: Array, number: Array) -> Array:
    """int8[N] as ``holds``, for values of the attribute that is wanted."""
    if not want.text:
        return _turned(want, _yes(number == want.number))
    same_family = family == CODE[want.family]
    fits = (text == CODE[want.text]) | (same_family & (want.text == want.family))
    return _turned(want, np.where(fits, 2, np.where(same_family, 1, 0)).astype(np.int8))


def _turned(want: Want, verdict: Array) -> Array:
    """The verdict of a want that may be negated: another shade of what is not wanted is not wanted either."""
    return _yes(verdict == 0) if want.negated else verdict


def _yes(same: Array) -> Array:
    return np.where(same, 2, 0).astype(np.int8)


class Steps(NamedTuple):
    """The five steps of one pair in words, as a careful annotator would write them."""

    query: str
    item: str
    category: str
    attribute: str
    verdict: str

    def __str__(self) -> str:
        return "\n".join(f"<{name}> {text} </{name}>" for name, text in zip(self._fields, self, strict=True))


def steps(truth: Truth, intent: Intent, row: int) -> Steps:
    """Why item ``row`` has its grade for this intent."""
    found = judge(truth, intent, np.array([row]))
    category, attribute, rule = (int(x[0]) for x in (found.category, found.attribute, found.rule))
    wants = [f"{w.said} ({'core' if w.is_core else 'secondary'})" for w in intent.wants]
    asked = " or ".join(LEAVES[n].nouns[0] for n in intent.leaves)
    leaf = LEAVES[truth.leaf[row]]
    is_so = [fact(truth, field, row) for field in dict.fromkeys(w.field for w in intent.wants)]
    each = [f"{w.said}: {CONSTRAINT[v]}" for w, v in zip(intent.wants, found.constraint[0], strict=True)]
    return Steps(
        "; ".join([asked, *wants]),
        "; ".join([leaf.nouns[0], *is_so]),
        f"{CATEGORY[category]} : asked {asked}, is {leaf.nouns[0]}",
        f"{ATTRIBUTE[attribute]} : {'; '.join(each) or 'nothing else was asked'}",
        f"{RULES[rule].grade} : {RULES[rule].why}",
    )


def fact(truth: Truth, field: str, row: int) -> str:
    """What is true of an item in a field: 'colour navy', 'price 59.5', 'no material'."""
    if field == "brand":
        return f"brand {truth.brands[truth.brand[row]]}"
    if field == "use":
        return f"use {truth.uses[truth.use[row]]}"
    if field == "price_cents":
        return f"price {truth.price_cents[row] / 100:g}"
    if field in truth.texts and truth.texts[field][row] >= 0:
        return f"{field} {TEXTS[truth.texts[field][row]]}"
    if field in truth.numbers and not np.isnan(truth.numbers[field][row]):
        return f"{field} {truth.numbers[field][row]:g}"
    return f"no {field}"
