"""Lexicon: every word of the shop's texts, its term (the stem that is searched), and how often titles use it.

Texts become word numbers a column at a time: each distinct word is analysed once, however often it stands in the texts.

Legend: W words, N texts.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.compute as pc

from aisle.core.lists import Array, Ragged, splits_of
from aisle.engine.embedded.analysis import Analyser
from aisle.engine.embedded.spelling import Vocabulary

_TOKEN = r"[\p{Alphabetic}\p{N}]+"
"""What Tantivy's simple tokenizer takes for a word."""
LEFT_OUT = -1
FEW = 100
"""Up to so many texts are split, and new words put into the sorted list, one by one: it is quicker than all at once."""


class Lexicon:
    """Words are numbered in the order in which they came and never change.  One writer; readers need no lock.

    words   as written, in lower case
    folded  without accents
    terms   the stems
    """

    def __init__(
        self,
        analyser: Analyser,
        words: Sequence[str] = (),
        folded: Sequence[str] = (),
        terms: Sequence[str] = (),
        term_W: Sequence[int] = (),
        titles_W: Array | None = None,
    ) -> None:
        self.analyser = analyser
        self.words, self.folded, self.terms = list(words), list(folded), list(terms)
        self._term_W = np.array(term_W, np.int32)
        self.titles_W = np.zeros(len(self.words), np.int64) if titles_W is None else titles_W
        self._in_order: list[tuple[str, int]] = []
        self._number = {word: n for n, word in enumerate(self.words)}
        self._term = {term: n for n, term in enumerate(self.terms)}
        self.vocabulary = Vocabulary(self.words, self.folded, self.word)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def term_W(self) -> Array:
        """int32[W]: the term of each word."""
        return self._term_W

    def term(self, text: str) -> int:
        """The number of a term, -1 when no text has it."""
        return self._term.get(text, -1)

    def word(self, text: str) -> int:
        """The number of a word in lower case, -1 when no text has it."""
        return self._number.get(text, -1)

    def read(self, texts: Sequence[str]) -> Ragged:
        """The words of N texts, int32; words that are new get a number."""
        prepared = [self.analyser.prepared(text) if text else "" for text in texts]
        if len(texts) < FEW:
            split = [self.analyser.tokens(text) for text in prepared]
            counts = np.array([len(tokens) for tokens in split], np.int64)
            return Ragged(self._numbers(list(chain.from_iterable(split))), splits_of(counts))
        column = pl.DataFrame({"text": pl.Series(prepared, dtype=pl.String)})
        tokens = column.select(pl.col("text").str.extract_all(_TOKEN)).to_series()
        counts = tokens.list.len().to_numpy().astype(np.int64)
        coded = pc.dictionary_encode(tokens.explode(empty_as_null=False).to_arrow())
        numbers = self._numbers(coded.dictionary.to_pylist())
        return Ragged(numbers[coded.indices.to_numpy()], splits_of(counts))

    def _numbers(self, tokens: Sequence[str]) -> Array:
        """int32: the number of each distinct token, -1 for one that is too long."""
        lower = [token.lower() for token in tokens]
        unknown = {word: token for word, token in zip(lower, tokens, strict=True) if word not in self._number}
        if unknown:
            self._add(unknown)
        return np.array([self._number.get(word, LEFT_OUT) for word in lower], np.int32)

    def _add(self, unknown: Mapping[str, str]) -> None:
        """New words, each with a token that reads so in lower case."""
        new: list[int] = []
        for word, found in zip(unknown, self.analyser.each(list(unknown.values())), strict=True):
            if found is None:
                continue
            folded, term = found
            self._number[word] = len(self.words)
            self.words.append(word)
            self.folded.append(folded)
            if term not in self._term:
                self._term[term] = len(self.terms)
                self.terms.append(term)
            new.append(self._term[term])
        self._term_W = np.concatenate([self._term_W, np.array(new, np.int32)])
        self.titles_W = np.concatenate([self.titles_W, np.zeros(len(new), np.int64)])

    def count_titles(self, words: Array, by: int = 1) -> None:
        """These words stand in titles, once more (or, by -1, less) each."""
        self.titles_W = self.titles_W + by * np.bincount(words[words >= 0], minlength=len(self.words))

    def completions(self, prefix: str) -> list[int]:
        """Words that begin with a prefix, accents left out, in alphabetical order."""
        if len(self._in_order) < len(self.folded):
            self._in_order = self._sorted()
        low = bisect_left(self._in_order, (prefix, -1))
        high = bisect_left(self._in_order, (prefix + "\U0010ffff", -1))
        return [number for _, number in self._in_order[low:high]]

    def _sorted(self) -> list[tuple[str, int]]:
        """(folded, number) of every word, in order; a new list, since another thread may be reading the old one."""
        done = len(self._in_order)
        new = [(text, done + n) for n, text in enumerate(self.folded[done:])]
        if len(new) > FEW:
            return sorted(self._in_order + new)
        out = list(self._in_order)
        for entry in new:
            insort(out, entry)
        return out

    @staticmethod
    def sizes(term_W: Array) -> dict[str, int]:
        """What is saved of words with these terms, by name; a loaded lexicon must have the same."""
        size = len(term_W)
        return {"words.txt": size, "folded.txt": size, "terms.txt": int(term_W.max(initial=-1)) + 1}

    def save(self, folder: Path, term_W: Array, titles_W: Array) -> None:
        """Write the words of these terms and counts, which were taken at one moment."""
        texts_of = {"words.txt": self.words, "folded.txt": self.folded, "terms.txt": self.terms}
        for name, size in self.sizes(term_W).items():
            (folder / name).write_text("\n".join(texts_of[name][:size]), encoding="utf-8")
        np.save(folder / "term_W.npy", term_W)
        # A change that failed half way may have left words that no state knows.
        np.save(folder / "titles_W.npy", titles_W[: len(term_W)])

    @classmethod
    def load(cls, folder: Path, analyser: Analyser) -> Lexicon:
        def lines(name: str) -> list[str]:
            text = (folder / f"{name}.txt").read_text(encoding="utf-8")
            return text.split("\n") if text else []

        term_W, titles_W = np.load(folder / "term_W.npy"), np.load(folder / "titles_W.npy")
        loaded = cls(analyser, lines("words"), lines("folded"), lines("terms"), term_W, titles_W)
        lengths = (len(loaded.words), len(loaded.folded), len(loaded.terms))
        if lengths != tuple(cls.sizes(term_W).values()) or len(titles_W) != len(term_W):
            raise ValueError(f"the lexicon has {lengths} words, folded words and terms, expected {cls.sizes(term_W)}")
        return loaded
