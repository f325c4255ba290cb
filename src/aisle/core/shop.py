"""What a method may see of a shop, as protocols.  ``aisle.data`` and ``aisle.engine`` implement them.

Legend: I items (rows, tombstones included), N chosen rows, Q requests, K cut-off, D width, E events, J judgments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from aisle.core.bags import Bags
from aisle.core.filters import Sort
from aisle.core.lists import Array, ItemLists, Ragged
from aisle.core.requests import Requests, RowMasks


class Items(Protocol):
    """The catalogue by row.  Rows are append-only within a generation; a deleted item leaves a tombstone."""

    @property
    def generation(self) -> int: ...

    @property
    def num_rows(self) -> int: ...

    @property
    def live(self) -> Array:
        """bool[I]: neither deleted nor inactive."""
        ...

    def ids(self, rows: Array) -> list[str]:
        """The shop's ids of these rows."""
        ...

    def rows_of(self, item_ids: Sequence[str]) -> Array:
        """int32[N] rows of these ids, -1 where unknown."""
        ...

    def text(self, field: str, rows: Array | None = None) -> list[str]:
        """Text of a field, "" where missing; list fields are joined by blanks, ``attributes`` read 'name value'."""
        ...

    def number(self, field: str, rows: Array | None = None) -> Array:
        """float64[N] of a numeric column or numeric attribute, NaN where missing."""
        ...

    def unit(self, field: str) -> str:
        """The unit in which ``number`` gives an attribute; "" where there is none."""
        ...

    def codes(self, field: str) -> tuple[Ragged, list[str]]:
        """A text field or text attribute of all rows as int32 codes, and the labels they stand for.

        Multi-valued; a category row holds every prefix of its paths ('Home', 'Home > Kitchen').
        """
        ...

    def group(self) -> Array:
        """int32[I]: variants of one product share a number."""
        ...

    def facet_fields(self) -> list[str]:
        """Fields worth a facet, most filled first: category, brand, price_cents, rating, attributes."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """E events in time order, as columns.

    time_s float64, user int64 (hash), session int64, request int64, scene int8, query int32 (index into ``queries``, -1 none),
    item int32 (row, -1 unknown), position int32, action int8, quantity int32, price_cents int64, propensity float64.
    """

    columns: Mapping[str, Array]
    queries: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.columns["time_s"])

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def take(self, rows: Array) -> Events:
        return Events({n: c[rows] for n, c in self.columns.items()}, self.queries)


@dataclass(frozen=True, slots=True, eq=False)
class Judgments:
    """Graded (query, item) pairs.  ``lists`` has one list a query with column ``grade`` int32; ``gains`` maps grade to gain."""

    query: Sequence[str]
    lists: ItemLists
    gains: Mapping[int, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.query)

    def gain(self) -> Array:
        """float64[N]: the gain of each judged pair (its grade where no map is given)."""
        grade = self.lists["grade"]
        if not self.gains:
            return grade.astype(np.float64)
        table = {int(g): float(v) for g, v in self.gains.items()}
        return np.array([table.get(int(g), 0.0) for g in grade], np.float64)

    def digest(self) -> str:
        """Names what was judged and how: another query, item, grade or gain is another digest."""
        words = json.dumps([list(self.query), sorted((int(g), float(v)) for g, v in self.gains.items())])
        found = hashlib.sha256(words.encode())
        for column in (self.lists.splits, self.lists.item, self.lists["grade"]):
            found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()[:12]

    def select(self, queries: Array) -> Judgments:
        return Judgments([self.query[int(q)] for q in queries], self.lists.select(queries), self.gains)


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A windowed count of events by item: one declaration, evaluated as of a time offline and by the online store.

    action: which events count. window_s: how far back (inf: all). half_life_s: decay (inf: none).
    per_query: count an item's events of one query only.
    """

    name: str
    action: str
    window_s: float = float("inf")
    half_life_s: float = float("inf")
    per_query: bool = False


