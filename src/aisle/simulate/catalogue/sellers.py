"""How sellers write: titles in five styles and short descriptions, with filler words, abbreviations and slips.

All texts of a catalogue are put together at once: each is a row of cells, a cell is the number of a phrase in a
language's ``Bank``, and the cells of a row are joined with blanks.

Legend: N items, A places of attributes, C cells of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.draws import key_of, mixed, uniform
from aisle.core.lists import Array
from aisle.simulate.catalogue.bank import NOTHING, Bank
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.catalogue.truth import bits


@dataclass(frozen=True, eq=False)
class Facts:
    """What the sellers of N items know.

    leaf, brand, use, look, style, model   integer[N]; style 0 to 4, model below NUM_MODELS
    entry      int16[N, A] values as this seller writes them, -1 where there is none
    varies     int8[N]     the place of the attribute by which variants differ, -1 for a product without variants
    key        uint64[N]   of the item
    """

    leaf: Array
    brand: Array
    use: Array
    look: Array
    style: Array
    model: Array
    entry: Array
    varies: Array
    key: Array

    def take(self, rows: Array) -> Facts:
        return Facts(*(getattr(self, field.name)[rows] for field in fields(self)))


TOLD_IN_TITLE = (0.85, 0.9, 0.85, 0.8, 0.5)
"""By style: how often an attribute stands in the title."""


def titles(facts: Facts, words: Bank, gap: float) -> tuple[pa.Array, Array]:
    """string[N] titles, and uint8[N] which attributes stand in them.

    style: 0 brand first, 1 attributes first, 2 noun first, 3 stuffed with filler, 4 short.
    Styles 0 and 3 at times put a word that shoppers use behind the noun.
    """
    draw = _Draws(facts.key, "title")
    front, back = _told_in_title(facts, words, gap, draw)
    noun = _noun(facts, words, gap, draw)
    opening, ending = _by_style(facts, words, noun, gap, draw)
    stuffs = (facts.style == 0) & (draw() < 0.4) | (facts.style == 3) & (draw() < 0.6)
    phrases, reverse = words.entry[facts.entry], facts.style == 2
    cells = np.concatenate(
        [
            opening,
            np.where(front, phrases, NOTHING),
            np.where(reverse, NOTHING, noun)[:, None],
            np.where(stuffs, words.synonym[facts.leaf], NOTHING)[:, None],
            np.where(back, phrases, NOTHING),
            ending,
        ],
        axis=1,
    )
    cells = _abbreviated(cells, words, gap, draw)
    headline = (facts.style == 0) | reverse
    cells = np.where((cells >= 0) & headline[:, None], cells + 2 * words.size, cells)
    _with_commas(cells, reverse, front, opening.shape[1], words.size)
    _with_capital(cells, ~headline, words.size)
    slipped = np.flatnonzero(draw() < 0.04 * gap)
    return _misspelt_at(words.joined(cells), slipped, facts.key), bits(front | back)


def _told_in_title(facts: Facts, words: Bank, gap: float, draw: _Draws) -> tuple[Array, Array]:
    """bool[N, A] the attributes before the noun and those, amounts, behind it."""
    places = facts.entry.shape[1]
    chance = np.array(TOLD_IN_TITLE)[facts.style] if gap else np.ones(len(facts.style))
    varies = np.arange(places) == facts.varies[:, None]
    told = _sayable(facts, words) & ((draw.grid(places) < chance[:, None]) | varies)
    amount = words.is_amount[facts.entry]
    front, back = told & ~amount, told & amount
    short, reverse = facts.style == 4, facts.style == 2
    front[short] &= np.cumsum(front[short], axis=1) == 1
    back[short] &= np.cumsum(back[short], axis=1) == 1
    front[reverse], back[reverse] = told[reverse], False
    return front, back


def _by_style(facts: Facts, words: Bank, noun: Array, gap: float, draw: _Draws) -> tuple[Array, Array]:
    """int64[N, 4] cells before the attributes, and int64[N, 3] after them."""
    electronics = np.array([leaf.department == "Electronics" for leaf in LEAVES])[facts.leaf]
    model = np.where(draw() < np.where(electronics, 0.7, 0.25), words.model[facts.model], NOTHING)
    use = words.use[facts.use, (3 * draw()).astype(np.int64) if gap else 0]
    fillers = len(words.filler)
    first = (fillers * draw()).astype(np.int64)
    last = (first + 1 + ((fillers - 1) * draw()).astype(np.int64)) % fillers
    brand, none = words.brand[facts.brand], np.full(len(facts.leaf), NOTHING)
    dash, by = np.full(len(facts.leaf), words.dash), np.full(len(facts.leaf), words.by)
    styles = (
        ((brand, model, none, none), (none, none, none)),
        ((none, none, none, none), (by, brand, none)),
        ((noun, model, dash, brand), (none, none, none)),
        ((words.filler[first], brand, none, none), (use, dash, words.filler[last])),
        ((brand, model, none, none), (none, none, none)),
    )
    before, after = zip(*styles, strict=True)
    opening, ending = (
        np.stack([np.choose(facts.style, cell) for cell in zip(*side, strict=True)], axis=1) for side in (before, after)
    )
    return opening, ending


def descriptions(facts: Facts, words: Bank, gap: float) -> tuple[pa.Array, Array, Array]:
    """string[N] of one to three sentences, uint8[N] which attributes stand in them, and int8[N] as ``Told.use``.

    Nearly always one says what the item is for, often in other words than shoppers use.
    """
    draw = _Draws(facts.key, "description")
    opening = words.joined(_opening(facts, words, gap, draw))
    says_use = draw() >= 0.08 * gap
    paraphrased = draw() < 0.75 * gap
    wordings = np.where(paraphrased, 1 + (2 * draw()).astype(np.int64), 0)
    use = words.phrases(np.where(says_use, words.use[facts.use, wordings], NOTHING))
    first = pc.binary_join_element_wise(opening, use, ", ", null_handling="skip")
    second, told_NA = _two_attributes(facts, words, draw)
    closing = words.closing[(len(words.closing) * draw()).astype(np.int64)] + words.size
    third = words.phrases(np.where(draw() < 0.4, closing, NOTHING))
    body = pc.binary_join_element_wise(first, second, third, ". ", null_handling="skip")
    told_use = np.where(says_use, np.where(paraphrased, 2, 1), 0).astype(np.int8)
    return pc.binary_join_element_wise(body, "", "."), bits(told_NA), told_use


def _opening(facts: Facts, words: Bank, gap: float, draw: _Draws) -> Array:
    """int64[N, C]: what the item is, with a word on how it looks or wears."""
    count = len(facts.leaf)
    look = words.look[facts.look, (words.look.shape[1] * draw()).astype(np.int64)]
    first, second = (words.adjective[(len(words.adjective) * draw()).astype(np.int64)] for _ in range(2))
    named = {
        "{noun}": _noun(facts, words, gap, draw),
        "{brand}": words.brand[facts.brand],
        "{adjective}": np.where(draw() < 0.6, look, first),
        "{second}": second,
    }
    which = (len(words.openings) * draw()).astype(np.int64)
    columns = []
    for place in range(max(map(len, words.openings))):
        options = [opening[place] if place < len(opening) else NOTHING for opening in words.openings]
        columns.append(np.choose(which, [named[o] if isinstance(o, str) else np.full(count, o) for o in options]))
    cells = np.stack(columns, axis=1)
    _with_capital(cells, np.ones(count, bool), words.size)
    return cells


def _two_attributes(facts: Facts, words: Bank, draw: _Draws) -> tuple[pa.Array, Array]:
    """string[N]: a sentence on up to two attributes, null for none; and bool[N, A] which."""
    sayable = _sayable(facts, words)
    rank = np.argsort(np.where(sayable, draw.grid(facts.entry.shape[1]), 2.0), axis=1)[:, :2]
    tells = (draw() < 0.7)[:, None] & np.take_along_axis(sayable, rank, 1)
    pair = np.where(tells, words.entry[np.take_along_axis(facts.entry, rank, 1)], NOTHING)
    _with_capital(pair, np.ones(len(pair), bool), words.size)
    one, two = words.phrases(pair[:, 0]), words.phrases(pair[:, 1])
    # A row of nulls only would be dropped by the join.
    both = pc.binary_join_element_wise(one.fill_null(""), two, f" {words.conjunction} ", null_handling="skip")
    told_NA = np.zeros(facts.entry.shape, bool)
    np.put_along_axis(told_NA, rank, tells, 1)
    return pc.if_else(one.is_null(), pa.scalar(None, pa.string()), both), told_NA


def _sayable(facts: Facts, words: Bank) -> Array:
    """bool[N, A]: attributes that an item has and that sellers write out."""
    sayable: Array = (facts.entry >= 0) & ~words.silent[facts.entry]
    return sayable


def misspelt(text: str, words: Random) -> str:
    """The text with one slip in one of its longer words: two letters swapped, one lost, or one doubled."""
    tokens = text.split(" ")
    long = [n for n, token in enumerate(tokens) if len(token) > 4 and token.isalpha()]
    if not long:
        return text
    n = words.choice(long)
    at = words.randrange(1, len(tokens[n]) - 2)
    word = tokens[n]
    slips = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    )
    changed = [slip for slip in slips if slip != word]
    tokens[n] = words.choice(changed)
    return " ".join(tokens)


class _Draws:
    """Numbers in [0, 1) for N items: each call gives the next column."""

    def __init__(self, key: Array, what: str) -> None:
        self.key, self._num = mixed(key, key_of(what)), 0

    def __call__(self) -> Array:
        self._num += 1
        return uniform(self.key, self._num)

    def grid(self, columns: int) -> Array:
        return np.stack([self() for _ in range(columns)], axis=1)


def _noun(facts: Facts, words: Bank, gap: float, draw: _Draws) -> Array:
    """int64[N]: mostly the usual noun of the shelf."""
    unusual = draw() < 0.2 * gap
    return np.where(unusual, words.other_noun[facts.leaf], words.noun[facts.leaf])


def _abbreviated(cells_NC: Array, words: Bank, gap: float, draw: _Draws) -> Array:
    row, column = np.nonzero((cells_NC >= 0) & (words.short[cells_NC] != cells_NC))
    short = uniform(mixed(draw.key[row], column)) < 0.2 * gap
    row, column = row[short], column[short]
    cells_NC[row, column] = words.short[cells_NC[row, column]]
    return cells_NC


def _with_commas(cells_NC: Array, rows: Array, told_NA: Array, start: int, size: int) -> None:
    """Adds a comma to every attribute of these rows but the last."""
    row, place = np.nonzero(told_NA & rows[:, None])
    last = told_NA.shape[1] - 1 - np.argmax(told_NA[:, ::-1], axis=1)
    inner = place < last[row]
    cells_NC[row[inner], start + place[inner]] += size


def _with_capital(cells_NC: Array, rows: Array, size: int) -> None:
    """Begins these rows with a large letter."""
    first = np.argmax(cells_NC >= 0, axis=1)
    chosen = np.flatnonzero(rows & (cells_NC >= 0).any(axis=1))
    cells_NC[chosen, first[chosen]] += size


def _misspelt_at(texts: pa.Array, rows: Array, key: Array) -> pa.Array:
    if not len(rows):
        return texts
    slipped = [
        misspelt(t, Random(int(k))) for t, k in zip(texts.take(pa.array(rows)).to_pylist(), key[rows], strict=True)
    ]
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(slipped, texts.type))
