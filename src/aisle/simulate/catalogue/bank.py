"""The phrases that sellers' texts are put together from, numbered, in one language.

Legend: N items, C cells of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.lists import Array
from aisle.simulate.catalogue import german, wording
from aisle.simulate.catalogue.taxonomy import ENTRIES, LEAVES, TEXTS, Entry

SILENT = ("plain", "conventional", "regular fit")
"""Values that nobody writes out."""

NOTHING = -1
_VOWELS = "aeio"
_NUMBERS = tuple(n * 10**zeros for zeros in range(3) for n in range(1, 10))
NUM_MODELS = len(wording.BRAND_HEADS) * len(_VOWELS) * len(_NUMBERS)


class Bank:
    """The phrases of one language.  Phrase n stands four times: as it is, with its first letter large, with every
    longer word's first letter large, and with a comma."""

    def __init__(self, brands: tuple[str, ...], is_german: bool) -> None:
        self.conjunction = "und" if is_german else "and"
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
        return pc.binary_join_element_wise(*map(self.phrases, cells_NC.T), " ", null_handling="skip")

    def phrases(self, cells: Array) -> pa.Array:
        """string[N]: each cell's phrase, null for NOTHING."""
        return self.texts.take(pa.array(cells, mask=cells < 0))


@lru_cache(maxsize=8)
def bank(brands: tuple[str, ...], is_german: bool) -> Bank:
    return Bank(brands, is_german)


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


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _headline(word: str) -> str:
    return word if len(word) < 3 else _upper(word)
