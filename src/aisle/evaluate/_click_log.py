"""What click models share: the dense view of a log, values by query-item pair, and EM for products of two chances.

Legend: Q sessions, N rows, K places, P pairs, C cells (distinct pair and place).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Action
from aisle.core.shop import Events

TINY = 1e-9
"""Keeps divisions and logarithms finite."""


@dataclass(frozen=True, slots=True, eq=False)
class PairValues:
    """A number a query-item pair: ``pair`` int64[P] rising, ``value`` float64[P], ``prior`` for a pair that was not seen.

    Raises ContractError when lengths differ or pairs do not rise.
    """

    pair: Array
    value: Array
    prior: float

    def __post_init__(self) -> None:
        if len(self.pair) != len(self.value) or (np.diff(self.pair) <= 0).any():
            raise ContractError(
                f"{len(self.pair)} pairs with {len(self.value)} values; give one value a pair, pairs rising without repeats"
            )

    def at(self, pair_N: Array) -> Array:
        """float64[N]: the value of each pair."""
        if not len(self.pair):
            return np.full(len(pair_N), self.prior)
        place = np.minimum(np.searchsorted(self.pair, pair_N), len(self.pair) - 1)
        return np.where(self.pair[place] == pair_N, self.value[place], self.prior)


def pair_ids(lists: ItemLists, query_Q: Array) -> Array:
    """int64[N] for the column ``pair``: the number of the list's query (0 to 2**31 - 1) and the item in one number.

    Raises ContractError when there is not one query a list, or a number is out of range.
    """
    query = np.asarray(query_Q, np.int64)
    if len(query) != len(lists) or ((query < 0) | (query >= 2**31)).any():
        raise ContractError(
            f"{len(query)} query numbers for {len(lists)} lists; give one a list, each from 0 to 2**31 - 1"
        )
    pair: Array = query[lists.owner] << 32 | lists.item.view(np.uint32)
    return pair


def pages_of(events: Events, action: Action = Action.CLICK) -> ItemLists:
    """The pages of a log, one list a request in order of its number, rows by place.

    Columns: ``clicked`` bool, whether ``action`` followed on that page; ``pair`` int64 (feeds count as one query);
    ``propensity`` float64.  Rows without request, item or place are left out, and so is what follows a gap in the places: the
    second page of a search begins with one.
    """
    shown = events.columns["action"] == Action.IMPRESSION
    known = (events.columns["item"] >= 0) & (events.columns["request"] != -1)
    rows = np.flatnonzero(shown & known & (events.columns["position"] >= 0))
    request, place = events.columns["request"][rows], events.columns["position"][rows]
    order = np.lexsort((place, request))
    again = (np.diff(request[order], prepend=-1) == 0) & (np.diff(place[order], prepend=-1) == 0)
    rows = rows[order[~again]]
    number, index = np.unique(events.columns["request"][rows], return_inverse=True)
    lists = ItemLists(
        events.columns["item"][rows],
        splits_of(np.bincount(index, minlength=len(number))),
        {"query": events.columns["query"][rows], "propensity": events.columns["propensity"][rows]},
    )
    whole = lists.position == events.columns["position"][rows]
    lists = lists.take(whole)
    acted = np.flatnonzero((events.columns["action"] == action) & known)
    acted = acted[np.isin(events.columns["request"][acted], number)]
    slot = np.searchsorted(number, events.columns["request"][acted])
    clicked = np.isin(lists.keys, slot << 32 | events.columns["item"][acted].astype(np.int64))
    pair = (lists["query"].astype(np.int64) + 1) << 32 | lists.item.view(np.uint32)
    return (
        lists.with_columns(clicked=clicked, pair=pair)
        .only("clicked", "pair", "propensity")
        .select(np.flatnonzero(lists.counts))
    )


def dense(lists: ItemLists, value_N: Array, fill: float | bool = 0) -> Array:
    """[Q, K]: values of rows by place, ``fill`` past the end of a short list."""
    width = int(lists.counts.max(initial=0))
    out = np.full((len(lists), width), fill, np.asarray(value_N).dtype)
    out[lists.owner, lists.position] = value_N
    return out


def clicks_of(log: ItemLists) -> Array:
    """bool[N]: the column ``clicked``.  Raises ContractError when it holds anything but 0 and 1."""
    clicked: Array = log["clicked"]
    if not np.isin(clicked, (0, 1)).all():
        raise ContractError("column 'clicked' holds values other than 0 and 1; give whether each row was clicked")
    return clicked.astype(bool)


def previous_click(log: ItemLists) -> Array:
    """int64[N]: the place of the last click before each row in its own list, -1 where there is none."""
    row = np.arange(len(log.item))
    last = np.maximum.accumulate(np.where(clicks_of(log), row, -1))
    before = np.concatenate([[-1], last[:-1]])[: len(row)]
    start = np.repeat(log.splits[:-1], log.counts)
    place: Array = np.where(before >= start, before - start, -1)
    return place


def first_place_rate(log: ItemLists) -> float:
    """The click rate at the first place, kept inside (0, 1): what is expected of a pair that nobody has seen."""
    clicked = clicks_of(log)[log.position == 0]
    return float((clicked.sum() + 0.5) / (len(clicked) + 1))


def rate_by_place(log: ItemLists) -> Array:
    """float64[K]: clicks / impressions at each place."""
    shown = np.bincount(log.position)
    clicks = np.bincount(log.position, clicks_of(log).astype(np.float64))
    rate: Array = clicks / np.maximum(shown, 1)
    return rate


def check_strength(strength: float, iterations: int = 1) -> None:
    """Raises SettingError unless ``strength >= 0`` and ``iterations >= 1``."""
    if not strength >= 0 or iterations < 1:
        raise SettingError(f"strength {strength} and {iterations} iterations; give 0 or more, and 1 or more")


def product_em(
    pair_N: Array, place_N: Array, clicked_N: Array, attraction: Array, examination: Array, prior: float, strength: float,
    iterations: int,
) -> tuple[Array, Array]:  # fmt: skip
    """(attraction float64[P], examination float64[S]) that maximise the likelihood of P(click) = attraction * examination.

    EM over cells, not impressions: rows of the same pair and place count together.  For a row without a click
    P(attractive) = a (1 - e) / (1 - a e) and P(examined) = e (1 - a) / (1 - a e); new values are means of these.
    attraction is a MAP estimate under a Beta prior of mean ``prior`` and weight ``strength``.
    """
    num_places = len(examination)
    key, index = np.unique(pair_N * num_places + place_N, return_inverse=True)
    pair_C, place_C = key // num_places, key % num_places
    count_C = np.bincount(index, minlength=len(key)).astype(np.float64)
    click_C = np.bincount(index, clicked_N.astype(np.float64), len(key))
    shown_P = np.bincount(pair_C, count_C, len(attraction))
    shown_S = np.bincount(place_C, count_C, num_places)
    for _ in range(iterations):
        a, e = attraction[pair_C], examination[place_C]
        share = (count_C - click_C) / np.maximum(1 - a * e, TINY)
        attractive = np.bincount(pair_C, click_C + share * a * (1 - e), len(attraction))
        examined = np.bincount(place_C, click_C + share * e * (1 - a), num_places)
        new = (attractive + strength * prior) / np.maximum(shown_P + strength, TINY)
        moved = float(np.abs(new - attraction).max(initial=0.0))
        attraction = new
        examination = np.where(shown_S > 0, examined / np.maximum(shown_S, 1), examination)
        if moved < 1e-6:
            break
    return attraction, examination
