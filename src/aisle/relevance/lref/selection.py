"""Data selection with three helpers: which annotated pairs are hard, can be learned, and are not mislabelled.

    S = { x :  IM(x) != L(x),  CI(x) = L(x),  MS(x) != L(x) }          L(x): the annotator's label

    IM  initial model            learns from a random sample: it knows what is easy
    CI  challenge identifier     learns equally from head, middle and tail queries: it knows the long tail as well
    MS  mislabelled supervisor   learns, for each pair, the label most easily mistaken for the one given: where it says what the
                                 annotator said, that is the likely mistake

The helpers are cross-fitted by query: each pair is judged by helpers that saw no pair of its query, or IM would know all of
them by heart and keep nothing.

Legend: N pairs, C grades, E queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.method import Settings
from aisle.core.shop import ShopView
from aisle.data.splits import even_folds
from aisle.relevance._pairs import Pairs
from aisle.relevance._writers.teacher import Reading, Teacher

Helper = Literal["im", "ci", "ms"]
Learn = Callable[[str, Pairs, Pairs], Array]
"""(task, pairs to learn from, pairs to judge) -> chances float32[N, C] of the latter, by a model that starts anew."""


class Selection(Settings):
    """
    by           ``helpers``: the three models; ``confident``: confident learning (arXiv:1911.00068), pairs whose label a model
                 disbelieves are left out; ``random``: as many pairs by chance as ``share`` says; ``all``: every pair
    filters      which of the helpers decide
    mislabelled  ``differs``: MS must not say what the annotator said; ``agrees``: it must (the other reading of the paper)
    folds        parts of the queries, each judged by helpers that learned from the others: every helper is trained so often
    sample       share of the other parts' pairs that IM and CI learn from
    share        of all pairs, kept by ``random``
    start        what the judge learns before the selected pairs, which are few and hard, and what is then explained and made
                 into preferences: ``all`` pairs; ``trusted``, those whose label the helpers believe (good helpers: weak ones
                 believe in the commonest grades alone); or ``nothing``: the selected pairs are all there is, as in the paper
    """

    by: Literal["helpers", "confident", "random", "all"] = "helpers"
    filters: tuple[Helper, ...] = ("im", "ci", "ms")
    mislabelled: Literal["differs", "agrees"] = "differs"
    folds: int = Field(2, ge=2)
    sample: float = Field(0.5, gt=0, le=1)
    share: float = Field(0.1, gt=0, le=1)
    start: Literal["all", "trusted", "nothing"] = "all"


@dataclass(frozen=True, eq=False)
class Selected:
    """
    keep     bool[N]
    said     int64[N] of each helper (or model) that was asked, by name
    trusted  bool[N]: the label is believed, whether the pair is easy or hard
    """

    keep: Array
    said: dict[str, Array]
    trusted: Array


def select(pairs: Pairs, how: Selection, learn: Learn, teacher: Teacher, traffic_E: Array, seed: int) -> Selected:
    """Which pairs to keep.

    teacher    names the label most easily mistaken for the one given
    traffic_E  float64: how often each of ``pairs.queries`` is asked

    Raises SettingError for fewer queries than folds.
    """
    every = np.ones(len(pairs), bool)
    if how.by == "all":
        return Selected(every, {}, every)
    if how.by == "random":
        order = np.random.default_rng((seed, 0x5E1)).permutation(len(pairs))
        keep = np.zeros(len(pairs), bool)
        keep[order[: max(1, round(how.share * len(pairs)))]] = True
        return Selected(keep, {}, every)
    if how.by == "confident":
        chance_NC = _cross_fitted("model", pairs, how, lambda part: part, learn, seed)
        keep = believed(chance_NC, pairs.label)
        return Selected(keep, {"model": chance_NC.argmax(1)}, keep)
    draws: dict[str, Callable[[Pairs], Pairs]] = {
        "im": lambda part: at_random(part, how.sample, seed),
        "ci": lambda part: evenly_by_traffic(part, traffic_E, how.sample, seed),
        "ms": lambda part: Pairs(part.scale, part.queries, part.query, part.row, confusable_labels(part, teacher)),
    }
    said: dict[str, Array] = {
        name: _cross_fitted(name, pairs, how, draws[name], learn, seed).argmax(1) for name in how.filters
    }
    return Selected(kept(said, pairs.label, how.mislabelled), said, trusted(said, pairs.label, how.mislabelled))


def kept(said: dict[str, Array], label_N: Array, mislabelled: Literal["differs", "agrees"] = "differs") -> Array:
    """bool[N]: the set S, by the helpers that were asked."""
    keep = np.ones(len(label_N), bool)
    if "im" in said:
        keep &= said["im"] != label_N
    if "ci" in said:
        keep &= said["ci"] == label_N
    if "ms" in said:
        keep &= (said["ms"] != label_N) == (mislabelled == "differs")
    return keep


def trusted(said: dict[str, Array], label_N: Array, mislabelled: Literal["differs", "agrees"] = "differs") -> Array:
    """bool[N]: the set S without its first condition.  What the judge gets wrong of these is what S asks for, with the judge
    itself in the place of IM: hard for it, learnable, not mislabelled."""
    return kept({name: of for name, of in said.items() if name != "im"}, label_N, mislabelled)


def believed(chance_NC: Array, label_N: Array) -> Array:
    """bool[N]: confident learning's verdict.  A label is disbelieved where another grade reaches its own threshold (the mean
    chance that it has among pairs labelled so) and is the likeliest of those that do."""
    grades = np.arange(chance_NC.shape[1])
    threshold_C = np.array([chance_NC[label_N == c, c].mean() if (label_N == c).any() else 1.0 for c in grades])
    reached_NC = np.where(chance_NC >= threshold_C, chance_NC, -1.0)
    likeliest = reached_NC.argmax(1)
    keep: Array = (reached_NC.max(1) < 0) | (likeliest == label_N)
    return keep


# -- what each helper learns from --------------------------------------------------------------------------------------


def at_random(pairs: Pairs, share: float, seed: int) -> Pairs:
    """IM's sample: as annotated, so mostly what is shown often and is easy."""
    order = np.random.default_rng((seed, 0x1)).permutation(len(pairs))
    return pairs.take(np.sort(order[: max(1, round(share * len(pairs)))]))


