"""Segment: the words and postings of some rows, never changed once made; on disk it is memory-mapped.

Legend: D documents (living rows when it was made), F fields, W words, T terms of a segment, P postings, L lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aisle.core.lists import Array, Ragged, splits_of
from aisle.core.shop import TEXT_FIELDS
from aisle.engine.embedded import text_kernels as kernels
from aisle.engine.embedded.compiled import frozen

NUM_FIELDS = len(TEXT_FIELDS)


def _length(code: int) -> int:
    """The length that one byte stands for: 24 small ones, then a mantissa of 3 bits and an exponent."""
    if code < 24:
        return code
    exponent, mantissa = divmod(code - 24, 8)
    return 24 + (mantissa if exponent == 0 else (mantissa + 8) << (exponent - 1))


LENGTH_L = np.array([_length(code) for code in range(256)])
"""Lengths of a field that are told apart, as Lucene does: all up to 40 words, then in steps of an eighth at most.  One byte
a field keeps the lengths and the tables by length in the processor's cache."""
ARRAYS = ("rows", "words", "splits", "ids", "id_docs", "terms", "starts", "docs", "tfs", "lengths")


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """
    rows       int32[D]     ascending
    words      int32        words of all documents, field by field (numbers of the lexicon, -1 left out)
    splits     uint32[F*D+1]
    ids        uint64[D]    hashes of the rows' item ids, ascending
    id_docs    int32[D]     the document of each
    terms      int32[T]     ascending
    starts     int64[T*F+1]
    docs       int32[P]     documents of each (term, field), ascending
    tfs        uint8[P]
    lengths    uint8[F, D]  the length of each field, as a place in LENGTH_L
    """

    rows: Array
    words: Array
    splits: Array
    ids: Array
    id_docs: Array
    terms: Array
    starts: Array
    docs: Array
    tfs: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def made(cls, rows: Array, words: Array, splits: Array, ids: Array, term_W: Array) -> Segment:
        """Of the words of ascending rows, field by field, and the hash of each row's id; ``term_W`` is each word's term."""
        terms, local_W = _local(words, term_W)
        words, splits, local_W = frozen(words.astype(np.int32)), frozen(splits.astype(np.uint32)), frozen(local_W)
        starts, docs, tfs = kernels.inverted(words, splits, local_W, len(terms), NUM_FIELDS)
        length = np.diff(splits.astype(np.int64))
        lengths = (np.searchsorted(LENGTH_L, length, side="right") - 1).astype(np.uint8).reshape(NUM_FIELDS, -1)
        by_id = np.argsort(ids, kind="stable")
        arrays = (rows.astype(np.int32), words, splits, ids[by_id].astype(np.uint64), by_id.astype(np.int32))
        return cls(*map(frozen, (*arrays, terms, starts, docs, tfs, lengths)))

    def num_words(self, docs: Array) -> Array:
        """int64[F]: words of these documents, by field."""
        size = len(self.rows)
        starts = docs + size * np.arange(NUM_FIELDS)[:, None]
        words_F: Array = (self.splits[starts + 1].astype(np.int64) - self.splits[starts]).sum(1)
        return words_F

    def documents(self, docs: Array) -> tuple[Array, list[Ragged], Array]:
        """Rows, words by field, and ids' hashes of these documents."""
        ids = np.empty(len(self.rows), np.uint64)
        ids[self.id_docs] = self.ids
        return self.rows[docs], [self.field(f).take(docs) for f in range(NUM_FIELDS)], ids[docs]

    def field(self, number: int) -> Ragged:
        """The words of a field of all documents."""
        size = len(self.rows)
        return Ragged(self.words, self.splits[number * size : (number + 1) * size + 1])

    def docs_of(self, rows: Array) -> Array:
        """int64: where those of the rows that stand here stand."""
        at = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        found: Array = at[self.rows[at] == rows] if len(self.rows) else at[:0]
        return found

    def lists(self, term: int) -> tuple[int, int]:
        """Where the term's first posting list stands among all, and how many it has (F, or 0 when it is unknown)."""
        at = int(np.searchsorted(self.terms, term))
        known = at < len(self.terms) and self.terms[at] == term
        return at * NUM_FIELDS, NUM_FIELDS if known else 0

    def save(self, folder: Path) -> None:
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> Segment:
        """Memory-mapped."""
        return cls(*(frozen(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS))


def merged(parts: list[tuple[Segment, Array]], term_W: Array) -> Segment:
    """One segment of the living documents of several; each part comes with its dead ones, bool[D]."""
    pieces = [segment.documents(np.flatnonzero(~dead)) for segment, dead in parts]
    rows, ids = np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[2] for piece in pieces])
    order = np.argsort(rows, kind="stable")
    fields = [concatenated([piece[1][f] for piece in pieces]).take(order) for f in range(NUM_FIELDS)]
    return Segment.made(rows[order], *flattened(fields), ids[order], term_W)


def flattened(fields: Sequence[Ragged]) -> tuple[Array, Array]:
    """Words and splits of all fields one after the other."""
    lengths = np.concatenate([np.diff(field.splits) for field in fields])
    return np.concatenate([field.values for field in fields]), splits_of(lengths)


def concatenated(parts: Sequence[Ragged]) -> Ragged:
    """The rows of all parts, one part after the other."""
    values = [np.zeros(0, np.int32), *(part.values for part in parts)]
    lengths = [np.zeros(0, np.int64), *(np.diff(part.splits) for part in parts)]
    return Ragged(np.concatenate(values), splits_of(np.concatenate(lengths)))


def _local(words: Array, term_W: Array) -> tuple[Array, Array]:
    """The terms of these words, int32[T] ascending, and each word's place among them, int32[W] (0 where it has none)."""
    there_W = np.zeros(len(term_W), bool)
    there_W[words[words >= 0]] = True
    used = term_W[there_W]
    there_T = np.zeros(int(used.max(initial=-1)) + 1, bool)
    there_T[used] = True
    place_T = np.cumsum(there_T, dtype=np.int32) - 1
    local_W = np.zeros(len(term_W), np.int32)
    local_W[there_W] = place_T[used]
    return np.flatnonzero(there_T).astype(np.int32), local_W
