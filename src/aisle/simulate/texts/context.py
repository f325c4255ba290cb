"""External text: what reviews, posts and encyclopaedias elsewhere say, some of it useful, some idle, some false.

Each text comes with what is true of it: whether it tells a fact, a falsehood or nothing, and about which attribute.  For
a query that decides its use: ``adopt`` a fact about something that was asked, ``partial`` another fact about the item,
``ignore`` all else.  Texts are made on request; the same one comes out whichever items it is asked with.

Legend: N rows, C texts of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from aisle.core.draws import key_of, mixed, uniform
from aisle.core.lists import Array
from aisle.simulate.catalogue.products import another_value
from aisle.simulate.catalogue.taxonomy import BROADER, ENTRIES, KINDS, LEAVES
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.catalogue.wording import USES, uses_of
from aisle.simulate.grades.intent import Intent
from aisle.simulate.language.needs import GOALS
from aisle.simulate.lexical import Bm25
from aisle.simulate.texts.phrasing import filled

if TYPE_CHECKING:
    from aisle.simulate.language.queries import Query
    from aisle.simulate.world import World

SOURCES = ("review", "post", "encyclopaedia")
KINDS_OF_TEXT = ("fact", "falsehood", "idle")
USES_OF_TEXT = ("ignore", "partial", "adopt")
USE = "use"
"""The field of a text about what an item is for, beside the names of attributes."""

_TOLD = {
    "review": (
        "I checked mine: {name} {value}, as clear as day.",
        "Two weeks in use. By the way, {name} {value}.",
        "What the shop does not say so well: the {name} is {value}.",
    ),
    "post": (
        "For those who wonder about the {brand} {noun}: {name} {value}.",
        "Asked the maker about my {noun}. Answer: {name} {value}.",
        "Saw the {brand} {noun} at a friend's, {name} {value}.",
    ),
    "encyclopaedia": ("{brand} {noun}. Data sheet: {name} {value}.", "{noun} (by {brand}), {name}: {value}."),
}
_MEANT = {
    "review": ("I would say: {value}.", "What I use it for? Well, {value}, that is it."),
    "post": ("The {brand} {noun} of mine, {value}.", "My {noun} from {brand}: {value}, trust me."),
    "encyclopaedia": ("{noun} by {brand}: {value}.",),
}
_IDLE = {
    "review": (
        "The driver rang twice and was friendly.",
        "Bought it with a voucher.",
        "My cousin wants one too, {other_noun} and all.",
    ),
    "post": ("Does anyone know when the next sale starts?", "I still prefer my old {other_noun}.", "First!"),
    "encyclopaedia": (
        "Most homes in the north own one {other_noun} at least.",
        "The first {noun} stood in a shop window in 1897.",
    ),
}


@dataclass(frozen=True, eq=False)
class Texts:
    """
    table   as displayed: row (of the catalogue, -1 for an encyclopaedia's entry on no item), source, text
    kind    int8[.]   truth: index into KINDS_OF_TEXT
    field   names[.]  truth: the attribute, or USE, that it talks of; "" for idle talk
    """

    table: pa.Table
    kind: Array
    field: Array

    def use(self, intent: Intent) -> Array:
        """int8[.]: index into USES_OF_TEXT for a shopper with this intent."""
        asked = np.isin(self.field, [want.field for want in intent.wants])
        use: Array = np.where(self.kind != 0, 0, np.where(asked, 2, 1)).astype(np.int8)
        return use


def about_items(truth: Truth, rows: Array, useful: float, falsehood: float, each: int = 3) -> Texts:
    """``each`` texts about each of these rows, in that order.

    useful: the share that tells a fact; falsehood: the share of the others that tells a falsehood.
    """
    row = np.repeat(rows, each)
    number = np.tile(np.arange(each), len(rows))
    key = mixed(truth.key[row], truth.member[row], key_of("external text"), number)
    source = (len(SOURCES) * _draw(key, "source")).astype(np.int64)
    kind = np.where(_draw(key, "useful") < useful, 0, np.where(_draw(key, "false") < falsehood, 1, 2)).astype(np.int8)
    entry, place = _attribute(truth, row, key, kind == 1)
    about_use = (_draw(key, "about") < 0.3) | (place < 0)
    names = np.array([e.name for e in ENTRIES])
    field = np.where(kind == 2, "", np.where(about_use, USE, names[entry]))
    use = np.where(kind == 1, _other_use(truth, row, key), truth.use[row])
    wording = (3 * _draw(key, "wording")).astype(np.int64)
    wordings = [text for use_words in USES.values() for text in (*use_words, use_words[0])[:3]]
    values = [*(e.text or f"{e.number:g} {e.unit or ''}".strip() for e in ENTRIES), *wordings]
    said = np.where(about_use, len(ENTRIES) + 3 * use + wording, entry)
    nouns = pa.array([leaf.nouns[0] for leaf in LEAVES])
    other = (truth.leaf[row] + 1 + ((len(LEAVES) - 1) * _draw(key, "other")).astype(np.int64)) % len(LEAVES)
    columns = {
        "brand": pa.array(truth.brands).take(pa.array(truth.brand[row])),
        "noun": nouns.take(pa.array(truth.leaf[row])),
        "other_noun": nouns.take(pa.array(other)),
        "name": pa.array(names).take(pa.array(entry)),
        "value": pa.array(values).take(pa.array(said)),
    }
    templates, which = _chosen(source, kind, about_use, _draw(key, "template"))
    table = pa.table(
        {
            "row": row.astype(np.int32),
            "source": pa.array(SOURCES).take(pa.array(source)),
            "text": filled(templates, which, columns),
        }
    )
    return Texts(table, kind, field)


class Entry(NamedTuple):
    """An encyclopaedia's entry: ``text``; the shelf it speaks of, -1 for none; the field and value, or the word, that it
    explains."""

    text: str
    leaf: int
    field: str = ""
    value: str = ""
    word: str = ""

    def use(self, query: Query) -> int:
        """Index into USES_OF_TEXT: adopt what explains a word that was typed or a value that is wanted, on the shelf that
        is meant; partial what else is true of that shelf or of a field that was asked for."""
        intent = query.intent
        on_shelf = self.leaf in intent.leaves
        asked = [want for want in intent.wants if want.field == self.field]
        wanted = any(self.value in (want.text, want.family, f"{want.number:g}") for want in asked)
        explains = wanted or (self.word != "" and self.word in query.text.lower())
        return 2 if explains and (on_shelf or self.leaf < 0) else int(on_shelf or bool(asked))


@lru_cache(maxsize=1)
def encyclopaedia() -> tuple[Entry, ...]:
    """Facts of the world: goals and what they take, other words for products, uses, and what values are a kind of."""
    found = []
    for goal in GOALS:
        want = goal.wants[0]
        value = want.text or f"{want.number:g}"
        found.append(Entry(f"{goal.phrase.capitalize()}: {goal.fact}", goal.leaf, want.field, value))
    for n, leaf in enumerate(LEAVES):
        noun = leaf.nouns[0]
        found += [Entry(f"{word.capitalize()} is another word for {noun}.", n, word=word) for word in leaf.synonyms]
        for use in uses_of(leaf)[:2]:
            found.append(Entry(f"People buy {noun} {USES[use][0]}: {USES[use][1]}.", n, USE, use))
    for kind in KINDS.values():
        for family, values in kind.families.items():
            broader = f", which is {BROADER[family]}" if family in BROADER else ""
            for value in values:
                if value != family:
                    text = f"{value.capitalize()} is a kind of {family}{broader}."
                    found.append(Entry(text, -1, kind.name, value))
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1)
def _index() -> Bm25:
    return Bm25([entry.text for entry in encyclopaedia()])


def looked_up(query: Query, useful: float) -> Entry | None:
    """The encyclopaedia's entry that shares most words with what was typed, None for none.  With ``useful`` 0 the
    encyclopaedia is closed."""
    if useful <= 0:
        return None
    best = _index().top(query.text, 1)
    return encyclopaedia()[int(best[0])] if len(best) else None


def context(world: World, query: Query, rows: Array, each: int = 3) -> tuple[pa.Table, Array]:
    """All external text for (query, item) pairs as displayed, columns row, source, text; and int8[.] its true use, an
    index into USES_OF_TEXT.  A text on the query itself, if there is one, stands first with row -1."""
    useful, falsehood = world.knobs.useful, world.knobs.falsehood
    texts = about_items(world.truth, rows, useful, falsehood, each)
    use = texts.use(query.intent)
    entry = looked_up(query, useful)
    if entry is None:
        return texts.table, use
    columns = {"row": [-1], "source": [SOURCES[2]], "text": [entry.text]}
    first = pa.table(columns, schema=texts.table.schema)
    return pa.concat_tables([first, texts.table]), np.concatenate([[np.int8(entry.use(query))], use])


def _draw(key: Array, what: str) -> Array:
    return uniform(mixed(key, key_of(what)))


def _attribute(truth: Truth, row: Array, key: Array, false: Array) -> tuple[Array, Array]:
    """int64[.] a value that is claimed, false ones of another kind, and its place among the attributes, -1 for none."""
    true = truth.entry[row]
    count = (true >= 0).sum(axis=1)
    place = np.minimum((count * _draw(key, "place")).astype(np.int64), np.maximum(count - 1, 0))
    other = another_value(truth.leaf[row], true, np.repeat(_draw(key, "value")[:, None], true.shape[1], axis=1))
    claimed = np.where(false[:, None], other, true)
    # Where an attribute has one value only, there is nothing false to say of it.
    nothing = (
        false & (np.take_along_axis(other, place[:, None], 1) == np.take_along_axis(true, place[:, None], 1))[:, 0]
    )
    entry = np.take_along_axis(claimed, place[:, None], 1)[:, 0].astype(np.int64)
    return np.maximum(entry, 0), np.where((count == 0) | nothing, -1, place)


def _other_use(truth: Truth, row: Array, key: Array) -> Array:
    shift = 1 + ((len(USES) - 1) * _draw(key, "other use")).astype(np.int64)
    other: Array = (truth.use[row] + shift) % len(USES)
    return other


def _chosen(source: Array, kind: Array, about_use: Array, draw: Array) -> tuple[list[str], Array]:
    """Templates, and int64[.] which of them each text takes."""
    templates: list[str] = []
    which = np.zeros(len(source), np.int64)
    sets: tuple[tuple[Mapping[str, tuple[str, ...]], Array], ...] = (
        (_TOLD, (kind != 2) & ~about_use),
        (_MEANT, (kind != 2) & about_use),
        (_IDLE, kind == 2),
    )
    for bank, here in sets:
        for n, name in enumerate(SOURCES):
            chosen = here & (source == n)
            which[chosen] = len(templates) + (len(bank[name]) * draw[chosen]).astype(np.int64)
            templates += bank[name]
    return templates, which
