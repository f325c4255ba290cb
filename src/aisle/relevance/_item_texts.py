"""Items as a judge reads them: what the page displays, cut to what a model can take.

Legend: N items.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import Items

ItemTexts = Callable[[Items, Array], list[str]]
"""Items and rows to a text each."""

PRICE = "<price:>"
"""Stands before the price in a brief text, so that its digits are no size."""

MAX_TITLE, MAX_ATTRIBUTES = 120, 160
"""Letters of a title and of the attributes that are read."""

MAX_NAME = 200
"""Letters of a brand and of a category path: longer than any that a person wrote, so that a broken feed costs no memory."""

_WORD = re.compile(r"[^\W_]+(?:[.'-][^\W_]+)*")


def item_texts(items: Items, rows: Array) -> list[str]:
    """Each item as a judge reads it: title, category, brand, price, attributes."""
    row_N = np.asarray(rows, np.int32)
    fields = {name: items.text(name, row_N) for name in ("title", "category", "brand", "attributes")}
    cents = items.number("price_cents", row_N)
    prices = ["" if np.isnan(c) else f"{c / 100:g}" for c in cents]
    parts = zip(fields["title"], fields["category"], fields["brand"], prices, fields["attributes"], strict=True)
    return [
        " ; ".join(
            p
            for p in (title[:MAX_TITLE], category[:MAX_NAME], brand[:MAX_NAME], price, attributes[:MAX_ATTRIBUTES])
            if p
        )
        for title, category, brand, price, attributes in parts
    ]


def brief_texts(items: Items, rows: Array, max_attributes: int = MAX_ATTRIBUTES) -> list[str]:
    """Each item in as few words: those of title, kind, brand and values, once each, and the price to two digits."""
    row_N = np.asarray(rows, np.int32)
    titles, brands, attributes = (items.text(name, row_N) for name in ("title", "brand", "attributes"))
    code, labels = items.codes("category")
    names = {word for name in items.facet_fields() for word in _words(name)}
    cents = items.number("price_cents", row_N)
    out = []
    for row, title, brand, cost, rest in zip(row_N.tolist(), titles, brands, cents, attributes, strict=True):
        paths = [labels[c] for c in code[row]]
        kind = max(paths, key=len).rpartition(" > ")[2] if paths else ""
        values = [word for word in _words(rest[:max_attributes]) if word not in names]
        once = " ".join(dict.fromkeys([*_words(f"{title[:MAX_TITLE]} {kind[:MAX_NAME]} {brand[:MAX_NAME]}"), *values]))
        out.append(once if np.isnan(cost) else f"{once} {PRICE} {float(f'{cost / 100:.2g}'):g}")
    return out


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
