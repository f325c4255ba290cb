"""Most wanted items first: the floor that every other retriever must beat, and the feed of a stranger.

score(i) = sum over actions a of w_a * decayed count_a(i) + log(1 + number of reviews of i) / 100
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.shop import Counter, ShopView

DAY_S = 86_400.0


class Popular(Method):
    """weights: of each action. half_life_days: of its decay. Items without events fall back to their number of reviews."""

    weights: dict[str, float] = {"click": 1.0, "cart": 3.0, "order": 10.0}
    half_life_days: float = 30.0

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> PopularStage:
        rows = np.arange(shop.items.num_rows, dtype=np.int32)
        last_s = float(shop.events["time_s"].max()) + 1 if len(shop.events) else 0.0
        now_s = np.full(len(rows), min(shop.until_s, last_s))
        score_I = np.log1p(np.nan_to_num(shop.items.number("rating_count"))) / 100
        for action, weight in self.weights.items():
            counter = Counter(name=f"popular_{action}", action=action, half_life_s=self.half_life_days * DAY_S)
            score_I = score_I + weight * shop.counts(counter, rows, now_s)
        return PopularStage(env, score_I.astype(np.float32))

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> PopularStage:
        return PopularStage(env, state.tensors["score_I"])


class PopularStage:
    """Fitted: score_I float32[I at fit time]; a row that came later counts as never wanted."""

    def __init__(self, env: Env, score_I: Array) -> None:
        self.env, self.score_I = env, score_I

    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        masks = requests.masks()
        score_I = self._grown(masks.bits.shape[1])
        order = np.argsort(-score_I, kind="stable").astype(np.int32)
        best = [order[bits[order]][:k] for bits in masks.bits]
        item = [best[m] for m in masks.which]
        splits = splits_of(np.array([len(rows) for rows in item], np.int64))
        rows = np.concatenate(item) if item else np.zeros(0, np.int32)
        return ItemLists(rows, splits, {"score": score_I[rows]}, self.env.engine.generation)

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        return {"score": self._grown(self.env.engine.items.num_rows)[candidates.item]}

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        score = self._grown(self.env.engine.items.num_rows)[page.item]
        return [[Reason("retrieval.popular", "often bought or looked at", float(s))] if s > 0 else [] for s in score]

    def state(self) -> State:
        return State(tensors={"score_I": self.score_I})

    def _grown(self, num_rows: int) -> Array:
        missing = max(num_rows - len(self.score_I), 0)
        return np.concatenate([self.score_I, np.zeros(missing, np.float32)])


METHOD = Popular
