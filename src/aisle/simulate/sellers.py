"""How sellers write: titles in five styles and short descriptions, with filler words, abbreviations and slips.

All texts of a catalogue are put together at once: each is a row of cells, a cell is the number of a phrase in a
language's ``Bank``, and the cells of a row are joined with blanks.

Legend: N items, A places of attributes, C cells of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.draws import key_of, mixed, uniform
from aisle.core.lists import Array
from aisle.simulate import german, wording
from aisle.simulate.taxonomy import ENTRIES, LEAVES, TEXTS, Entry

SILENT = ("plain", "conventional", "regular fit")
"""Values that nobody writes out."""

NOTHING = -1
_VOWELS = "aeio"
_NUMBERS = tuple(n * 10**zeros for zeros in range(3) for n in range(1, 10))
NUM_MODELS = len(wording.BRAND_HEADS) * len(_VOWELS) * len(_NUMBERS)


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


class Bank:
    """The phrases of one language.  Phrase n stands four times: as it is, with its first letter large, with every
    longer word's first letter large, and with a comma."""

    def __init__(self, brands: tuple[str, ...], is_german: bool) -> None:
        self.is_german = is_german
        self._phrases: list[str] = []
        source = german if is_german else wording
        self.entry = self._add(phrase(entry, is_german) for entry in ENTRIES)
        self.silent = np.array([entry.text in SILENT for entry in ENTRIES])
        self.is_amount = np.array([phrase(entry, is_german)[0].isdigit() for entry in ENTRIES])
        self.brand = self._add(brands)
        nouns = german.NOUNS if is_german else LEAVES
        self.noun = self._add(leaf.nouns[0] for leaf in nouns)
        self.other_noun = self._add(leaf.nouns[-1] for leaf in nouns)
        self.synonym = self._add(leaf.synonyms[0] for leaf in nouns)
        wordings = [(source.USES[use] * 2)[:3] for use in wording.USES]
        self.use = np.stack([self._add(column) for column in zip(*wordings, strict=True)], axis=1)
        self.filler = self._add(source.FILLERS)
        self.adjective = self._add(source.ADJECTIVES)
        self.look = np.stack([self._add(words) for words in source.LOOKS.values()])
        self.closing = self._add(source.CLOSINGS)
        self.dash, self.by = self._add(("-", "von" if is_german else "by"))
        self.model = self._add(
            f"{head}{vowel} {number}" for head in wording.BRAND_HEADS for vowel in _VOWELS for number in _NUMBERS
        )
        openings = [opening.split(" ") for opening in source.OPENINGS]
        literals = {word: int(self._add((word,))[0]) for opening in openings for word in opening if word[0] != "{"}
        self.openings = [[literals.get(word, word) for word in opening] for opening in openings]
        self.short = np.arange(len(self._phrases))
        if not is_german:
            for long, short in wording.ABBREVIATIONS.items():
                same = [n for n, text in enumerate(self._phrases) if text == long]
                self.short[same] = self._add((short,))[0]
        self.size = len(self._phrases)
        self.texts = pa.array(
            [
                *self._phrases,
                *(_upper(p) for p in self._phrases),
                *(_upper(" ".join(map(_headline, p.split(" ")))) for p in self._phrases),
                *(" ".join(map(_headline, p.split(" "))) + "," for p in self._phrases),
            ]
        )

    def _add(self, phrases: Iterable[str]) -> Array:
        start = len(self._phrases)
        self._phrases += phrases
        return np.arange(start, len(self._phrases))

    def joined(self, cells_NC: Array) -> pa.Array:
        """string[N]: the cells of each row, joined with blanks; NOTHING is left out."""
        columns = [self.texts.take(pa.array(column, mask=column < 0)) for column in cells_NC.T]
        return pc.binary_join_element_wise(*columns, " ", null_handling="skip")


@lru_cache(maxsize=8)
def bank(brands: tuple[str, ...], is_german: bool) -> Bank:
    return Bank(brands, is_german)


def titles(facts: Facts, words: Bank, gap: float) -> tuple[pa.Array, Array]:
    """string[N] titles, and uint8[N] which attributes stand in them.

    style: 0 brand first, 1 attributes first, 2 noun first, 3 stuffed with filler, 4 short.
    Styles 0 and 3 at times put a word that shoppers use behind the noun.
    """
    count, places = facts.entry.shape
    draw = _Draws(facts.key, "title")
    style = facts.style
    chance = np.array([0.85, 0.9, 0.85, 0.8, 0.5])[style] if gap else np.ones(count)
    place = np.arange(places)
    present = (facts.entry >= 0) & ~words.silent[facts.entry]
    told = present & ((draw.grid(places) < chance[:, None]) | (place == facts.varies[:, None]))
    phrases = words.entry[facts.entry]
    amount = words.is_amount[facts.entry]
    front, back = told & ~amount, told & amount
    short = style == 4
    front[short] &= np.cumsum(front[short], axis=1) == 1
    back[short] &= np.cumsum(back[short], axis=1) == 1
    reverse = style == 2
    front[reverse], back[reverse] = told[reverse], False
    told = front | back

    brand, noun = words.brand[facts.brand], _noun(facts, words, gap, draw)
    electronics = np.array([leaf.department == "Electronics" for leaf in LEAVES])[facts.leaf]
    model = np.where(draw() < np.where(electronics, 0.7, 0.25), words.model[facts.model], NOTHING)
    wordings = (3 * draw()).astype(np.int64) if gap else 0
    use = words.use[facts.use, wordings]
    fillers = len(words.filler)
    first = (fillers * draw()).astype(np.int64)
    last = (first + 1 + ((fillers - 1) * draw()).astype(np.int64)) % fillers
    stuffs = (style == 0) & (draw() < 0.4) | (style == 3) & (draw() < 0.6)
    none = np.full(count, NOTHING)
    by_style = [
        ([brand, model, none, none], [none, none, none]),
        ([none, none, none, none], [none + 1 + words.by, brand, none]),
        ([noun, model, none + 1 + words.dash, brand], [none, none, none]),
        ([words.filler[first], brand, none, none], [use, none + 1 + words.dash, words.filler[last]]),
        ([brand, model, none, none], [none, none, none]),
    ]
    opening, ending = (
        np.stack([np.choose(style, c) for c in zip(*side, strict=True)], axis=1) for side in zip(*by_style, strict=True)
    )
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
    headline = (style == 0) | reverse
    cells = np.where((cells >= 0) & headline[:, None], cells + 2 * words.size, cells)
    _with_commas(cells, reverse, front, opening.shape[1], words.size)
    _with_capital(cells, ~headline, words.size)
    slipped = np.flatnonzero(draw() < 0.04 * gap)
    return _misspelt_at(words.joined(cells), slipped, facts.key), _bits(told)


