"""What shoppers ask for, and what they mean by it: queries of twelve kinds, each made for an item that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import count
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.catalogue import german
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.grades.intent import Intent, Want
from aisle.simulate.language.speaker import Speaker
from aisle.simulate.language.wishes import Wish, Wishes

if TYPE_CHECKING:
    from aisle.simulate.world import World

PLAIN = {
    "head": 0.18,
    "brand": 0.12,
    "attribute": 0.19,
    "tail": 0.15,
    "synonym": 0.10,
    "misspelling": 0.10,
    "price": 0.07,
    "use": 0.09,
}
"""head: the shelf; brand, attribute, price, use: one want and the shelf; tail: two wants and the shelf; synonym: a word
that sellers of the shelf do not use, with or without an attribute; misspelling: a slip in any of the former."""

HARD = ("negation", "alternative", "question", "knowledge")
"""negation: a shelf, and what it must not be; alternative: cheaper than a brand and not of it; question: a need that
names no shelf; knowledge: a goal that takes a fact of the world.  Together a share ``hard`` of the queries."""

PATIENCE = 300
"""Draws in a row without a new text after which a world has no more words."""

ADJECTIVES = frozenset((
    "running", "everyday", "office", "party", "winter", "summer", "hiking", "commuting", "gym", "beach", "travel", "gaming",
    "camping", "yoga", "training",
))  # fmt: skip
"""Uses that as often stand before the noun: "winter jacket"."""


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


def queries(world: World, n: int = 300, seed: int = 0, day: float = 0.0) -> list[Query]:
    """n queries of different text; the first m of n are the same for every n >= m.

    Each is made for an item of the world, so that each has an item of grade 4.  ``day`` decides which coined words have
    spread.  Raises SettingError when the world is too small for n different texts.
    """
    first = world.seed * 1_000_003 + seed * 7919 + 11
    wishes = Wishes(world)
    kinds, shares = zip(*_shares(world.knobs.hard).items(), strict=True)
    found: dict[str, Query] = {}
    fruitless = 0
    for number in count():
        if len(found) == n or fruitless == PATIENCE:
            break
        # Luck of its own for each query: a word that has spread since changes this one and no other.
        words = Random(first + number * 15_485_863)
        before = len(found)
        kind = words.choices(kinds, shares)[0]
        wish = wishes.draw(kind, words)
        if wish is not None:
            query = _spoken(Speaker(world.knobs, words, world.seed, day), kind, wish)
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
