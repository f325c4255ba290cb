"""Shoppers: who comes, what they like, and how that changes from day to day; truth.

Everything of a person is a function of the person's number, so that one person likes the same in two shops.  An interest
is a shelf with a style; it lasts for some days and then gives way to another at once.

Legend: U shoppers, F interests, S shelves, D style dimensions, A age bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aisle.core.draws import key_of, mixed, normal, uniform
from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.knobs import Knobs
from aisle.simulate.shoppers.appeal import STYLE_DIM, unit

NUM_INTERESTS = 4
AGE_BANDS = ("under 25", "25 to 34", "35 to 44", "45 to 59", "60 and over")
AGE_SHARES = (0.18, 0.27, 0.22, 0.21, 0.12)

INTEREST_DAYS = 7.0
"""Median days that an interest lasts at changes 1; twice as long at one half."""

TURN_DAYS = 60.0
"""In so many days a style that turns comes back to where it was."""

NEWCOMER_SHARE = 0.6
"""Of the shoppers, at newcomers 1: their first visit falls inside the log."""


@dataclass(frozen=True, eq=False)
class Tastes:
    """What U shoppers like on one day: ``leaf`` int16[U, F], ``style`` float32[U, F, D], unit vectors."""

    leaf: Array
    style: Array


@dataclass(frozen=True, eq=False)
class Shoppers:
    """
    person    int64[U]       the person's number, the same in every shop
    age       int8[U]        index into AGE_BANDS
    weight    float32[U, F]  share of each interest in what a shopper comes for, adding up to 1; 0 where there is none
    thrift    float32[U]     how much a high price deters, about 1
    level     float32[U]     ln of the price looked for, over the usual one
    patience  float32[U]     how deep a page is read, about 1
    variety   float32[U]     about normal: who likes a mixture, and who is put off
    first_day float32[U]     when a shopper comes for the first time, 0 for those of old
    present   float64[S]     how much of each shelf the shop holds
    """

    person: Array
    age: Array
    weight: Array
    thrift: Array
    level: Array
    patience: Array
    variety: Array
    first_day: Array
    present: Array
    knobs: Knobs

    def __len__(self) -> int:
        return len(self.person)

    @classmethod
    def draw(cls, person: Array, leaf_I: Array, knobs: Knobs, days: int = 7) -> Shoppers:
        """The persons of these numbers in a shop whose items stand on the shelves ``leaf_I``.

        days  of the log: the first visits of newcomers are spread over them
        """
        person = np.asarray(person, np.int64)
        key = mixed(key_of("shopper"), person)
        age = np.searchsorted(np.cumsum(AGE_SHARES)[:-1], uniform(key), side="right").astype(np.int8)
        draw_UF = uniform(mixed(key[:, None], 1, np.arange(NUM_INTERESTS)))
        num = 1 + np.minimum((8 * knobs.interests * uniform(key, 11)).astype(np.int64), NUM_INTERESTS - 1)
        weight = 0.6 ** np.arange(NUM_INTERESTS) * (0.5 + draw_UF) * (np.arange(NUM_INTERESTS) < num[:, None])
        differs = 2 * knobs.difference
        is_new = uniform(key, 12) < NEWCOMER_SHARE * knobs.newcomers
        return cls(
            person=person,
            age=age,
            weight=(weight / weight.sum(1, keepdims=True)).astype(np.float32),
            thrift=np.exp(differs * (0.4 * normal(key, 10) - 0.1 * (age - 2.0))).astype(np.float32),
            level=(differs * (0.3 * normal(key, 11) + 0.06 * (age - 2.0))).astype(np.float32),
            patience=np.exp(differs * 0.3 * normal(key, 12)).astype(np.float32),
            variety=normal(key, 13).astype(np.float32),
            first_day=np.where(is_new, uniform(key, 14) * days, 0).astype(np.float32),
            present=np.sqrt(np.bincount(leaf_I, minlength=len(LEAVES)).astype(np.float64)),
            knobs=knobs,
        )

    @cached_property
    def age_taste(self) -> Array:
        """float64[A, S], rows rising to 1: how the interests of an age band are spread over the shelves."""
        names = np.array([key_of(f"interest in {leaf.shelf}") >> 1 for leaf in LEAVES], np.int64)
        liking_S = np.exp(0.6 * normal(mixed(names)))
        by_age_AS = np.exp(0.7 * normal(mixed(names, np.arange(len(AGE_BANDS))[:, None])))
        share_AS = self.present * liking_S * by_age_AS
        spread: Array = np.cumsum(share_AS / share_AS.sum(1, keepdims=True), axis=1)
        return spread

    def tastes(self, day: float) -> Tastes:
        """What everyone likes on a day, a number of days since the log began."""
        key = mixed(key_of("interest"), self.person)[:, None]
        key = mixed(key, np.arange(NUM_INTERESTS))
        epoch = self._epoch(key, day)
        fresh = mixed(key, epoch)
        return Tastes(self._leaves(uniform(fresh)), self._styles(fresh, day))

    def changed(self, before: float, after: float) -> Array:
        """bool[U, F]: which interests gave way to another between two days."""
        key = mixed(mixed(key_of("interest"), self.person)[:, None], np.arange(NUM_INTERESTS))
        changed: Array = self._epoch(key, before) != self._epoch(key, after)
        return changed

    def _epoch(self, key_UF: Array, day: float) -> Array:
        """int64[U, F]: how many interests came before the present one."""
        if self.knobs.changes == 0:
            return np.zeros(key_UF.shape, np.int64)
        lasts = INTEREST_DAYS / self.knobs.changes * np.exp(0.5 * normal(key_UF, 3))
        return np.floor(day / lasts + uniform(key_UF, 9)).astype(np.int64)

    def _leaves(self, draw_UF: Array) -> Array:
        leaf = np.empty(draw_UF.shape, np.int16)
        for band, spread in enumerate(self.age_taste):
            rows = self.age == band
            leaf[rows] = np.searchsorted(spread, draw_UF[rows], side="right")
        return np.minimum(leaf, len(LEAVES) - 1)

    @cached_property
    def _own_style(self) -> Array:
        """float32[U, D]: what stays with a person through all interests."""
        own: Array = normal(mixed(key_of("style"), self.person[:, None], np.arange(STYLE_DIM))).astype(np.float32)
        return own

    def _styles(self, fresh_UF: Array, day: float) -> Array:
        """A part of the style belongs to the person, a part to the interest, and the latter turns slowly."""
        style = normal(mixed(fresh_UF[:, :, None], np.arange(STYLE_DIM))).astype(np.float32)
        if self.knobs.changes > 0:
            turn = self.knobs.changes * np.sin(2 * np.pi * (day / TURN_DAYS + uniform(fresh_UF, 4)))
            # Shifted by one, the same numbers point in a direction that has nothing to do with the first.
            style = style + turn[:, :, None].astype(np.float32) * np.roll(style, 1, axis=2)
        return unit(0.6 * self._own_style[:, None, :] + 0.8 * style).astype(np.float32)
