"""What shoppers ask for, and what they mean by it: queries of twelve kinds, each made for an item that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate import german
from aisle.simulate.grades import holds
from aisle.simulate.intent import Intent, Want
from aisle.simulate.language import Speaker
from aisle.simulate.needs import GOALS, QUESTIONS
from aisle.simulate.taxonomy import KINDS, LEAVES, TEXTS, Leaf, values_of

if TYPE_CHECKING:
    from aisle.simulate.world import World

PLAIN = {
    "head": 0.13,
    "brand": 0.12,
    "attribute": 0.19,
    "tail": 0.15,
    "synonym": 0.15,
    "misspelling": 0.10,
    "price": 0.07,
    "use": 0.09,
}
"""head: the shelf; brand, attribute, price, use: one want and the shelf; tail: two wants and the shelf; synonym: a word
that sellers of the shelf do not use, with or without an attribute; misspelling: a slip in any of the former."""

HARD = ("negation", "alternative", "question", "knowledge")
"""negation: a shelf, and what it must not be; alternative: cheaper than a brand and not of it; question: a need that
names no shelf; knowledge: a goal that takes a fact of the world.  Together a share ``hard`` of the queries."""

UNASKED = ("plain", "conventional", "regular fit", "size", "shoe size", "width", "persons")
"""Values and attributes that nobody types."""

UNDENIED = (*UNASKED, "unscented")
"""Values that nobody types after "not"."""

ADJECTIVES = frozenset((
    "running", "everyday", "office", "party", "winter", "summer", "hiking", "commuting", "gym", "beach", "travel", "gaming",
    "camping", "yoga", "training",
))  # fmt: skip
"""Uses that as often stand before the noun: "winter jacket"."""

TRIES = 80
"""Items that are looked at for a query of one kind before another kind is drawn."""

PATIENCE = 300
"""Draws in a row without a new text after which a world has no more words."""

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


class Query(NamedTuple):
    """``text`` is what is typed; ``kind``, ``intent`` and the mechanisms that made its words (``changes``) are truth."""

    text: str
    kind: str
    intent: Intent
    changes: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        """The same wish in sellers' words: what a person who knows the shop would type."""
        wanted = [w for w in self.intent.wants if not w.negated and w.field != "price_cents"]
        return " ".join([*(w.text or f"{w.number:g}" for w in wanted), LEAVES[self.intent.leaf].nouns[0]])


class Wish(NamedTuple):
    """An intent, and a pattern of words for it; "" leaves the words to the usual order."""

    intent: Intent
    pattern: str = ""


def queries(world: World, n: int = 300, seed: int = 0, day: float = 0.0) -> list[Query]:
    """n queries of different text; the first m of n are the same for every n >= m.

    Each is made for an item of the world, so that each has an item of grade 4.  ``day`` decides which coined words have
    spread.  Raises SettingError when the world is too small for n different texts.
    """
    words = Random(world.seed * 1_000_003 + seed * 7919 + 11)
    wishes = _Wishes(world, words)
    kinds, shares = zip(*_shares(world.knobs.hard).items(), strict=True)
    found: dict[str, Query] = {}
    fruitless = 0
    while len(found) < n and fruitless < PATIENCE:
        before = len(found)
        kind = words.choices(kinds, shares)[0]
        wish = wishes.draw(kind)
        if wish is not None:
            speaker = Speaker(world.knobs, words, world.seed, day)
            query = _spoken(speaker, kind, wish)
            found.setdefault(query.text, query)
        fruitless = fruitless + 1 if len(found) == before else 0
    if len(found) < n:
        raise SettingError(
            f"{n} queries were asked for, this world has words for {len(found)}; ask for fewer or add items"
        )
    return list(found.values())


