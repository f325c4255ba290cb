"""From parsed words to Tantivy queries: what scores, and what belongs to the match set.

A word scores as the weighted sum of its BM25 in every field; as weighted, two neighbouring words that stand together in the
title score again, and an item with every word scores a constant more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil

import tantivy
from tantivy import Occur

from aisle.core.lists import Array
from aisle.core.shop import TEXT_FIELDS, TEXT_WEIGHTS
from aisle.engine.embedded.analysis import Query, Word, valid

LONGEST_ID = 1000
ID_SCORE = 1000.0
"""Score of the item whose id the query is: above any sum of BM25."""


class QueryBuilder:
    """Builds the queries of one schema under one set of field weights."""

    def __init__(self, schema: tantivy.Schema, weights: Mapping[str, float]) -> None:
        self._schema = schema
        weights = weights or TEXT_WEIGHTS
        self._weights = {f: w for f, w in weights.items() if w > 0 and f in TEXT_FIELDS}
        self._pair_weight = weights.get("pairs", 0.0)
        self._all_words = weights.get("all_words", 0.0)

    def scoring(self, query: Query, item_id: str) -> tantivy.Query | None:
        """What ``search`` and ``score`` run; None when nothing is wanted."""
        words = query.scoring
        parts = [(Occur.Should, self._word(w.term)) for w in words]
        if self._pair_weight > 0:
            pairs = pairwise(query.words)
            parts += [(Occur.Should, self._pair(a, b)) for a, b in pairs if a.term != b.term]
        if len(words) > 1 and self._all_words > 0:
            every = tantivy.Query.boolean_query([(Occur.Must, self._word(w.term)) for w in words])
            parts.append((Occur.Should, tantivy.Query.const_score_query(every, self._all_words)))
        if not parts:
            return None
        wanted = tantivy.Query.boolean_query(parts + self._conditions(query))
        return tantivy.Query.boolean_query([(Occur.Should, wanted), (Occur.Should, self._id(item_id))])

    def matching(self, query: Query, item_id: str, num_words: int) -> tantivy.Query:
        """Rows with at least ``num_words`` of the words, every phrase and nothing that is excluded; or with that id."""
        parts = self._conditions(query)
        if query.words:
            terms = dict.fromkeys(w.term for w in query.words)
            some = [(Occur.Should, self._word(term)) for term in terms]
            parts.append((Occur.Must, tantivy.Query.boolean_query(some, minimum_number_should_match=num_words)))
        elif not query.phrases:
            parts.append((Occur.Must, tantivy.Query.all_query()))
        wanted = tantivy.Query.boolean_query(parts)
        return tantivy.Query.boolean_query([(Occur.Should, wanted), (Occur.Should, self._id(item_id))])

    def rows(self, rows: Array) -> tantivy.Query:
        """These rows, without a share in the score."""
        chosen = tantivy.Query.term_set_query(self._schema, "row", rows.tolist())
        return tantivy.Query.const_score_query(chosen, 0.0)

    def within(self, query: tantivy.Query, rows: tantivy.Query) -> tantivy.Query:
        """The query over those rows only, its scores unchanged."""
        return tantivy.Query.boolean_query([(Occur.Must, query), (Occur.Must, rows)])

    def _conditions(self, query: Query) -> list[tuple[Occur, tantivy.Query]]:
        must = [(Occur.Must, self._phrase(p)) for p in query.phrases]
        return must + [(Occur.MustNot, self._phrase(p)) for p in query.excluded]

    def _word(self, term: str) -> tantivy.Query:
        return self._any([(tantivy.Query.term_query(self._schema, f, term), w) for f, w in self._weights.items()])

    def _phrase(self, words: Sequence[Word]) -> tantivy.Query:
        if len(words) == 1:
            return self._word(words[0].term)
        start = words[0].position
        placed: list[str | tuple[int, str]] = [(w.position - start, w.term) for w in words]
        return self._any([(tantivy.Query.phrase_query(self._schema, f, placed), w) for f, w in self._weights.items()])

    def _pair(self, first: Word, second: Word) -> tantivy.Query:
        placed: list[str | tuple[int, str]] = [(0, first.term), (second.position - first.position, second.term)]
        phrase = tantivy.Query.phrase_query(self._schema, "title", placed)
        return tantivy.Query.boost_query(phrase, self._pair_weight)

    def _id(self, item_id: str) -> tantivy.Query:
        return tantivy.Query.const_score_query(tantivy.Query.term_query(self._schema, "item_id", item_id), ID_SCORE)

    @staticmethod
    def _any(weighted: Sequence[tuple[tantivy.Query, float]]) -> tantivy.Query:
        return tantivy.Query.boolean_query([(Occur.Should, tantivy.Query.boost_query(q, w)) for q, w in weighted])


def words_needed(num_words: int) -> int:
    """How many of a query's words an item must hold: both of two, three quarters (rounded up) of more."""
    return num_words if num_words <= 2 else ceil(0.75 * num_words)


def normal_id(text: str) -> str:
    """An item id as it is indexed and looked up: no surrounding blanks, any case, valid Unicode."""
    return valid(text).strip().lower()[:LONGEST_ID]
