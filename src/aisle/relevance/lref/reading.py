"""How a judge's grade is read: at once by prefill, or behind an expert's explanation that it writes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.reasoned import ReasonFirst
from aisle.relevance._pairs import Pairs
from aisle.relevance._serving import Reader
from aisle.relevance.lref.tasks import EXPLAIN


@dataclass(frozen=True, eq=False)
class Explained(ReasonFirst):
    """Reads the grade behind expert explaining, for every item."""

    def tails(self, items: Items, rows: Array, *, judged: Sequence[str] = (), cue: str = f" {EXPLAIN}") -> list[Array]:
        return super().tails(items, rows, judged=judged, cue=cue)


def reader_of(decide: Literal["label", "reason"]) -> type[Llm]:
    """The class that reads the grade this way."""
    return Explained if decide == "reason" else Llm


def explained_prompts(llm: Llm, queries: Sequence[str], items: Items, rows: Array) -> list[Array]:
    """A prompt of expert explaining for each (query, row)."""
    tails = llm.tails(items, rows, cue=f" {EXPLAIN}")
    return [np.concatenate(pair) for pair in zip(llm.heads(queries), tails, strict=True)]


def plain_chances(llm: Llm, pairs: Pairs, items: Items) -> Array:
    """float32[N, C] read at once, whatever the judge does when it serves."""
    plain = Llm(llm.backbone.eval(), llm.words, llm.prompts, llm.grammar)
    return Reader.chances_of_pairs(plain, pairs, items)