class Counts(Protocol):
    """Where counters are answered: by a view of the shop when fitting, by ``Env`` when serving."""

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """float64[N]: the counter of ``rows[n]`` strictly before ``at_s[n]``.

        query: int64[N] by ``core.requests.query_ids``, for a counter per query; nothing is counted for -1.
        """
        ...


class ShopView(Protocol):
    """All that ``fit`` may see: the shop as it was at ``until_s``."""

    @property
    def until_s(self) -> float: ...

    @property
    def generation(self) -> int: ...

    @property
    def items(self) -> Items: ...

    @property
    def events(self) -> Events: ...

    def judgments(self, part: str = "train") -> Judgments:
        """Judgments of the ``train`` or ``validation`` queries; empty when there are none."""
        ...

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """float64[N]: ``Counts.counts``, never later than ``until_s``."""
        ...

    def histories(self, users: Array, at_s: Array, limit: int = 50) -> ItemLists:
        """What each user (int64 hash) did strictly before ``at_s[u]``, oldest first, impressions left out: one list a user
        with columns ``action`` int8 and ``time_s`` float64."""
        ...


TEXT_FIELDS = ("title", "brand", "category", "attributes", "description", "merchant")
TEXT_WEIGHTS: Mapping[str, float] = {
    "title": 1.0,
    "brand": 0.5,
    "category": 0.3,
    "attributes": 0.5,
    "description": 0.15,
    "merchant": 0.3,
    "pairs": 0.6,
    "all_words": 5.0,
}
"""Of each field (a title names the product, a description mentions much that it is not); of ``pairs``, two neighbouring query
words standing together in the title; ``all_words`` is added to an item that holds every word of a query of several.  A weight
that is left out is 0: fields alone are plain BM25."""


class Asked(NamedTuple):
    """What a query asks for, and what it says no to.

    wanted    the query without what it says no to: what an encoder reads
    unwanted  what it says no to in words ("without plastic"), as it was typed
    has       bool[I]: rows that have that, which count less; None where nothing is unwanted
    denies    bool[I]: rows that say themselves that they have it not; None where nothing is unwanted
    excluded  bool[I]: rows that an operator excludes ("-red"); None without one
    """

    wanted: str
    unwanted: tuple[str, ...] = ()
    has: Array | None = None
    denies: Array | None = None
    excluded: Array | None = None


class TextIndex(Protocol):
    """BM25 over weighted fields; empty weights stand for ``TEXT_WEIGHTS``."""

    def asked(self, query: str) -> Asked:
        """What a query asks for, and what it says no to."""
        ...

    def search(self, queries: Sequence[str], k: int, masks: RowMasks, weights: Mapping[str, float]) -> ItemLists:
        """The k best allowed rows of each query with column ``score`` float32."""
        ...

    def score(self, queries: Sequence[str], candidates: ItemLists, weights: Mapping[str, float]) -> Array:
        """float32[N]: what ``search`` would have given these rows; 0 where no word matches."""
        ...

    def match(self, query: str, weights: Mapping[str, float]) -> Array:
        """bool[I]: the match set of a query, before filters; every row for an empty query."""
        ...

    def suggest(self, query: str) -> str | None:
        """Did-you-mean: the query with its unknown words mended, or None when there is nothing to mend."""
        ...

    def suggestion(self, query: str) -> tuple[str, float] | None:
        """Did-you-mean and how sure it is, 0 to 1."""
        ...

    def terms(self, query: str) -> list[str]:
        """The analysed words of a query."""
        ...

    def matched_fields(self, query: str, row: int) -> Mapping[str, tuple[str, ...]]:
        """Field -> the query's words found there, for explanations."""
        ...


