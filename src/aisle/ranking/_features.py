"""Features of rankers that learn from the log: one function for training and serving, in blocks of one meaning each.

A field is an id (or several) that has a vector in a table; a number stands beside it in its block.  What belongs to the
request is made once a request, what belongs to a candidate once a candidate.

| block | ids | numbers |
| user | user | how much, how dearly and how lately the user acted |
| query | query, its words | how many words; the query's vector, where an encoder is named |
| context | scene, hour | |
| clicks, orders | past items with their categories and brands | |
| item | item, category, words of the title | |
| attributes | the attributes that most items have | |
| statistics | | price, rating, reviews, stock, age; impressions, clicks, carts and orders before the moment |
| shop | brand, merchant | |
| match | | words and meaning shared with the query; the item for this query before; the item, its category, its brand and its
price in the user's past |

Legend: Q requests, N candidates, L places of the past, D numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Action, Requests, query_ids
from aisle.core.shop import Engine
from aisle.ranking._counts import ACTIONS, of_items, of_pairs
from aisle.ranking._facts import NUMBERS, TITLE_WORDS, ItemFacts, word_ids

PAST = 20
QUERY_WORDS = 8
HOUR_S = 3600.0
DAY_S = 86_400.0


class Field(NamedTuple):
    """name of the feature; block it belongs to; table that holds its vectors; length of a list of ids, 0 for one id."""

    name: str
    block: str
    table: str
    length: int = 0
    is_past: bool = False


REQUEST_FIELDS = (
    Field("user", "user", "user"),
    Field("query", "query", "query"),
    Field("query_words", "query", "word", QUERY_WORDS),
    Field("scene", "context", "scene"),
    Field("hour", "context", "hour"),
    *(
        Field(f"{kind}_{what}", kind, what, PAST, True)
        for kind in ("clicks", "orders")
        for what in ("item", "category", "brand")
    ),
)
ITEM_FIELDS = (
    Field("item", "item", "item"),
    Field("category", "item", "category"),
    Field("title_words", "item", "word", TITLE_WORDS),
    Field("brand", "shop", "brand"),
    Field("merchant", "shop", "merchant"),
)
TARGET = ("item", "category", "brand")
"""What a past place and a candidate have in common, in the order of the past's fields."""

