"""Item-to-item collaborative filtering: items that the same users acted on (Sarwar et al., 2001; Linden et al., 2003).

S[j, i] = co(j, i) / sqrt((n_j + damping) (n_i + damping)),  co = users who acted on both, n = users who acted
score(u, i) = sum over j in history(u) of S[j, i];  similar items of an anchor are its row of S

Legend: I items, K neighbours kept, N rows, L history rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists, Ragged, splits_of
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Action, Requests
from aisle.core.shop import ShopView


class ItemCf(Method):
    """neighbours: kept of each item. damping: pseudo-users, so that rare pairs do not win by chance.

    history: how many of a user's latest actions speak. max_user_items: of a user with more, only the latest count.
    """

    neighbours: int = 100
    damping: float = 3.0
    history: int = 20
    max_user_items: int = 200

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> ItemCfStage:
        user, item = _latest_pairs(shop, self.max_user_items)
        return ItemCfStage(
            env, *_neighbours(user, item, shop.items.num_rows, self.damping, self.neighbours), self.history
        )

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> ItemCfStage:
        t = state.tensors
        return ItemCfStage(env, Ragged(t["neighbour"], t["splits"]), t["similarity"], self.history)


def _latest_pairs(shop: ShopView, limit: int) -> tuple[Array, Array]:
    """User and item of every distinct pair that is more than an impression, at most ``limit`` of the latest a user."""
    events = shop.events
    keep = (
        np.isin(events["action"], (Action.CLICK, Action.CART, Action.ORDER))
        & (events["item"] >= 0)
        & (events["user"] >= 0)
    )
    user, item, time_s = events["user"][keep], events["item"][keep], events["time_s"][keep]
    latest_first = np.lexsort((-time_s, user))
    user, item = user[latest_first], item[latest_first]
    _, first = np.unique(np.stack([user, item], 1), axis=0, return_index=True)
    first.sort()
    user, item = user[first], item[first]
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]]) if len(user) else np.zeros(0, np.int64)
    place = np.arange(len(user)) - np.repeat(starts, np.diff(np.r_[starts, len(user)]))
    return user[place < limit], item[place < limit]


def _neighbours(user: Array, item: Array, num_items: int, damping: float, k: int) -> tuple[Ragged, Array]:
    """The k most similar items of each item as Ragged int32, best first, and their similarity float32."""
    from scipy import sparse

    _, user_row = np.unique(user, return_inverse=True)
    shape = (int(user_row.max()) + 1 if len(user) else 1, num_items)
    acted_UI = sparse.csr_matrix((np.ones(len(user), np.float32), (user_row, item)), shape=shape)
    scale_I = 1 / np.sqrt(np.asarray(acted_UI.sum(0)).ravel() + damping)
    together = (acted_UI.T @ acted_UI).tocoo()
    off_diagonal = together.row != together.col
    row, col = together.row[off_diagonal], together.col[off_diagonal]
    similarity = together.data[off_diagonal] * scale_I[row] * scale_I[col]
    order = np.lexsort((col, -similarity, row))
    row, col, similarity = row[order], col[order], similarity[order]
    splits = splits_of(np.bincount(row, minlength=num_items))
    kept = np.arange(len(row)) - splits[row] < k
    counts = np.bincount(row[kept], minlength=num_items)
    return Ragged(col[kept].astype(np.int32), splits_of(counts)), similarity[kept].astype(np.float32)


class ItemCfStage:
    """Fitted: the neighbours of every item at fit time; a row that came later has none."""

    def __init__(self, env: Env, neighbour: Ragged, similarity: Array, history: int) -> None:
        self.env, self.neighbour, self.similarity, self.history = env, neighbour, similarity, history

    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        owner, item, score = self._affinity(requests)
        keep = requests.masks().allows(owner, item)
        splits = splits_of(np.bincount(owner[keep], minlength=len(requests)))
        lists = ItemLists(item[keep], splits, {"score": score[keep]}, self.env.engine.generation)
        return lists.top(k, "score")

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        owner, item, score = self._affinity(requests)
        known = ItemLists(item, splits_of(np.bincount(owner, minlength=len(requests))))
        row = known.find(candidates)
        return {"score": np.where(row >= 0, score[row] if len(score) else 0, 0).astype(np.float32)}

    def state(self) -> State:
        return State(
            tensors={"neighbour": self.neighbour.values, "splits": self.neighbour.splits, "similarity": self.similarity}
        )

    def _affinity(self, requests: Requests) -> tuple[Array, Array, Array]:
        """Request, item and summed similarity of every item that some history row (or the anchor) is similar to."""
        owner, seed_item = self._seeds(requests)
        known = (seed_item >= 0) & (seed_item < len(self.neighbour))
        owner, seed_item = owner[known], seed_item[known]
        counts = np.diff(self.neighbour.splits)[seed_item]
        source = np.arange(counts.sum()) + np.repeat(self.neighbour.splits[seed_item] - splits_of(counts)[:-1], counts)
        key = np.repeat(owner, counts).astype(np.int64) << 32 | self.neighbour.values[source]
        unique, slot = np.unique(key, return_inverse=True)
        score = np.bincount(slot, self.similarity[source], minlength=len(unique)).astype(np.float32)
        return unique >> 32, (unique & 0xFFFFFFFF).astype(np.int32), score

    def _seeds(self, requests: Requests) -> tuple[Array, Array]:
        """The items a request starts from: its anchor, else the latest of its history that are not mere impressions."""
        anchored = np.flatnonzero(requests.anchor >= 0)
        history = requests.history
        acted = (
            (history["action"] > Action.IMPRESSION) if "action" in history.columns else np.ones(len(history.item), bool)
        )
        history = history.take(np.flatnonzero(acted))
        from_end = np.repeat(history.splits[1:], history.counts) - np.arange(len(history.item)) - 1
        recent = (from_end < self.history) & (requests.anchor[history.owner] < 0)
        owner = np.concatenate([anchored, history.owner[recent]])
        return owner, np.concatenate([requests.anchor[anchored], history.item[recent]])


METHOD = ItemCf