def evenly_by_traffic(pairs: Pairs, traffic_E: Array, share: float, seed: int) -> Pairs:
    """CI's sample: as many pairs of head as of middle and of tail queries (fewer of a part that has not so many)."""
    used = np.unique(pairs.query)
    third_N = thirds(traffic_E[used])[np.searchsorted(used, pairs.query)]
    random = np.random.default_rng((seed, 0xC1))
    each = max(1, round(share * len(pairs) / 3))
    parts = [random.permutation(np.flatnonzero(third_N == third))[:each] for third in range(3)]
    return pairs.take(np.sort(np.concatenate(parts)))


def thirds(traffic_E: Array) -> Array:
    """int64[E]: 0 for the third of the queries that is asked most, 1 for the next, 2 for the long tail.

    Thirds of the queries, not of the traffic: annotated pairs follow traffic, so thirds of that would be the same sample again.
    """
    out = np.empty(len(traffic_E), np.int64)
    out[np.argsort(-traffic_E, kind="stable")] = 3 * np.arange(len(traffic_E)) // max(len(traffic_E), 1)
    return out


def confusable_labels(pairs: Pairs, teacher: Teacher) -> Array:
    """int64[N]: the label most easily mistaken for each pair's own, never that itself: what a reader of displayed text takes the
    pair for where that differs, else the next better grade (most mistakes are optimistic), or the one below the best."""
    best = len(pairs.scale) - 1
    out = np.where(pairs.label < best, pairs.label + 1, best - 1)
    for query, places in pairs.by_query():
        for place, reading in zip(places.tolist(), teacher.read(query, pairs.row[places].tolist()), strict=True):
            taken = _label_of(reading, teacher)
            if taken is not None and taken != pairs.label[place]:
                out[place] = taken
    return out


def _label_of(reading: Reading, teacher: Teacher) -> int | None:
    if reading.category is None or reading.attribute is None:
        return None
    return teacher.table.label(reading.category, reading.attribute)


def traffic_of(shop: ShopView, pairs: Pairs) -> Array:
    """float64[E]: searches of each query in the log; where the log knows none of them, the number of its judged pairs, as
    annotation follows exposure."""
    events = shop.events
    place = {query: e for e, query in enumerate(pairs.queries)}
    known = np.array([place.get(query, -1) for query in events.queries], np.int64)
    traffic_E = np.zeros(len(pairs.queries))
    asked = events["query"] >= 0
    if len(known) and asked.any():
        pages = np.unique(np.stack([events["request"][asked], events["query"][asked].astype(np.int64)]), axis=1)[1]
        of = known[pages]
        traffic_E = np.bincount(of[of >= 0], minlength=len(traffic_E)).astype(float)
    return traffic_E if traffic_E.any() else np.bincount(pairs.query, minlength=len(traffic_E)).astype(float)


def _cross_fitted(
    name: str, pairs: Pairs, how: Selection, draw: Callable[[Pairs], Pairs], learn: Learn, seed: int
) -> Array:
    """float32[N, C]: chances of each pair by a helper that saw none of its query's pairs."""
    used = np.unique(pairs.query)
    if len(used) < how.folds:
        raise SettingError(
            f"the helpers of selection.by={how.by} need a judged query for each of {how.folds} folds, and there are {len(used)}; "
            "grade more queries, or set selection.by=all"
        )
    fold_N = even_folds([pairs.queries[e] for e in used], how.folds, seed)[np.searchsorted(used, pairs.query)]
    out = np.zeros((len(pairs), len(pairs.scale)), np.float32)
    for fold in range(how.folds):
        mine = np.flatnonzero(fold_N == fold)
        others = pairs.take(np.flatnonzero(fold_N != fold))
        out[mine] = learn(f"{name} {fold + 1}", draw(others), pairs.take(mine))
    return out
