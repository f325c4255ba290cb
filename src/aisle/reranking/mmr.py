"""MMR: maximal marginal relevance (Carbonell and Goldstein, 1998).

next = argmax over i not yet shown of  (1 - diversity) * rel(i) - diversity * max over shown j of sim(i, j)

rel is the score scaled to 0..1 within the request; sim is the cosine of item vectors (``encoder``), or, without one, half a
point each for the same deepest category and the same brand.  Only the first ``depth`` places are chosen so.

Legend: N rows of one list, D width.
"""

from __future__ import annotations

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests
from aisle.core.shop import Items, ShopView


class Mmr(Method):
    """diversity: 0 keeps the order, 1 ignores relevance. encoder: whose vectors tell likeness, "" for category and brand.

    depth: places chosen so; the rest keep their order.
    """

    diversity: float = 0.2
    encoder: str = ""
    depth: int = 24

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> MmrStage:
        return MmrStage(self, env)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> MmrStage:
        return MmrStage(self, env)


class MmrStage:
    """Fitted: nothing but the settings."""

    def __init__(self, settings: Mmr, env: Env) -> None:
        self.settings, self.env = settings, env

    def rerank(self, requests: Requests, candidates: ItemLists, k: int) -> ItemLists:
        order = [
            start + self._order(candidates.item[start:stop], candidates["score"][start:stop])[:k]
            for start, stop in zip(candidates.splits[:-1], candidates.splits[1:], strict=True)
        ]
        return candidates.take(np.concatenate(order) if order else np.zeros(0, np.int64))

    def state(self) -> State:
        return State()

    def _order(self, item_N: Array, score_N: Array) -> Array:
        """int64[N]: places of one list in their new order."""
        if not len(item_N):
            return np.zeros(0, np.int64)
        spread = float(score_N.max() - score_N.min())
        relevance_N = (score_N - score_N.min()) / (spread or 1.0)
        likeness_NN = self._likeness(item_N)
        nearest_N = np.zeros(len(item_N), np.float32)
        left = np.ones(len(item_N), bool)
        chosen = []
        for _ in range(min(self.settings.depth, len(item_N))):
            gain_N = (1 - self.settings.diversity) * relevance_N - self.settings.diversity * nearest_N
            best = int(np.argmax(np.where(left, gain_N, -np.inf)))
            chosen.append(best)
            left[best] = False
            nearest_N = np.maximum(nearest_N, likeness_NN[best])
        rest = np.flatnonzero(left)
        by_score = rest[np.lexsort((item_N[rest], -score_N[rest]))]
        return np.concatenate([np.array(chosen, np.int64), by_score])

    def _likeness(self, item_N: Array) -> Array:
        """float32[N, N] between 0 and 1."""
        engine = self.env.engine
        if self.settings.encoder:
            emb_ND = engine.vectors(self.settings.encoder).vectors(item_N)
            return np.clip(emb_ND @ emb_ND.T, 0, 1)
        shelf_N, brand_N = deepest(engine.items, "category")[item_N], deepest(engine.items, "brand")[item_N]
        same_shelf = (shelf_N[:, None] == shelf_N) & (shelf_N >= 0)
        same_brand = (brand_N[:, None] == brand_N) & (brand_N >= 0)
        return (0.5 * same_shelf + 0.5 * same_brand).astype(np.float32)


def deepest(items: Items, field: str) -> Array:
    """int32[I]: the last code of each row (a category's deepest shelf), -1 where there is none."""
    codes, _ = items.codes(field)
    last = np.full(len(codes), -1, np.int32)
    filled = np.diff(codes.splits) > 0
    last[filled] = codes.values[codes.splits[1:][filled] - 1]
    return last


METHOD = Mmr
