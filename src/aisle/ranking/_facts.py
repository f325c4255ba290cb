"""What rankers read of an item: ids and numbers that stand in the catalogue, kept by row as they are met.

Legend: I items, N rows, F id fields, W words of a title, D numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from aisle.core.lists import Array
from aisle.core.requests import hashed
from aisle.core.shop import Items

TITLE_WORDS = 12
ID_FIELDS = ("brand", "category", "merchant")
NUMBERS = ("log_price", "discount", "rating", "rating_known", "log_ratings", "in_stock")
CATALOGUE_FIELDS = frozenset({"brand", "category", "price_cents", "rating"})
WORD = re.compile(r"[^\W_]+")


@lru_cache(maxsize=1_000_000)
def word_id(word: str) -> int:
    return hashed(word)


def word_ids(texts: Sequence[str], length: int) -> Array:
    """int64[N, length]: ids of the first words of each text, -1 past its end."""
    ids = np.full((len(texts), length), -1, np.int64)
    for row, text in enumerate(texts):
        words = WORD.findall(text.lower())[:length]
        ids[row, : len(words)] = [word_id(word) for word in words]
    return ids


def text_ids(texts: Sequence[str]) -> Array:
    """int64[N]: a hash of each text, -1 for an empty one; each distinct text is hashed once."""
    distinct, which = np.unique(np.array(texts, object), return_inverse=True)
    return np.array([hashed(text) for text in distinct], np.int64)[which]


def attributes_of(items: Items, count: int) -> tuple[str, ...]:
    """The attributes that most items have, at most ``count``."""
    return tuple(field for field in items.facet_fields() if field not in CATALOGUE_FIELDS)[:count]


class ItemFacts:
    """Facts of rows, worked out when a row is first asked for and forgotten when the catalogue changes.

    attributes  text attributes whose values are ids too, ``attribute_0``, ``attribute_1``, ...
    """

    def __init__(self, attributes: Sequence[str] = ()) -> None:
        self.attributes = tuple(attributes)
        self._of: Items | None = None

    @property
    def id_names(self) -> tuple[str, ...]:
        return (*ID_FIELDS, *(f"attribute_{n}" for n in range(len(self.attributes))))

    def at(self, items: Items, row_N: Array) -> tuple[Array, Array, Array]:
        """ids int64[N, F], words int64[N, W], numbers float32[N, D] of these rows."""
        held = self._held(items)
        known, id_IF, words_IW, number_ID = held
        new = np.unique(row_N[~known[row_N]])
        if len(new):
            id_IF[new] = self._ids(items, new)
            words_IW[new] = word_ids(items.text("title", new), TITLE_WORDS)
            number_ID[new] = _numbers(items, new)
            known[new] = True
        return id_IF[row_N], words_IW[row_N], number_ID[row_N]

    def _held(self, items: Items) -> tuple[Array, Array, Array, Array]:
        if self._of is not items:
            size = items.num_rows
            # Pages of memory are taken as rows are written, so a large catalogue costs only what is asked of it.
            self._arrays = (
                np.zeros(size, bool),
                np.empty((size, len(self.id_names)), np.int64),
                np.empty((size, TITLE_WORDS), np.int64),
                np.empty((size, len(NUMBERS)), np.float32),
            )
            self._of = items
        return self._arrays

    def _ids(self, items: Items, row_N: Array) -> Array:
        return np.stack([text_ids(items.text(field, row_N)) for field in (*ID_FIELDS, *self.attributes)], 1)


def _numbers(items: Items, row_N: Array) -> Array:
    """float32[N, D], NaN where the catalogue says nothing."""
    price, list_price = items.number("price_cents", row_N), items.number("list_price_cents", row_N)
    rating, ratings = items.number("rating", row_N), items.number("rating_count", row_N)
    stock = items.number("stock", row_N)
    with np.errstate(divide="ignore", invalid="ignore"):
        discount = np.where(list_price > 0, np.clip(1 - price / list_price, 0, 1), 0.0)
    columns = [
        np.log1p(price),
        np.nan_to_num(discount),
        rating,
        np.isfinite(rating),
        np.log1p(np.nan_to_num(ratings)),
        ~(stock == 0),
    ]
    return np.stack([np.asarray(column, np.float32) for column in columns], 1)