class VectorIndex(Protocol):
    """Nearest rows by inner product of unit vectors, under a filter."""

    @property
    def dim(self) -> int: ...

    @property
    def num_rows(self) -> int: ...

    def search(self, query_QD: Array, k: int, masks: RowMasks) -> ItemLists:
        """The k nearest allowed rows of each query with column ``score`` float32."""
        ...

    def score(self, query_QD: Array, candidates: ItemLists) -> Array:
        """float32[N]: exact inner products; NaN for rows without a vector yet."""
        ...

    def vectors(self, rows: Array) -> Array:
        """float32[N, D]; zero for rows without a vector yet."""
        ...

    def has(self, rows: Array) -> Array:
        """bool[N]: the row has a vector."""
        ...


class SparseIndex(Protocol):
    """Rows by the weighted terms they share with a query: the bags of learned sparse methods."""

    @property
    def num_rows(self) -> int:
        """Rows that have a bag, empty ones included."""
        ...

    def search(self, queries: Bags, k: int, masks: RowMasks) -> ItemLists:
        """The k best allowed rows of each query, those sharing a term with it, with column ``score`` float32."""
        ...

    def score(self, queries: Bags, candidates: ItemLists) -> Array:
        """float32[N]: what ``search`` gives these rows; 0 where no term is shared, NaN for rows without a bag."""
        ...

    def bag(self, row: int) -> Mapping[int, float]:
        """Term to weight of a row as it is searched, overrides included, for explanations."""
        ...

    def put(self, rows: Array, bags: Bags) -> None:
        """Store these rows' bags, in place of those they had; the next search finds them."""
        ...

    def delete(self, rows: Array) -> None:
        """Forget these rows' bags."""
        ...

    def scale_term(self, term: int, factor: float) -> None:
        """Multiply a term's weight in every row: 0 switches it off, 1 takes the override back."""
        ...

    def set_weight(self, row: int, term: int, weight: float | None) -> None:
        """Give one row this weight for a term, whatever bag is put later; 0 takes the term away, None the override."""
        ...


class Tally(NamedTuple):
    """
    rows    allowed rows of a match set
    groups  products among them, variants counted once
    facets  field -> counts by product, each facet without its own selection
    """

    rows: int
    groups: int
    facets: Mapping[str, Any]


class Engine(Protocol):
    """The indexes of one catalogue generation.  Answers for rows added after a stage was fitted."""

    @property
    def generation(self) -> int: ...

    @property
    def sequence(self) -> int:
        """The last log record that every index has applied."""
        ...

    @property
    def items(self) -> Items: ...

    @property
    def text(self) -> TextIndex: ...

    def vectors(self, encoder: str) -> VectorIndex:
        """The vectors of a named encoder.  Raises UnknownName when they were not built."""
        ...

    def put_vectors(self, encoder: str, rows: Array, vectors_ND: Array) -> None:
        """Add or replace vectors of an encoder; its index is made with the first ones."""
        ...

    def save_vectors(self, encoder: str) -> None:
        """Keep the vectors of an encoder in the generation's folder, atomically; nothing where the engine is in memory."""
        ...

    def reopen(self) -> bool:
        """Go over to what another process has saved since; returns whether that was anything."""
        ...

    def sparse(self, name: str) -> SparseIndex:
        """The bags of a named model.  Raises UnknownName when none were put."""
        ...

    def put_sparse(self, name: str, rows: Array, bags: Bags) -> None:
        """Add or replace bags of a model; its index is made with the first ones."""
        ...

    def save_sparse(self, name: str) -> None:
        """Keep the bags of a model in the generation's folder, atomically; nothing where the engine is in memory."""
        ...

    def compile(self, requests: Requests) -> Requests:
        """The same requests with ``allowed``: their filters and the live rows as bitmaps, each distinct filter once."""
        ...

    def count(self, requests: Requests, match: Sequence[Array | None], fields: Sequence[str]) -> list[Tally]:
        """What a page counts of each request's match set (bool[I], None: every row) under its filter."""
        ...

    def order(self, rows: Array, sort: Sort | None) -> Array:
        """``rows`` (int32[N]) in the order of a column, or in the engine's own when sort is None."""
        ...
