"""Dense retrieval with a pre-trained text encoder: nearest items to the query's embedding.

score(q, i) = <e(q), e(title and brand of i)>, unit vectors.  ``encoder`` names any encoder: ``minilm`` (all-MiniLM-L6-v2),
``own`` (trained on the shop's text, no torch), or the path of a model folder.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests
from aisle.core.shop import ShopView
from aisle.nn.item_vectors import fill


class MiniLm(Method):
    """encoder: which shared encoder embeds queries and items."""

    encoder: str = "minilm"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({f"emb_{self.encoder}"})

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> MiniLmStage:
        fill(env, self.encoder)
        return MiniLmStage(env, self.encoder)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> MiniLmStage:
        fill(env, self.encoder)
        return MiniLmStage(env, self.encoder)

    @classmethod
    def tiny(cls) -> MiniLm:
        return cls(encoder="own")


class MiniLmStage:
    """Fitted: nothing of its own, the vectors belong to the engine."""

    def __init__(self, env: Env, encoder: str) -> None:
        self.env, self.encoder = env, encoder

    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        query_QD = requests[f"emb_{self.encoder}"]
        lists = self.env.engine.vectors(self.encoder).search(query_QD, k, requests.masks())
        asked = np.abs(query_QD).sum(1) > 0
        return lists.take(asked[lists.owner])

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        score = self.env.engine.vectors(self.encoder).score(requests[f"emb_{self.encoder}"], candidates)
        return {"score": np.nan_to_num(score)}

    def state(self) -> State:
        return State()


METHOD = MiniLm