def descriptions(facts: Facts, words: Bank, gap: float) -> tuple[pa.Array, Array, Array]:
    """string[N] of one to three sentences, uint8[N] which attributes stand in them, and int8[N] as ``Told.use``.

    Nearly always one says what the item is for, often in other words than shoppers use.
    """
    draw = _Draws(facts.key, "description")
    count, places = facts.entry.shape
    look = words.look[facts.look, (words.look.shape[1] * draw()).astype(np.int64)]
    first, second = (words.adjective[(len(words.adjective) * draw()).astype(np.int64)] for _ in range(2))
    named = {
        "{noun}": _noun(facts, words, gap, draw),
        "{brand}": words.brand[facts.brand],
        "{adjective}": np.where(draw() < 0.6, look, first),
        "{second}": second,
    }
    width = max(map(len, words.openings))
    none = np.full(count, NOTHING)
    which = (len(words.openings) * draw()).astype(np.int64)
    columns = []
    for place in range(width):
        options = [opening[place] if place < len(opening) else NOTHING for opening in words.openings]
        columns.append(np.choose(which, [named[o] if isinstance(o, str) else none + 1 + o for o in options]))
    cells = np.stack(columns, axis=1)
    _with_capital(cells, np.ones(count, bool), words.size)
    says_use = draw() >= 0.08 * gap
    paraphrased = draw() < 0.75 * gap
    wordings = np.where(paraphrased, 1 + (2 * draw()).astype(np.int64), 0)
    use = np.where(says_use, words.use[facts.use, wordings], NOTHING)
    opening = pc.binary_join_element_wise(
        words.joined(cells), words.texts.take(pa.array(use, mask=use < 0)), ", ", null_handling="skip"
    )
    present = (facts.entry >= 0) & ~words.silent[facts.entry]
    rank = np.argsort(np.where(present, draw.grid(places), 2.0), axis=1)[:, :2]
    tells = (draw() < 0.7)[:, None] & np.take_along_axis(present, rank, 1)
    pair = np.where(tells, words.entry[np.take_along_axis(facts.entry, rank, 1)], NOTHING)
    _with_capital(pair, np.ones(count, bool), words.size)
    one, two = (words.texts.take(pa.array(column, mask=column < 0)) for column in pair.T)
    # A row of nulls only would be dropped by the join.
    told = pc.binary_join_element_wise(
        one.fill_null(""), two, " und " if words.is_german else " and ", null_handling="skip"
    )
    told = pc.if_else(one.is_null(), pa.scalar(None, pa.string()), told)
    closing = words.closing[(len(words.closing) * draw()).astype(np.int64)] + words.size
    closes = words.texts.take(pa.array(closing, mask=draw() >= 0.4))
    body = pc.binary_join_element_wise(opening, told, closes, ". ", null_handling="skip")
    told_NA = np.zeros(facts.entry.shape, bool)
    np.put_along_axis(told_NA, rank, tells, 1)
    told_use = np.where(says_use, np.where(paraphrased, 2, 1), 0).astype(np.int8)
    return pc.binary_join_element_wise(body, "", "."), _bits(told_NA), told_use


def phrase(entry: Entry, is_german: bool = False) -> str:
    """An attribute as written in running text: 'navy', '500 g', 'size M', '12 h battery life'."""
    name = german.NAMES.get(entry.name, entry.name) if is_german else entry.name
    if entry.text is not None:
        value = german.VALUES[TEXTS.index(entry.text)] if is_german else entry.text
        return f"{name} {value}" if entry.name == "size" else value
    amount = f"{entry.number:g}"
    if entry.unit:
        return f"{amount} {entry.unit}"
    return f"{amount} {name}" if entry.name in ("pieces", "persons", "players") else f"{name} {amount}"


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


def _bits(told_NA: Array) -> Array:
    bits: Array = (told_NA << np.arange(told_NA.shape[1])).sum(axis=1).astype(np.uint8)
    return bits


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _headline(word: str) -> str:
    return word if len(word) < 3 else _upper(word)