def traffic(asked: Sequence[Query], exponent: float = 1.0) -> Array:
    """float64[n], sums to 1: the share of all searches that each query has.

    A power law over ranks, as search logs show; broad queries tend to the front, which query exactly is luck that
    depends on its text alone.
    """
    luck = np.array([int.from_bytes(blake2b(q.text.encode(), digest_size=6).digest()) / 2**48 for q in asked])
    breadth = np.array([len(q.intent.wants) + 0.5 * len(q.changes) + (q.kind in HARD) for q in asked])
    rank = np.empty(len(asked))
    rank[np.argsort(breadth - 0.8 * np.log(np.maximum(luck, 1e-12)), kind="stable")] = 1 + np.arange(len(asked))
    share: Array = rank**-exponent / (rank**-exponent).sum()
    return share


def _shares(hard: float) -> dict[str, float]:
    return {kind: share * (1 - hard) for kind, share in PLAIN.items()} | dict.fromkeys(HARD, hard / len(HARD))


class _Wishes:
    """Draws wishes that an item of the world answers fully, popular items more often."""

    def __init__(self, world: World, words: Random) -> None:
        self._truth, self._words = world.truth, words
        self._popular = np.cumsum(np.log1p(world.items["rating_count"].to_numpy()) + 0.3)
        self._draws: Mapping[str, Callable[[int, Leaf], Wish | None]] = {
            "negation": self._negation,
            "alternative": self._alternative,
            "question": self._question,
            "knowledge": self._knowledge,
        }

    def draw(self, kind: str) -> Wish | None:
        """A wish of this kind; None when none of TRIES items lends itself to it."""
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

    def _attributes(self, item: int, leaf: Leaf, count: int) -> list[Want] | None:
        kinds = dict.fromkeys((*leaf.attributes, leaf.variant))
        able = [want for kind in kinds if (want := self._attribute(item, kind)) is not None]
        return self._words.sample(able, count) if len(able) >= count else None

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


def _spoken(speaker: Speaker, kind: str, wish: Wish) -> Query:
    """The wish as one shopper types it."""
    if kind not in HARD and speaker.words.random() < speaker.knobs.foreign:
        speaker.in_german = True
        speaker.changes["german"] = None
    noun = speaker.noun(wish.intent.leaf, synonym=kind == "synonym") if kind not in ("question", "knowledge") else ""
    text = _filled(speaker, wish, noun) if wish.pattern else _ordered(speaker, wish.intent.wants, noun)
    text = speaker.finished(text, slip=kind == "misspelling")
    return Query(text, kind, wish.intent, tuple(speaker.changes))


def _filled(speaker: Speaker, wish: Wish, noun: str) -> str:
    """The pattern with its places filled; a want that has no place in it stands before the noun."""
    front, places = [], {"price": "", "brand": "", "value": ""}
    for want in wish.intent.wants:
        if want.field == "price_cents":
            places["price"] = _price_words(speaker, want)
        elif want.field == "brand":
            places["brand"] = want.text
        elif want.negated:
            places["value"] = speaker.value(want.text)
        elif noun:
            front.append(speaker.value(want.text) if want.text else speaker.number(want))
    return wish.pattern.format(noun=" ".join([*front, noun]), **places)


def _ordered(speaker: Speaker, wants: Sequence[Want], noun: str) -> str:
    """Usually the wants before the noun, sometimes after it; in German usually after it."""
    front: list[str] = []
    back: list[str] = []
    in_front = 0.2 if speaker.in_german else 0.85
    for want in wants:
        if want.field == "price_cents":
            back.append(_price_words(speaker, want))
        elif want.field == "use":
            use = speaker.value(want.text)
            if use in ADJECTIVES and speaker.words.random() < 0.5:
                front.append(use)
            else:
                back.append(use if speaker.in_german else f"for {use}")
        elif want.field == "brand":
            (front if speaker.words.random() < 0.85 else back).append(want.text)
        elif want.text:
            (front if speaker.words.random() < in_front else back).append(speaker.value(want.text))
        else:
            (back if speaker.in_german else front).append(speaker.number(want))
    return " ".join([*front, noun, *back])


def _price_words(speaker: Speaker, want: Want) -> str:
    dollars = f"{want.number / 100:g}"
    if speaker.in_german:
        return f"{speaker.words.choice(german.UNDER)} {dollars}"
    return f"{speaker.words.choice(('under', 'below', 'max'))} ${dollars}"
