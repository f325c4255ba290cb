"""Prompts: what a judge reads.  The part that a request's items share comes first, so that it is computed once for all.

Legend: N items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.relevance._scale import Scale

_WORD = re.compile(r"[^\W_]+(?:[.'-][^\W_]+)*")

Detail = Literal["plain", "terse", "instructed"]

QUERY, ITEM, ANSWER, RULE, JUDGED, PRICE = "<query:>", "<item:>", "<answer:>", "<rule:>", "<judged:>", "<price:>"
MARKS = (QUERY, ITEM, ANSWER, RULE, JUDGED, PRICE)
"""Tokens that open the parts of a plain prompt."""

MAX_TITLE, MAX_ATTRIBUTES = 120, 160
"""Letters of a title and of the attributes that are read."""

TERSE_ATTRIBUTES = 60
"""Letters of the attributes in a terse prompt, where every token costs as much as one of the instructions."""


class Prompts:
    """
    plain       marks and words alone, every word of an item once and prices to two digits: for small models, which learn what
                the marks mean
    instructed  the role, the grades' meanings and the fields in sentences: for pre-trained models
    terse       the same words of an item as plain, in sentences without instructions: a third of the tokens, for a pre-trained
                model that learns from graded pairs on a processor
    """

    def __init__(self, scale: Scale, labels: Sequence[str], detail: Detail = "plain") -> None:
        self.scale, self.labels, self.detail = scale, tuple(labels), detail

    def head(self, query: str, rules: Sequence[str] = ()) -> str:
        """What all items of a request share."""
        if self.detail == "plain":
            return " ".join([*(f"{RULE} {rule}" for rule in rules), QUERY, query])
        told = "".join(f"Rule: {rule}\n" for rule in rules)
        if self.detail == "terse":
            return f"{told}Search: {query}\n"
        grades = "\n".join(f"{mark} {meaning}" for mark, meaning in zip(self.labels, self.scale.meanings, strict=True))
        return (
            "You judge how well a product fits a shopper's search. Answer with one grade, then explain it.\n"
            f"Grades:\n{grades}\n{told}Search: {query}\n"
        )

    def items(self, items: Items, rows: Array) -> list[str]:
        """Each item as this judge reads it."""
        if self.detail == "instructed":
            return item_texts(items, rows)
        return brief_texts(items, rows) if self.detail == "plain" else brief_texts(items, rows, TERSE_ATTRIBUTES)

    def tail(self, item: str, judged: str = "") -> str:
        """What is the item's own; ``judged``: a label that somebody gave before, to be reflected upon."""
        if self.detail == "plain":
            return " ".join([ITEM, item, *((JUDGED, judged) if judged else ()), ANSWER])
        before = f"A previous judgement was: {judged}\n" if judged else ""
        return f"Product: {item}\n{before}Grade:"


def item_texts(items: Items, rows: Array) -> list[str]:
    """Each item as a judge reads it: title, category, brand, price, attributes."""
    row_N = np.asarray(rows, np.int32)
    fields = {name: items.text(name, row_N) for name in ("title", "category", "brand", "attributes")}
    cents = items.number("price_cents", row_N)
    prices = ["" if np.isnan(c) else f"{c / 100:g}" for c in cents]
    parts = zip(fields["title"], fields["category"], fields["brand"], prices, fields["attributes"], strict=True)
    return [
        " ; ".join(p for p in (title[:MAX_TITLE], category, brand, price, attributes[:MAX_ATTRIBUTES]) if p)
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
        once = " ".join(dict.fromkeys([*_words(f"{title[:MAX_TITLE]} {kind} {brand}"), *values]))
        out.append(once if np.isnan(cost) else f"{once} {PRICE} {float(f'{cost / 100:.2g}'):g}")
    return out


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
