"""What shoppers type, and what they mean by it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aisle.core.errors import SettingError
from aisle.simulate.intent import Intent, Want
from aisle.simulate.sellers import misspelt
from aisle.simulate.taxonomy import KINDS, LEAVES, TEXTS, Leaf
from aisle.simulate.truth import Truth

if TYPE_CHECKING:
    from aisle.simulate.world import World

SHARE_OF_KIND = {
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

UNASKED = ("plain", "conventional", "regular fit", "size", "shoe size", "width", "persons")
"""Values and attributes that nobody types."""


class Query(NamedTuple):
    """``text`` is what is typed; ``kind`` and ``intent`` are truth."""

    text: str
    kind: str
    intent: Intent

    @property
    def canonical(self) -> str:
        """The same wish in sellers' words: what a person who knows the shop would type."""
        wants = [f"{w.number:g}" if not w.text else w.text for w in self.intent.wants if w.field != "price_cents"]
        return " ".join([*wants, LEAVES[self.intent.leaf].nouns[0]])


def queries(world: World, n: int = 300, seed: int = 0) -> list[Query]:
    """n queries of different text; the first m of n are the same for every n >= m.

    Each is made for an item of the world, so that each has an item of grade 4.
    Raises SettingError when the world is too small for n different texts.
    """
    words = Random(world.seed * 1_000_003 + seed * 7919 + 11)
    popular = np.cumsum(np.log1p(world.items["rating_count"].to_numpy()) + 0.3)
    found: dict[str, Query] = {}
    for _ in range(60 * n + 200):
        if len(found) == n:
            return list(found.values())
        item = int(np.searchsorted(popular, words.random() * popular[-1]))
        kind = words.choices(list(SHARE_OF_KIND), list(SHARE_OF_KIND.values()))[0]
        query = _query(world.truth, item, kind, world.knobs.gap, words)
        if query is not None:
            found.setdefault(query.text, query)
    if len(found) == n:
        return list(found.values())
    raise SettingError(f"{n} queries were asked for, this world has words for {len(found)}; ask for fewer or add items")


def _query(truth: Truth, item: int, kind: str, gap: float, words: Random) -> Query | None:
    """A query of a kind that this item answers fully; None when the item does not lend itself to it."""
    leaf = LEAVES[truth.leaf[item]]
    base = words.choice(("head", "attribute", "brand")) if kind == "misspelling" else kind
    noun = leaf.nouns[0]
    if kind == "synonym":
        base = words.choice(("head", "attribute"))
        noun = words.choice(leaf.synonyms) if words.random() < gap else noun
    elif words.random() < 0.12 * gap:
        noun = words.choice((*leaf.nouns, *leaf.synonyms))
    if words.random() < 0.25 * gap and not noun.endswith("s"):
        noun = plural(noun)
    wants = _wants(truth, item, leaf, base, words)
    if wants is None:
        return None
    text = _typed(wants, noun, words)
    if kind == "misspelling" and words.random() < gap:
        slipped = misspelt(text, words)
        if slipped == text:
            return None
        text = slipped
    return Query(text, kind, Intent(int(truth.leaf[item]), tuple(wants)))


def _wants(truth: Truth, item: int, leaf: Leaf, base: str, words: Random) -> list[Want] | None:
    if base == "head":
        return []
    if base == "brand":
        return [Want("brand", truth.brands[truth.brand[item]])]
    if base == "use":
        return [Want("use", truth.uses[truth.use[item]])]
    if base == "price":
        dollars = truth.price_cents[item] / 100 * words.uniform(1.02, 1.4)
        step = 1 if dollars < 10 else 5 if dollars < 60 else 10 if dollars < 200 else 50
        return [Want("price_cents", number=100.0 * step * int(np.ceil(dollars / step)))]
    able = [want for kind in leaf.attributes if (want := _attribute(truth, item, kind, words)) is not None]
    wanted = 2 if base == "tail" else 1
    return words.sample(able, wanted) if len(able) >= wanted else None


def _attribute(truth: Truth, item: int, kind: str, words: Random) -> Want | None:
    """What the item has of this kind, in half of the cases named by its family ("blue" for a navy item)."""
    name, _, numbers, _ = KINDS[kind]
    if numbers:
        return None if name in UNASKED else Want(name, number=float(truth.numbers[name][item]))
    text, family = TEXTS[truth.texts[name][item]], TEXTS[truth.families[name][item]]
    if text in UNASKED or name in UNASKED:
        return None
    return Want(name, family if words.random() < 0.5 else text, family)


def _typed(wants: list[Want], noun: str, words: Random) -> str:
    """The words of a query: usually the wants before the noun, sometimes after it."""
    front: list[str] = []
    back: list[str] = []
    for want in wants:
        if want.field == "price_cents":
            back.append(f"{words.choice(('under', 'below', 'max'))} ${want.number / 100:g}")
        elif want.field == "use":
            back.append(f"for {want.text}")
        elif want.text:
            (front if words.random() < 0.85 else back).append(_asked(want.text))
        else:
            unit = next(
                (k.unit or k.name for k in KINDS.values() if k.name == want.field and want.number in k.numbers), ""
            )
            front.append(f"{want.number:g} {unit}".strip())
    return " ".join([*front, noun, *back]).lower()


def _asked(text: str) -> str:
    return {"women": "womens", "men": "mens"}.get(text, text)


def plural(noun: str) -> str:
    """The plural of an English noun, by the usual endings."""
    if noun.endswith(("s", "sh", "ch", "x")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
