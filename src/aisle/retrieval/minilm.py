"""Dense retrieval with a pre-trained text encoder: nearest items to the query's embedding.

score(q, i) = <e(q), e(text of i)>, unit vectors.  An item counts as found where its score reaches a share of the best score in
the whole shop, whatever the filter: nearness has no natural end, and a page filled with the least unlike helps nobody.
  ``encoder`` names any encoder: ``minilm`` (all-MiniLM-L6-v2),
``own`` (trained on the shop's text, no torch), or the path of a model folder.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests, RowMasks
from aisle.core.shop import ShopView
from aisle.nn.item_vectors import fill


class MiniLm(Method):
    """encoder: which shared encoder embeds queries and items. share: of the shop's best score that an item must reach.

    least: the score that it must reach in any case; what it means depends on the encoder.
    """

    encoder: str = "minilm"
    share: float = Field(default=0.7, ge=0, le=1)
    least: float = 0.0

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({f"emb_{self.encoder}"})

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> MiniLmStage:
        fill(env, self.encoder)
        return MiniLmStage(env, self)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> MiniLmStage:
        fill(env, self.encoder)
        return MiniLmStage(env, self)

    @classmethod
    def tiny(cls) -> MiniLm:
        return cls(encoder="own")


class MiniLmStage:
    """Fitted: nothing of its own, the vectors belong to the engine."""

    def __init__(self, env: Env, settings: MiniLm) -> None:
        self.env, self.settings, self.encoder = env, settings, settings.encoder

    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        query_QD, index = requests[f"emb_{self.encoder}"], self.env.engine.vectors(self.encoder)
        lists = index.search(query_QD, k, requests.masks())
        best_Q = self._best(requests, query_QD, lists)
        floor_Q = np.where(np.isnan(best_Q), np.inf, np.maximum(self.settings.share * best_Q, self.settings.least))
        floor_Q[np.abs(query_QD).sum(1) == 0] = np.inf
        kept = lists["score"] >= floor_Q[lists.owner]
        return lists if kept.all() else lists.take(kept)

    def _best(self, requests: Requests, query_QD: Array, lists: ItemLists) -> Array:
        """float32[Q]: the best score in the whole shop, NaN where there is none; a request without a filter has it.

        The funnel asks a filtered search without its filter too, in the same batch, so that most need no further look.
        """
        best_Q = np.full(len(requests), np.nan, np.float32)
        some = lists.counts > 0
        best_Q[some] = lists["score"][lists.splits[:-1][some]]
        filtered_Q = np.array([f is not None for f in requests.filters])
        if not filtered_Q.any():
            return best_Q
        known = {query_QD[q].tobytes(): q for q in np.flatnonzero(~filtered_Q).tolist()}
        filtered = np.flatnonzero(filtered_Q)
        twin = np.array([known.get(query_QD[q].tobytes(), -1) for q in filtered.tolist()], np.int64)
        best_Q[filtered[twin >= 0]] = best_Q[twin[twin >= 0]]
        alone = filtered[twin < 0]
        if len(alone):
            whole_shop = RowMasks(self.env.engine.items.live[None], np.zeros(len(alone), np.int64))
            best = self.env.engine.vectors(self.encoder).search(query_QD[alone], 1, whole_shop)
            best_Q[alone] = np.nan
            best_Q[alone[best.owner]] = best["score"]
        return best_Q

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        """NaN for an item whose vector is not there yet: it is not known, which is not the same as unlike."""
        return {"score": self.env.engine.vectors(self.encoder).score(requests[f"emb_{self.encoder}"], candidates)}

    def state(self) -> State:
        return State()


METHOD = MiniLm
