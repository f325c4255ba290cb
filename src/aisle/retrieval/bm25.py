"""BM25 over weighted fields, stemmed: the lexical retriever (Robertson and Zaragoza, 2009).

score(q, i) = sum over fields f of w_f BM25_f(q, i)
              + w_pairs BM25_title(neighbouring words together) + w_all [every word is there]

The last two terms reward the words of a query for standing together; without them (weights of fields alone) it is plain BM25.
Similar items are asked for with the anchor's own title.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import field_validator

from aisle.core.env import Env
from aisle.core.errors import nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests, RowMasks
from aisle.core.roles import Reason
from aisle.core.shop import TEXT_FIELDS, TEXT_WEIGHTS, ShopView


class Bm25(Method):
    """weights: of each text field, of ``pairs`` (two neighbouring query words together in the title) and ``all_words`` (added
    to an item that holds every word); what is left out does not count."""

    weights: dict[str, float] = dict(TEXT_WEIGHTS)

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if name not in TEXT_WEIGHTS:
                raise ValueError(f"no text field {name!r}{nearest(name, TEXT_WEIGHTS)}")
            if not weight >= 0:
                raise ValueError(f"{name} weighs {weight}; a weight is 0 or more")
        if not any(weights.get(field, 0) > 0 for field in TEXT_FIELDS):
            raise ValueError(f"no field weighs anything; give one of {', '.join(TEXT_FIELDS)} a weight above 0")
        return weights

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> Bm25Stage:
        return Bm25Stage(env, self.weights)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> Bm25Stage:
        return Bm25Stage(env, self.weights)


class Bm25Stage:
    """Fitted: nothing of its own, the index belongs to the engine."""

    def __init__(self, env: Env, weights: Mapping[str, float]) -> None:
        self.env, self.weights = env, weights

    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        """Requests of the same words and filter are answered once."""
        texts, masks = self._asked(requests), requests.masks()
        distinct: dict[tuple[str, int], int] = {}
        place = [distinct.setdefault(key, len(distinct)) for key in zip(texts, masks.which.tolist(), strict=True)]
        which = np.array([mask for _, mask in distinct], np.int64)
        found = self.env.engine.text.search(
            [text for text, _ in distinct], k, RowMasks(masks.bits, which), self.weights
        )
        return found if len(distinct) == len(texts) else found.select(np.array(place, np.int64))

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        return {"score": self.env.engine.text.score(self._asked(requests), candidates, self.weights)}

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        return [
            [
                Reason("retrieval.bm25", f"{', '.join(repr(w) for w in words)} in the {field}", self.weights.get(field))
                for field, words in self.env.engine.text.matched_fields(requests.query[q], int(item)).items()
                if words
            ]
            for q, item in zip(page.owner, page.item, strict=True)
        ]

    def state(self) -> State:
        return State()

    def _asked(self, requests: Requests) -> list[str]:
        """The query, or the anchor's title where nothing was typed: words alone, without what the title says it has not."""
        asked = list(requests.query)
        for q in np.flatnonzero(requests.anchor >= 0):
            if not asked[q]:
                title = self.env.engine.items.text("title", requests.anchor[q : q + 1])[0]
                asked[q] = self.env.engine.text.asked(title.replace('"', " ").replace("-", " ").lower()).wanted
        return asked


METHOD = Bm25
