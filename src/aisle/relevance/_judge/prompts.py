"""Prompts: what a judge reads.  The part that a request's items share comes first, so that it is computed once for all.

Legend: N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.relevance._item_texts import PRICE, brief_texts, item_texts
from aisle.relevance._scale import Scale

Detail = Literal["plain", "terse", "instructed"]

QUERY, ITEM, ANSWER, RULE, JUDGED = "<query:>", "<item:>", "<answer:>", "<rule:>", "<judged:>"
MARKS = (QUERY, ITEM, ANSWER, RULE, JUDGED, PRICE)
"""Tokens that open the parts of a plain prompt."""

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