REQUEST_NUMBERS = {
    "user": ("past_clicks", "past_carts", "past_orders", "past_log_price", "past_age"),
    "query": ("num_words",),
}
ITEM_NUMBERS = {
    "statistics": (*NUMBERS, "log_age", *(f"item_{a}s" for a in ACTIONS), "item_rate"),
    "match": (
        *("words_all", "words_title", "meaning", "pair_impressions", "pair_clicks", "pair_rate"),
        *("past_item", "past_category", "past_brand", "price_against_past"),
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """
    request_ids      field -> int64[Q] or int64[Q, length], -1 for none
    item_ids         field -> int64[N] or int64[N, length], -1 for none
    request_numbers  block -> float32[Q, D]
    item_numbers     block -> float32[N, D]
    splits           int64[Q+1]  the candidates of each request
    """

    request_ids: Mapping[str, Array]
    item_ids: Mapping[str, Array]
    request_numbers: Mapping[str, Array]
    item_numbers: Mapping[str, Array]
    splits: Array

    @property
    def owner(self) -> Array:
        """int64[N]: the request of each candidate."""
        return np.repeat(np.arange(len(self.splits) - 1), np.diff(self.splits))

    def select(self, request_Q: Array) -> Features:
        """The given requests with their candidates."""
        counts = np.diff(self.splits)[request_Q]
        splits = splits_of(counts)
        rows = np.arange(splits[-1]) + np.repeat(self.splits[request_Q] - splits[:-1], counts)
        return Features(
            {n: a[request_Q] for n, a in self.request_ids.items()},
            {n: a[rows] for n, a in self.item_ids.items()},
            {n: a[request_Q] for n, a in self.request_numbers.items()},
            {n: a[rows] for n, a in self.item_numbers.items()},
            splits,
        )


class FeatureMaker:
    """Makes the features of requests and candidates, the same when training and when serving.

    encoder: whose vectors compare query and item; "" for none.
    """

    def __init__(self, attributes: Sequence[str] = (), encoder: str = "") -> None:
        self.facts, self.encoder = ItemFacts(attributes), encoder

    def make(self, requests: Requests, lists: ItemLists, env: Env) -> Features:
        """``env`` counts what happened before each request.  A column ``price_cents`` of the lists is the price that was shown;
        without it the catalogue's counts.  Raises UnknownName when the encoder's request column is missing."""
        engine, owner = env.engine, lists.owner
        id_NF, words_NW, number_ND = self.facts.at(engine.items, lists.item)
        names = self.facts.id_names
        ids = dict(zip(names, id_NF.T, strict=True))
        number_ND = _with_shown_price(number_ND, lists)
        past = _Past.of(requests, engine, self.facts)
        time_N = requests.time_s[owner]
        query_Q = query_ids(requests.query)
        created_s = engine.items.number("created_s", lists.item)
        age_N = np.log1p(np.maximum(np.nan_to_num(time_N - created_s, nan=0.0), 0.0) / DAY_S)
        item_counts = of_items(env, lists.item, time_N)
        pair_counts = of_pairs(env, query_Q[owner], lists.item, time_N)
        match = {
            "words_all": shared_words(engine, requests, lists, {}),
            "words_title": shared_words(engine, requests, lists, {"title": 1.0}),
            "meaning": self._meaning(requests, lists, engine),
            **pair_counts,
            **past.of_candidates(owner, lists.item, ids, number_ND[:, 0]),
        }
        return Features(
            request_ids={
                "user": requests.user,
                "query": query_Q,
                "query_words": word_ids(requests.query, QUERY_WORDS),
                "scene": requests.scene.astype(np.int64),
                "hour": (requests.time_s % DAY_S // HOUR_S).astype(np.int64),
                **past.ids(),
            },
            item_ids={"item": lists.item.astype(np.int64), "title_words": words_NW, **ids},
            request_numbers={"user": past.numbers(requests), "query": self._of_query(requests)},
            item_numbers={
                "statistics": _columns([*number_ND.T, age_N, *item_counts.values()]),
                "match": _columns(list(match.values())),
            },
            splits=lists.splits,
        )

    def fields(self) -> tuple[Field, ...]:
        """Every id field, the attributes' included."""
        extra = (Field(name, "attributes", name) for name in self.facts.id_names if name.startswith("attribute_"))
        return (*REQUEST_FIELDS, *ITEM_FIELDS, *extra)

    def _of_query(self, requests: Requests) -> Array:
        """float32[Q, 1 + width of the encoder]: how many words, and the query's vector."""
        num_words = np.array([len(query.split()) for query in requests.query], np.float32)[:, None]
        return num_words if not self.encoder else np.concatenate([num_words, self._query_vectors(requests)], 1)

    def _query_vectors(self, requests: Requests) -> Array:
        """float32[Q, D]: 0 where nothing was typed."""
        asked = np.array([bool(query) for query in requests.query])
        vectors: Array = requests[f"emb_{self.encoder}"]
        return np.where(asked[:, None], vectors, np.float32(0))

    def _meaning(self, requests: Requests, lists: ItemLists, engine: Engine) -> Array:
        if not self.encoder or not len(lists.item):
            return np.zeros(len(lists.item), np.float32)
        score = engine.vectors(self.encoder).score(self._query_vectors(requests), lists)
        return np.nan_to_num(score)


def with_query_vectors(requests: Requests, encoder: str, env: Env) -> Requests:
    """The requests with ``emb_<encoder>``, each distinct query encoded once (a funnel does this when serving)."""
    texts, which = np.unique(np.array(requests.query, object), return_inverse=True)
    emb_TD = env.encoder(encoder).encode([str(text) for text in texts])
    return requests.with_columns(**{f"emb_{encoder}": emb_TD[which]})


def shared_words(engine: Engine, requests: Requests, lists: ItemLists, weights: Mapping[str, float]) -> Array:
    """float32[N]: BM25 of each candidate for its query, each distinct pair scored once; 0 where nothing was typed."""
    texts, which = np.unique(np.array(requests.query, object), return_inverse=True)
    if len(texts) == len(requests):
        return engine.text.score(requests.query, lists, weights)
    pair = which[lists.owner].astype(np.int64) << 32 | lists.item
    distinct, back = np.unique(pair, return_inverse=True)
    counts = np.bincount(distinct >> 32, minlength=len(texts))
    pairs = ItemLists((distinct & 0xFFFFFFFF).astype(np.int32), splits_of(counts), {}, lists.generation)
    return engine.text.score([str(text) for text in texts], pairs, weights)[back]


def _with_shown_price(number_ND: Array, lists: ItemLists) -> Array:
    """The numbers with the price that was shown, where one is noted."""
    shown = lists.columns.get("price_cents")
    if shown is None:
        return number_ND
    number_ND = number_ND.copy()
    number_ND[:, 0] = np.where(shown >= 0, np.log1p(np.maximum(shown, 0.0)), number_ND[:, 0])
    return number_ND


def _columns(columns: Sequence[Array]) -> Array:
    return np.stack([np.asarray(column, np.float32) for column in columns], 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """What the users of Q requests did: the last ``PAST`` clicks, and as many carts and orders, latest last.

    item, category, brand  int64[Q, L] by kind, -1 where there is none
    """

    history: ItemLists
    category: Array
    brand: Array
    log_price: Array

    @classmethod
    def of(cls, requests: Requests, engine: Engine, facts: ItemFacts) -> _Past:
        history = requests.history
        rows = np.unique(history.item)
        id_RF, _, number_RD = facts.at(engine.items, rows)
        at = np.searchsorted(rows, history.item)
        names = facts.id_names
        return cls(
            history,
            id_RF[at, names.index("category")],
            id_RF[at, names.index("brand")],
            number_RD[at, 0],
        )

    def ids(self) -> dict[str, Array]:
        """The past fields."""
        action = self.history["action"]
        kinds = {"clicks": action == Action.CLICK, "orders": (action == Action.CART) | (action == Action.ORDER)}
        columns = {"item": self.history.item.astype(np.int64), "category": self.category, "brand": self.brand}
        return {
            f"{kind}_{name}": _latest(self.history, chosen, column)
            for kind, chosen in kinds.items()
            for name, column in columns.items()
        }

    def numbers(self, requests: Requests) -> Array:
        """float32[Q, 5]: see REQUEST_NUMBERS."""
        history, q = self.history, len(self.history)
        counts = [
            np.log1p(np.bincount(history.owner, history["action"] == action, minlength=q))
            for action in (Action.CLICK, Action.CART, Action.ORDER)
        ]
        last_Q = np.full(q, -np.inf)
        np.maximum.at(last_Q, history.owner, history["time_s"])
        age_Q = np.log1p(np.maximum(requests.time_s - last_Q, 0) / HOUR_S)
        age_Q = np.where(np.isfinite(last_Q), age_Q, np.nan)
        return _columns([*counts, self._usual_price(), age_Q])

    def of_candidates(
        self, owner_N: Array, item_N: Array, ids: Mapping[str, Array], log_price_N: Array
    ) -> dict[str, Array]:
        """float32[N] each: how often the user acted on the item, its category and its brand, and its price against the
        user's usual one."""
        pairs = {"item": (item_N.astype(np.int64), self.history.item.astype(np.int64))}
        pairs |= {name: (ids[name], getattr(self, name)) for name in ("category", "brand")}
        found = {
            f"past_{name}": np.log1p(_times(owner_N, mine, self.history.owner, theirs)).astype(np.float32)
            for name, (mine, theirs) in pairs.items()
        }
        return {**found, "price_against_past": log_price_N - self._usual_price()[owner_N]}

    def _usual_price(self) -> Array:
        """float64[Q]: the mean log price of what the user acted on, NaN without a past."""
        known = np.isfinite(self.log_price)
        owner = self.history.owner[known]
        count_Q = np.bincount(owner, minlength=len(self.history))
        sum_Q = np.bincount(owner, self.log_price[known], minlength=len(self.history))
        return np.divide(sum_Q, count_Q, out=np.full(len(count_Q), np.nan), where=count_Q > 0)


def _latest(history: ItemLists, chosen: Array, column: Array) -> Array:
    """int64[Q, PAST]: the last chosen values of each list, oldest first, then -1."""
    owner, values = history.owner[chosen], column[chosen]
    count_Q = np.bincount(owner, minlength=len(history))
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count_Q) - count_Q, count_Q)
    place -= np.repeat(np.maximum(count_Q - PAST, 0), count_Q)
    out = np.full((len(history), PAST), -1, np.int64)
    out[owner[place >= 0], place[place >= 0]] = values[place >= 0]
    return out


def _times(owner_N: Array, value_N: Array, owner_H: Array, value_H: Array) -> Array:
    """int64[N]: how often each (owner, value) stands among the (owner, value) of the past; 0 for the value -1."""
    values, code_H = np.unique(value_H, return_inverse=True)
    if not len(values):
        return np.zeros(len(owner_N), np.int64)
    place = np.minimum(np.searchsorted(values, value_N), len(values) - 1)
    known = (values[place] == value_N) & (value_N >= 0)
    size = int(max(owner_N.max(initial=0), owner_H.max(initial=0))) + 1
    count = np.bincount(owner_H * len(values) + code_H, minlength=size * len(values))
    return np.where(known, count[owner_N * len(values) + place], 0)


def standardised(features: Features, scale: Mapping[str, Array]) -> Features:
    """The numbers with mean 0 and deviation 1 by ``scale`` (``<side>/<block>`` float32[2, D]); NaN becomes 0."""

    def scaled(side: str, numbers: Mapping[str, Array]) -> dict[str, Array]:
        out = {}
        for block, value in numbers.items():
            mean_D, std_D = scale[f"{side}/{block}"]
            out[block] = np.nan_to_num(np.clip((value - mean_D) / std_D, -10, 10)).astype(np.float32)
        return out

    return replace(
        features,
        request_numbers=scaled("request", features.request_numbers),
        item_numbers=scaled("item", features.item_numbers),
    )


def scale_of(features: Features) -> dict[str, Array]:
    """What ``standardised`` needs, measured on features of training."""
    sides = {"request": features.request_numbers, "item": features.item_numbers}
    return {
        f"{side}/{block}": _mean_and_std(value) for side, numbers in sides.items() for block, value in numbers.items()
    }


def _mean_and_std(value_ND: Array) -> Array:
    known = np.isfinite(value_ND)
    count_D = np.maximum(known.sum(0), 1)
    filled = np.where(known, value_ND, 0).astype(np.float64)
    mean_D = filled.sum(0) / count_D
    var_D = (np.where(known, value_ND - mean_D, 0) ** 2).sum(0) / count_D
    return np.stack([mean_D, np.where(var_D > 1e-10, np.sqrt(var_D), 1.0)]).astype(np.float32)
