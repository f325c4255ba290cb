"""The shop's log as pages that were shown and what became of them: what rankers of clicks and orders learn from.

Legend: E events, Q pages, N shown items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.errors import DataError, SettingError, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Action, Requests
from aisle.core.shop import Events, ShopView

HISTORY = 50
"""Actions of a user that a page knows; the server takes as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Impressions:
    """
    requests  Q pages in time order, as they were asked for; histories hold what happened strictly before
    lists     the items shown, columns ``position`` int32, ``price_cents`` int64 (-1 unknown), ``label`` float32[N, K]
    tasks     the K actions that the labels stand for
    """

    requests: Requests
    lists: ItemLists
    tasks: tuple[str, ...]

    def select(self, pages: Array) -> Impressions:
        return Impressions(self.requests.select(pages), self.lists.select(pages), self.tasks)

    def parted(self, share: float) -> tuple[Impressions, Impressions]:
        """The earlier pages, and the last ``share`` of them."""
        cut = len(self.requests) - round(share * len(self.requests))
        return self.select(np.arange(cut)), self.select(np.arange(cut, len(self.requests)))


def impressions(shop: ShopView, tasks: Sequence[str]) -> Impressions:
    """Every logged page with its labels.

    A page is a request id; events without one belong to the page of their session, a return to the page of its order.  An
    item shown twice on a page counts once, at its first place.  Raises DataError when the log shows nothing, SettingError
    for an unknown action.
    """
    known = [action.name.lower() for action in Action]
    for task in tasks:
        if task not in known or task == "impression":
            raise SettingError(f"{task!r} is no action to learn{nearest(task, known)}")
    events = shop.events
    shown = _first_showings(events)
    if not len(shown):
        raise DataError(
            "the log shows no items, so there is nothing to learn from; log impressions with their request_id, "
            "or use a ranking without learning, such as ranking.fusion"
        )
    page_E = _page_of(events)
    pages, first, page_N = np.unique(page_E[shown], return_index=True, return_inverse=True)
    start_Q = events["time_s"][shown[first]]
    in_time = np.argsort(start_Q, kind="stable")
    rank_Q = np.empty(len(pages), np.int64)
    rank_Q[in_time] = np.arange(len(pages))
    order = np.lexsort((events["position"][shown], rank_Q[page_N]))
    shown, page_N = shown[order], rank_Q[page_N][order]
    lists = ItemLists(
        events["item"][shown],
        np.searchsorted(page_N, np.arange(len(pages) + 1)),
        {
            "position": np.maximum(events["position"][shown], 0).astype(np.int32),
            "price_cents": events["price_cents"][shown].astype(np.int64),
            "label": _labels(events, page_E, pages[in_time], page_N, events["item"][shown], tasks),
        },
        shop.generation,
    )
    return Impressions(_requests(shop, events.take(shown[lists.splits[:-1]]), start_Q[in_time]), lists, tuple(tasks))


def _page_of(events: Events) -> Array:
    """int64[E]: the request of each event, its session where it has none; -1 where it has neither.

    A return comes days after its page and names none: it belongs to the last order of the item in its session, or else by its
    user.
    """
    page_E = np.where(events["request"] >= 0, events["request"], events["session"])
    known_E = (page_E >= 0) & (events["item"] >= 0)
    orders = np.flatnonzero(known_E & (events["action"] == Action.ORDER))
    back = np.flatnonzero((events["request"] < 0) & (events["item"] >= 0) & (events["action"] == Action.RETURN))
    for whose in ("session", "user"):
        order_B = _last_order(events, orders, back, whose)
        page_E[back[order_B >= 0]] = page_E[order_B[order_B >= 0]]
        back = back[order_B < 0]
    return page_E


def _last_order(events: Events, orders: Array, back: Array, whose: str) -> Array:
    """int64[B]: of the events ``orders``, the last one before each return with its item and its session or user; -1 for none."""
    rows = np.concatenate([orders, back])
    pair = np.unique(np.stack([events[whose][rows], events["item"][rows]]), axis=1, return_inverse=True)[1].ravel()
    key = pair * (len(events) + 1) + rows  # events are in time order
    by_key = np.argsort(key[: len(orders)])
    place = np.searchsorted(key[: len(orders)], key[len(orders) :], sorter=by_key) - 1
    last = by_key[place] if len(orders) else place
    same = (place >= 0) & (pair[last] == pair[len(orders) :]) & (events[whose][back] >= 0)
    return np.where(same, rows[last], -1)


def _first_showings(events: Events) -> Array:
    """int64[N]: impressions of known items on known pages, each item of a page once."""
    page_E = _page_of(events)
    rows = np.flatnonzero((events["action"] == Action.IMPRESSION) & (events["item"] >= 0) & (page_E >= 0))
    pair = np.stack([page_E[rows], events["item"][rows].astype(np.int64)])
    _, once = np.unique(pair, axis=1, return_index=True)
    return rows[np.sort(once)]


def _labels(events: Events, page_E: Array, pages_Q: Array, page_N: Array, item_N: Array, tasks: Sequence[str]) -> Array:
    """float32[N, K]: 1 where the item of the page met the action."""
    order = np.argsort(pages_Q)
    key_N = page_N.astype(np.int64) << 32 | item_N
    label_NK = np.zeros((len(key_N), len(tasks)), np.float32)
    for k, task in enumerate(tasks):
        rows = np.flatnonzero((events["action"] == Action[task.upper()]) & (events["item"] >= 0))
        place = np.minimum(np.searchsorted(pages_Q, page_E[rows], sorter=order), len(pages_Q) - 1)
        known = pages_Q[order[place]] == page_E[rows]
        met = order[place[known]].astype(np.int64) << 32 | events["item"][rows[known]]
        label_NK[:, k] = np.isin(key_N, met)
    return label_NK


def _requests(shop: ShopView, first: Events, time_s: Array) -> Requests:
    """The pages as requests, from one event of each."""
    words = np.array([*first.queries, ""], object)[first["query"]]
    user = first["user"]
    return Requests.make(
        words.tolist(),
        user=user,
        session=first["session"],
        scene=first["scene"],
        time_s=time_s,
        history=shop.histories(user, time_s, HISTORY),
    )
