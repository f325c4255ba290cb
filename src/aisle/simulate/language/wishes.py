"""Wishes that an item of the world answers fully: what is wanted, before anybody has put it into words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import KINDS, LEAVES, TEXTS, Leaf, values_of
from aisle.simulate.grades.intent import Intent, Want
from aisle.simulate.grades.rules import holds
from aisle.simulate.language.needs import GOALS, QUESTIONS

if TYPE_CHECKING:
    from aisle.simulate.world import World

UNASKED = ("plain", "conventional", "regular fit", "size", "shoe size", "width", "persons")
"""Values and attributes that nobody types."""

UNDENIED = (*UNASKED, "unscented", "mild", "dark")
"""Values that nobody types after "not"."""

TRIES = 80
"""Items that are looked at for a query of one kind before another kind is drawn."""

NEGATIONS = {
    "material": ("{noun} not {value}", "non {value} {noun}", "{noun} without {value}", "{noun} no {value}"),
    "colour": ("{noun} not {value}", "{noun} any colour but {value}", "{noun} not in {value}"),
    "pattern": ("{noun} not {value}", "non {value} {noun}"),
    "flavour": ("{noun} no {value}", "{noun} without {value}", "{noun} not {value}"),
    "scent": ("{noun} without {value}", "{noun} not {value}"),
    "style": ("{noun} not {value}", "non {value} {noun}"),
    "finish": ("{noun} not {value}", "non {value} {noun}"),
}
ALTERNATIVES = (
    "cheaper than {brand} {noun}",
    "{noun} like {brand} but cheaper",
    "cheap alternative to {brand} {noun}",
    "{brand} {noun} dupe",
    "affordable {noun} instead of {brand}",
)


class Wish(NamedTuple):
    """An intent, and a pattern of words for it; "" leaves the words to the usual order."""

    intent: Intent
    pattern: str = ""


class Wishes:
    """Draws wishes that an item of the world answers fully, popular items more often."""

    def __init__(self, world: World) -> None:
        self._truth, self._words = world.truth, Random(0)
        self._popular = np.cumsum(np.log1p(world.items["rating_count"].to_numpy()) + 0.3)
        self._draws: Mapping[str, Callable[[int, Leaf], Wish | None]] = {
            "negation": self._negation,
            "alternative": self._alternative,
            "question": self._question,
            "knowledge": self._knowledge,
        }

    def draw(self, kind: str, words: Random) -> Wish | None:
        """A wish of this kind; None when none of TRIES items lends itself to it."""
        self._words = words
        for _ in range(min(TRIES, 4 * len(self._popular))):
            item = int(np.searchsorted(self._popular, self._words.random() * self._popular[-1]))
            leaf = LEAVES[self._truth.leaf[item]]
            wish = self._draws[kind](item, leaf) if kind in self._draws else self._plain(kind, item, leaf)
            if wish is not None:
                return wish
        return None

    @cached_property
    def _rows_of_leaf(self) -> list[Array]:
        order = np.argsort(self._truth.leaf, kind="stable")
        return np.split(order, np.searchsorted(self._truth.leaf[order], np.arange(1, len(LEAVES))))

    def _plain(self, kind: str, item: int, leaf: Leaf) -> Wish | None:
        words = self._words
        if kind == "misspelling":
            kind = words.choice(("head", "attribute", "brand"))
        elif kind == "synonym":
            kind = words.choice(("head", "attribute"))
        wants: list[Want] | None = []
        if kind == "brand":
            wants = [Want("brand", self._truth.brands[self._truth.brand[item]])]
        elif kind == "use":
            wants = [Want("use", self._truth.uses[self._truth.use[item]])]
        elif kind == "price":
            wants = [self._price(item)]
        elif kind in ("attribute", "tail"):
            wants = self._attributes(item, leaf, 2 if kind == "tail" else 1)
        return None if wants is None else Wish(self._intent(item, wants))

    def _intent(self, item: int, wants: Sequence[Want], also: tuple[int, ...] = ()) -> Intent:
        return Intent(int(self._truth.leaf[item]), tuple(wants), also)

    def _price(self, item: int) -> Want:
        """A round price that the item keeps."""
        dollars = self._truth.price_cents[item] / 100 * self._words.uniform(1.02, 1.4)
        step = 1 if dollars < 10 else 5 if dollars < 60 else 10 if dollars < 200 else 50
        return Want("price_cents", number=100.0 * step * int(np.ceil(dollars / step)))

    def _attributes(self, item: int, leaf: Leaf, number: int) -> list[Want] | None:
        kinds = dict.fromkeys((*leaf.attributes, leaf.variant))
        able = [want for kind in kinds if (want := self._attribute(item, kind)) is not None]
        return self._words.sample(able, number) if len(able) >= number else None

    def _attribute(self, item: int, kind: str) -> Want | None:
        """What the item has of this kind, in half of the cases named by its family ("blue" for a navy item)."""
        name, _, numbers, _ = KINDS[kind]
        if name in UNASKED:
            return None
        if numbers:
            return Want(name, number=float(self._truth.numbers[name][item]))
        text, family = TEXTS[self._truth.texts[name][item]], TEXTS[self._truth.families[name][item]]
        if text in UNASKED:
            return None
        return Want(name, family if self._words.random() < 0.5 else text, family)

    def _negation(self, item: int, leaf: Leaf) -> Wish | None:
        """Something of another family than the item's, that it must not be; at times with a wish beside it."""
        kinds = [kind for kind in leaf.attributes if KINDS[kind].name in NEGATIONS]
        if not kinds:
            return None
        kind = self._words.choice(kinds)
        name = KINDS[kind].name
        own = TEXTS[self._truth.families[name][item]]
        others = [pair for pair in values_of(leaf, kind) if pair[1] != own and pair[0] not in UNDENIED]
        if not others:
            return None
        value, family = self._words.choice(others)
        wants = [Want(name, self._words.choice((value, family)), family, negated=True)]
        if self._words.random() < 0.3:
            more = self._attributes(item, leaf, 1) or []
            wants += [want for want in more if want.field != name]
        return Wish(self._intent(item, wants), self._words.choice(NEGATIONS[name]))

    def _alternative(self, item: int, leaf: Leaf) -> Wish | None:
        """Not of a brand, and below what half of its products on the shelf cost."""
        truth = self._truth
        rows = self._rows_of_leaf[truth.leaf[item]]
        dearer = rows[(truth.price_cents[rows] > truth.price_cents[item]) & (truth.brand[rows] != truth.brand[item])]
        if not len(dearer):
            return None
        brand = truth.brand[dearer[self._words.randrange(len(dearer))]]
        usual = float(np.floor(np.median(truth.price_cents[rows[truth.brand[rows] == brand]])))
        if truth.price_cents[item] > usual:
            return None
        wants = [Want("brand", truth.brands[brand], negated=True), Want("price_cents", number=usual, core=True)]
        return Wish(self._intent(item, wants), self._words.choice(ALTERNATIVES))

    def _question(self, item: int, leaf: Leaf) -> Wish | None:
        """The item's use as a question, where that use is usual on its shelf."""
        use = self._truth.uses[self._truth.use[item]]
        asked = next((question for question in QUESTIONS if question.use == use), None)
        if asked is None or use not in leaf.uses:
            return None
        also = tuple(n for n in asked.leaves if n != self._truth.leaf[item])
        wants = [Want("use", use)]
        pattern = self._words.choice(asked.phrases)
        if self._words.random() < 0.2:
            wants.append(self._price(item))
            pattern += " {price}"
        return Wish(self._intent(item, wants, also), pattern)

    def _knowledge(self, item: int, leaf: Leaf) -> Wish | None:
        """A goal that the item serves, at times with a colour or a price."""
        here = np.array([item])
        able = [
            goal
            for goal in GOALS
            if LEAVES[goal.leaf] is leaf and all(holds(self._truth, want, here)[0] == 2 for want in goal.wants)
        ]
        if not able:
            return None
        goal = self._words.choice(able)
        wants, pattern = list(goal.wants), goal.phrase
        if self._words.random() < 0.25:
            wants.append(self._price(item))
            pattern += " {price}"
        return Wish(self._intent(item, wants), pattern)
