"""Click models: what a log of pages and clicks says about items, once position is taken out of it.

A log is ItemLists, one list a page, with the columns ``clicked`` (0 or 1) and ``pair`` (int64, a number for the query and the
item; ``pair_ids`` makes it); ``pages_of`` reads it from events.
Every model has P(click) = examination * attractiveness; they differ in what examination depends on:

    Coec     the place, by counting          Zhang, Jones (2007)
    Pbm      the place, by EM                Richardson et al. (2007); Craswell et al. (2008)
    Cascade  no click above                  Craswell et al. (2008)
    Dbn      satisfaction and patience       Chapelle, Zhang (2009)
    Ubm      the place and the last click    Dupret, Piwowarski (2008)

``Model.fit(log)`` estimates one; the constructor takes known parameters; ``sample`` draws clicks from either.
The measures follow Chuklin, Markov, de Rijke, Click Models for Web Search (2015).

Legend: Q sessions, N rows, K places, P pairs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array, ItemLists
from aisle.evaluate._click_log import (
    TINY,
    PairValues,
    check_strength,
    clicks_of,
    dense,
    first_place_rate,
    pages_of,
    pair_ids,
    previous_click,
    product_em,
    rate_by_place,
)
from aisle.evaluate._click_posterior import dbn_em

__all__ = ["Cascade", "ClickModel", "Coec", "Dbn", "PairValues", "Pbm", "Ubm", "pages_of", "pair_ids"]

Chooser = Callable[[int, Array], Array]
"""(place, chance of a click float64[Q]) -> whether it is clicked, bool[Q]."""

FLOOR = 1e-6
"""Chances are held inside [FLOOR, 1 - FLOOR] before a logarithm: a click that a model excludes costs ln 1e-6, not infinity."""


@dataclass(frozen=True, slots=True, eq=False)
class ClickModel(ABC):
    """``attraction``: the chance of a click given examination, by pair; shrunken towards its prior when fitted."""

    attraction: PairValues

    @classmethod
    @abstractmethod
    def fit(cls, log: ItemLists) -> Self:
        """The model of a log with the columns ``clicked`` and ``pair``.

        Raises UnknownName when a column is missing, ContractError for clicks other than 0 and 1.
        """

    def attractiveness(self, pair_N: Array) -> Array:
        """float64[N], 0 to 1: the chance of a click once the item is examined; the prior for a pair that was not seen."""
        return self.attraction.at(pair_N)

    def examination(self, lists: ItemLists) -> Array:
        """float64[K]: the chance that each place is examined, a mean over these lists, clicks unknown."""
        seen_QK, _ = self._walk(lists, None)
        shown = np.bincount(lists.position)
        return np.bincount(lists.position, seen_QK[lists.owner, lists.position]) / np.maximum(shown, 1)

    def click_probability(self, lists: ItemLists) -> Array:
        """float64[N]: P(click) of each row of these pages, clicks unknown.  Reads ``pair``."""
        seen_QK, _ = self._walk(lists, None)
        return seen_QK[lists.owner, lists.position] * self.attractiveness(lists["pair"])

    def conditional_probability(self, log: ItemLists) -> Array:
        """float64[N]: P(click) of each row given the clicks above it on its page.  Reads ``pair`` and ``clicked``."""
        clicked_QK = dense(log, clicks_of(log), False)
        seen_QK, _ = self._walk(log, lambda k, chance_Q: clicked_QK[:, k])
        return seen_QK[log.owner, log.position] * self.attractiveness(log["pair"])

    def sample(self, lists: ItemLists, rng: np.random.Generator) -> Array:
        """bool[N]: clicks drawn from the model, page by page from the top.  Reads ``pair``."""
        _, clicked_QK = self._walk(lists, lambda k, chance_Q: rng.random(len(chance_Q)) < chance_Q)
        return clicked_QK[lists.owner, lists.position]

    def log_likelihood(self, log: ItemLists) -> float:
        """Mean natural log-likelihood of a page: the sum over its rows of ln P(click or no click | clicks above)."""
        chance = np.clip(self.conditional_probability(log), FLOOR, 1 - FLOOR)
        return float(np.log(np.where(clicks_of(log), chance, 1 - chance)).sum() / max(len(log), 1))

    def perplexity(self, log: ItemLists) -> Array:
        """float64[K]: 2 ** -mean(log2 P(click or no click)) at each place, clicks above unknown; 1 is perfect, 2 a coin."""
        chance = np.clip(self.click_probability(log), FLOOR, 1 - FLOOR)
        bits = np.log2(np.where(clicks_of(log), chance, 1 - chance))
        return np.exp2(-np.bincount(log.position, bits) / np.maximum(np.bincount(log.position), 1))

    def _walk(self, lists: ItemLists, choose: Chooser | None) -> tuple[Array, Array]:
        """Down every page at once: (chance of examination float64[Q, K], clicks bool[Q, K]).

        ``choose`` gives the clicks that examination then depends on; None: examination is averaged over them.
        """
        pair_QK = dense(lists, lists["pair"])
        seen_QK = np.zeros(pair_QK.shape)
        clicked_QK = np.zeros(pair_QK.shape, bool)
        state = self._start(pair_QK.shape)
        for k in range(pair_QK.shape[1]):
            attraction = self.attractiveness(pair_QK[:, k])
            seen_QK[:, k] = self._examined(state, k)
            if choose is not None:
                clicked_QK[:, k] = choose(k, seen_QK[:, k] * attraction)
            clicked = None if choose is None else clicked_QK[:, k]
            state = self._after(state, k, pair_QK[:, k], attraction, clicked)
        return seen_QK, clicked_QK

    @abstractmethod
    def _start(self, shape: tuple[int, int]) -> Any:
        """What is known of Q shoppers before the first place."""

    @abstractmethod
    def _examined(self, state: Any, k: int) -> Array:
        """float64[Q]: the chance that place k is examined."""

    def _after(self, state: Any, k: int, pair_Q: Array, attraction_Q: Array, clicked_Q: Array | None) -> Any:
        """The state after place k, given its clicks; averaged over them when None."""
        return state


@dataclass(frozen=True, slots=True, eq=False)
class Pbm(ClickModel):
    """Position-based model: P(click) = place[k] * attraction.  ``place`` float64[K]; deeper places are as the last one."""

    place: Array

    @classmethod
    def fit(cls, log: ItemLists, *, strength: float = 1.0, iterations: int = 100) -> Self:
        """EM from the COEC start.  Only products are known, so the place that is clicked most counts as always examined.

        strength  weight in impressions of the prior: the click rate at the first place
        Raises as ``ClickModel.fit``, and SettingError for a strength below 0 or no iteration.
        """
        check_strength(strength, iterations)
        start = Coec.fit(log, strength=strength)
        index = np.searchsorted(start.attraction.pair, log["pair"])
        prior = start.attraction.prior
        attraction, place = product_em(
            index, log.position, clicks_of(log), np.clip(start.attraction.value, 1e-4, 0.99), start.place, prior, strength,
            iterations,
        )  # fmt: skip
        return cls(PairValues(start.attraction.pair, attraction, prior), place)

    def _start(self, shape: tuple[int, int]) -> Array:
        return np.ones(shape[0])

    def _examined(self, state: Array, k: int) -> Array:
        chance: Array = state * self.place[min(k, len(self.place) - 1)]
        return chance


@dataclass(frozen=True, slots=True, eq=False)
class Coec(Pbm):
    """Clicks over expected clicks, read as a position model: P(click) = COEC * (click rate of the place).

    COEC of a pair = its clicks / the sum of the click rates of the places where it was shown.  Cheap and without iteration;
    it holds only where good items are not shown higher, since then the rate of a place is examination alone.
    Source: Zhang, Jones, Comparing click logs and editorial labels for training query rewriting (WWW 2007 workshop).
    """

    @classmethod
    def fit(cls, log: ItemLists, *, strength: float = 1.0, iterations: int = 1) -> Self:
        """Counts.  ``strength``: expected impressions of the prior, a COEC of 1.  Raises as ``Pbm.fit``."""
        check_strength(strength)
        clicked, rate_K = clicks_of(log), rate_by_place(log)
        top = max(float(rate_K.max(initial=0.0)), TINY)
        pair, index = np.unique(log["pair"], return_inverse=True)
        expected = np.bincount(index, rate_K[log.position], len(pair)) / top
        clicks = np.bincount(index, clicked.astype(np.float64), len(pair))
        prior = first_place_rate(log)
        value = (clicks + strength * prior) / np.maximum(expected + strength, TINY)
        return cls(PairValues(pair, np.minimum(value, 1.0), prior), np.maximum(rate_K / top, 1e-4))


@dataclass(frozen=True, slots=True, eq=False)
class Dbn(ClickModel):
    """Dynamic Bayesian network: a shopper reads down, stops when satisfied by a click or when patience ends.

    P(examined k+1) = continuation * P(examined k) * (1 - attraction * satisfaction), 1 at the first place.
    satisfaction  by pair, the chance that a click ends the search;  continuation  0 to 1, 1 in the simplified model
    Source: Chapelle, Zhang, A dynamic Bayesian network click model for web search ranking (WWW 2009).
    Raises SettingError for a continuation outside [0, 1].
    """

    satisfaction: PairValues
    continuation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.continuation <= 1:
            raise SettingError(f"continuation is {self.continuation}; give a chance from 0 to 1")

    @classmethod
    def fit(
        cls, log: ItemLists, *, strength: float = 1.0, continuation: float | None = None, iterations: int = 30
    ) -> Self:
        """EM over what happened below the last click, ``continuation`` learnt too.

        ``continuation=1``: the simplified model by counting, as if nothing below the last click were examined.  Fast; it
        reads satisfaction high, since a search given up looks like one that ended well, and attraction a little high.
        strength  weight of the priors: the click rate of the first place, and a satisfaction of 1/2
        Raises as ``ClickModel.fit``, and SettingError for a strength below 0, no iteration, or another continuation.
        """
        check_strength(strength, iterations)
        if continuation not in (None, 1.0):
            raise SettingError(f"continuation is {continuation}; give 1 for the simplified model or None to learn it")
        clicked = clicks_of(log)
        clicks_left = _clicks_from(log, clicked)
        pair, index = np.unique(log["pair"], return_inverse=True)
        page_clicks = np.bincount(log.owner, clicked.astype(np.float64), len(log))
        examined = (clicks_left > 0) | (page_clicks[log.owner] == 0)
        prior = first_place_rate(log)
        attraction = _rate(index, clicked, examined, len(pair), prior, strength)
        satisfied = _rate(index, clicked & (clicks_left == 1), clicked, len(pair), 0.5, strength)
        chance = 1.0
        if continuation is None:
            attraction, satisfied, chance = dbn_em(log, index, attraction, satisfied, prior, strength, iterations)
        return cls(PairValues(pair, attraction, prior), PairValues(pair, satisfied, 0.5), chance)

    def _start(self, shape: tuple[int, int]) -> Array:
        return np.ones(shape[0])

    def _examined(self, state: Array, k: int) -> Array:
        return state

    def _after(self, state: Array, k: int, pair_Q: Array, attraction_Q: Array, clicked_Q: Array | None) -> Array:
        satisfied = self.satisfaction.at(pair_Q)
        if clicked_Q is None:
            onward = state * (1 - attraction_Q * satisfied)
        else:
            read_on = state * (1 - attraction_Q) / np.maximum(1 - state * attraction_Q, TINY)
            onward = np.where(clicked_Q, 1 - satisfied, read_on)
        after: Array = self.continuation * onward
        return after


@dataclass(frozen=True, slots=True, eq=False)
class Cascade(Dbn):
    """Cascade: rows are read from the top until the first click, which satisfies.  A second click has no chance.

    Source: Craswell, Zoeter, Taylor, Ramsey, An experimental comparison of click position-bias models (WSDM 2008).
    """

    @classmethod
    def of(cls, attraction: PairValues) -> Self:
        """The model with these parameters: its satisfaction is 1 everywhere."""
        return cls(attraction, PairValues(attraction.pair[:0], attraction.value[:0], 1.0), 1.0)

    @classmethod
    def fit(
        cls, log: ItemLists, *, strength: float = 1.0, continuation: float | None = 1.0, iterations: int = 1
    ) -> Self:
        """Counts down to the first click of each page; later clicks are left out.  Raises as ``Dbn.fit``."""
        check_strength(strength)
        examined = previous_click(log) < 0
        pair, index = np.unique(log["pair"], return_inverse=True)
        prior = first_place_rate(log)
        value = _rate(index, clicks_of(log) & examined, examined, len(pair), prior, strength)
        return cls.of(PairValues(pair, value, prior))


@dataclass(frozen=True, slots=True, eq=False)
class Ubm(ClickModel):
    """User browsing model: P(click) = browsing[k, j] * attraction, j the place of the last click above plus 1, 0 for none.

    browsing  float64[K, K]; deeper places are as the last one.
    Source: Dupret, Piwowarski, A user browsing model to predict search engine click data (SIGIR 2008).
    Raises ContractError when ``browsing`` is not square.
    """

    browsing: Array

    def __post_init__(self) -> None:
        if self.browsing.ndim != 2 or self.browsing.shape[0] != self.browsing.shape[1]:
            raise ContractError(f"browsing of shape {self.browsing.shape}; give [places, last click + 1], square")

    @classmethod
    def fit(cls, log: ItemLists, *, strength: float = 1.0, iterations: int = 100) -> Self:
        """EM from the position-based start, the place most clicked counting as always examined.  Raises as ``Pbm.fit``."""
        start = Pbm.fit(log, strength=strength, iterations=10)
        num_places = len(start.place)
        cell = log.position * num_places + previous_click(log) + 1
        index = np.searchsorted(start.attraction.pair, log["pair"])
        prior = start.attraction.prior
        attraction, browsing = product_em(
            index, cell, clicks_of(log), start.attraction.value, np.repeat(start.place, num_places), prior, strength,
            iterations,
        )  # fmt: skip
        return cls(PairValues(start.attraction.pair, attraction, prior), browsing.reshape(num_places, num_places))

    def _start(self, shape: tuple[int, int]) -> Array:
        """float64[Q, K + 1]: the distribution of the last click; the first column is none."""
        state = np.zeros((shape[0], shape[1] + 1))
        state[:, 0] = 1
        return state

    def _chance(self, state: Array, k: int) -> Array:
        """float64[K + 1]: examination of place k by last click."""
        last = len(self.browsing) - 1
        chance: Array = self.browsing[min(k, last), np.minimum(np.arange(state.shape[1]), last)]
        return chance

    def _examined(self, state: Array, k: int) -> Array:
        chance: Array = state @ self._chance(state, k)
        return chance

    def _after(self, state: Array, k: int, pair_Q: Array, attraction_Q: Array, clicked_Q: Array | None) -> Array:
        if clicked_Q is None:
            stays: Array = state * (1 - attraction_Q[:, None] * self._chance(state, k))
        else:
            stays = np.where(clicked_Q[:, None], 0.0, state)
        stays[:, k + 1] = 1 - stays.sum(1)
        return stays


def _clicks_from(log: ItemLists, clicked: Array) -> Array:
    """int64[N]: clicks of the page at this row or below it."""
    total = np.concatenate([[0], np.cumsum(clicked)])
    left: Array = np.repeat(total[log.splits[1:]], log.counts) - total[:-1]
    return left


def _rate(index: Array, hit: Array, tried: Array, size: int, prior: float, strength: float) -> Array:
    """float64[P]: hits / tries of each pair, shrunken: (hits + strength * prior) / (tries + strength)."""
    hits = np.bincount(index, hit.astype(np.float64), size) + strength * prior
    rate: Array = hits / np.maximum(np.bincount(index, tried, size) + strength, TINY)
    return rate
