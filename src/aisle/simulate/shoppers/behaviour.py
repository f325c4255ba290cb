"""Behaviour: what shoppers do with a page, as chances and as acts; truth.

A page is examined (``examination``); an examined item is clicked by how well it answers, suits, looks and costs, less where
others on the page can stand for it; what is clicked may be put in the cart, ordered, and sent back.

Legend: V visits, K places, F interests, D style dimensions, R items remembered, S shelves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.draws import mixed, uniform
from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.judgments.gradebook import Gradebook
from aisle.simulate.language.queries import Query
from aisle.simulate.shoppers.appeal import Appeal
from aisle.simulate.shoppers.examination import Reader
from aisle.simulate.shoppers.population import Shoppers
from aisle.simulate.shoppers.visits import Minds
from aisle.simulate.world import World

CLICKED, ENDED, CARTED, ORDERED, RETURNED = range(5)
"""The draws of a page and an item."""

SEARCH_WANT, FEED_WANT = -4.1, -2.9
GRADE_WANT = 1.25
"""Log-odds of a click: a search begins low and gains with every grade above the first."""

FITTING = ("Clothing", "Shoes")
"""Departments whose products often do not fit."""


@dataclass(frozen=True, eq=False)
class Chances:
    """float32[V, K] each, 0 where a page has no item.

    examined    over all that may happen above
    attraction  of a click, once examined
    cart        of the cart, once clicked
    order       of the order, once in the cart
    returned    of sending it back, once ordered
    """

    examined: Array
    attraction: Array
    cart: Array
    order: Array
    returned: Array

    @property
    def click(self) -> Array:
        """float32[V, K]: P(click)."""
        chance: Array = self.examined * self.attraction
        return chance

    @property
    def bought(self) -> Array:
        """float32[V, K]: P(order)."""
        chance: Array = self.click * self.cart * self.order
        return chance


@dataclass(frozen=True, eq=False)
class Acts:
    """bool[V, K] each: a step of the way, only where the one before it was taken."""

    click: Array
    cart: Array
    order: Array
    returned: Array


class Behaviour:
    """The shoppers of a town before its pages.  ``model``: how they read, see ``examination``."""

    def __init__(self, world: World, appeal: Appeal, shoppers: Shoppers, asked: Sequence[Query], model: str) -> None:
        self.world, self.appeal, self.shoppers, self.model = world, appeal, shoppers, model
        self.grades = Gradebook(world, asked)
        self._fitting = np.isin([leaf.department for leaf in LEAVES], FITTING)

    def chances(self, minds: Minds, item_VK: Array) -> Chances:
        """What may happen, nothing drawn."""
        wants = self._wants(minds, item_VK)
        return Chances(wants.reader.read(self.model).examined, wants.reader.attraction, *wants.after)

    def acts(self, minds: Minds, item_VK: Array) -> Acts:
        """What happens: a function of visit, page and item, whoever asks and whatever was drawn before."""
        wants = self._wants(minds, item_VK)
        key_VK = mixed(minds.key[:, None], item_VK)
        click = wants.reader.read(self.model, uniform(key_VK, CLICKED), uniform(key_VK, ENDED)).clicked
        hit = np.nonzero(click)
        key_N, taken, acts = key_VK[hit], np.ones(len(hit[0]), bool), []
        for draw, chance in zip((CARTED, ORDERED, RETURNED), wants.after, strict=True):
            taken = taken & (uniform(key_N, draw) < chance[hit])
            act = np.zeros(click.shape, bool)
            act[hit] = taken
            acts.append(act)
        return Acts(click, *acts)

    def _wants(self, minds: Minds, item_VK: Array) -> _Wants:
        knobs, shown = self.world.knobs, item_VK >= 0
        item = np.where(shown, item_VK, 0)
        grade = self.grades.of(minds.query, item)
        searches = (minds.query >= 0)[:, None]
        taste = knobs.taste * self.taste(minds, item)
        picture, dear = self.appeal.picture[item], self._price(minds, item)
        base = np.where(searches, SEARCH_WANT + GRADE_WANT * (grade - 1) + 0.7 * taste, FEED_WANT + 1.5 * taste)
        base = base + self.appeal.general[item] + knobs.picture * 0.8 * picture - 0.4 * dear
        base += 3 * knobs.together * self.appeal.together(_wide(minds.clicked, item), item.ravel()).reshape(item.shape)
        base -= 2 * knobs.fatigue * self._seen(minds, item)
        want = base + self._company(minds, item, shown, base)
        attraction = np.where(shown, sigmoid(want), 0).astype(np.float32)
        buying = minds.buying[:, None]
        reader = Reader(
            attraction=attraction,
            satisfies=np.clip(0.2 + 0.4 * attraction + 0.2 * ~buying, 0, 1).astype(np.float32),
            eye=np.exp(-knobs.picture * picture).astype(np.float32),
            patience=self.shoppers.patience[minds.user],
        )
        quality = self.appeal.quality[item]
        cart = sigmoid(0.7 * base + 0.3 * quality - 0.6 * dear + 1.0 * buying - 1.3)
        order = sigmoid(0.9 * buying - 0.5 * dear - 0.8)
        fits = np.where(searches, 0.5 * (grade - 3), 0.3 * taste)
        returned = sigmoid(0.7 * self._fitting[self.appeal.leaf[item]] - 0.7 * quality - fits - 2.6)
        stocked = shown & self.appeal.stocked[item]
        after = tuple(np.where(stocked, p, 0).astype(np.float32) for p in (cart, order, returned))
        return _Wants(reader, (after[0], after[1], after[2]))

    def taste(self, minds: Minds, item: Array) -> Array:
        """float32[V, K], 0 to about 2: how far an item suits the shopper's interests, whatever was asked."""
        near_VFK = self.appeal.near[minds.tastes[:, :, None], self.appeal.leaf[item][:, None, :]]
        cosine_VFK = minds.style @ self.appeal.style[item].transpose(0, 2, 1)
        suits: Array = (minds.weight[:, :, None] * near_VFK * (0.7 + cosine_VFK)).sum(1)
        return suits

    def _price(self, minds: Minds, item: Array) -> Array:
        """float32[V, K]: how far the price is above what the shopper looks for, by thrift; a little when far below."""
        over = self.appeal.dear[item] - self.shoppers.level[minds.user][:, None]
        thrift = self.shoppers.thrift[minds.user][:, None]
        dear: Array = thrift * np.maximum(over, 0) + 0.2 * np.maximum(-over - 0.5, 0)
        return dear

    def _seen(self, minds: Minds, item: Array) -> Array:
        """bool[V, K]: shown lately, and not the item that was clicked."""
        seen: Array = (item[:, :, None] == minds.seen[:, None, :]).any(2) & (item != minds.clicked[:, None])
        return seen

    def _company(self, minds: Minds, item: Array, shown: Array, base: Array) -> Array:
        """float32[V, K]: what the other items of the page do to one: substitutes take from it, a mixture draws or puts off.

        Who looks around likes a mixture more than who is about to buy.
        """
        knobs = self.world.knobs
        if knobs.substitution == 0 and knobs.variety == 0:
            return np.zeros(item.shape, np.float32)
        alike_VKK = self._alike(item) * (shown[:, :, None] & shown[:, None, :])
        pull = np.einsum("vkj,vj->vk", alike_VKK, sigmoid(base).astype(np.float32))
        num = shown.sum(1)
        mixture = 1 - alike_VKK.sum((1, 2)) / np.maximum(num * (num - 1), 1)
        liking = 0.7 * self.shoppers.variety[minds.user] + np.where(minds.buying, -0.4, 0.4)
        drawn = 2 * knobs.variety * liking * np.where(num > 1, mixture - 0.6, 0)
        effect: Array = drawn[:, None] - 2.0 * knobs.substitution * np.log1p(pull)
        return effect.astype(np.float32)

    def _alike(self, item: Array) -> Array:
        """float32[V, K, K], 0 on the diagonal; as ``Appeal.alike`` for every pair of a page."""
        leaf, style = self.appeal.leaf[item], self.appeal.style[item]
        alike: Array = (1 + style @ style.transpose(0, 2, 1)) / 2 * (leaf[:, :, None] == leaf[:, None, :])
        alike *= 1 - np.eye(item.shape[1], dtype=np.float32)
        return alike


@dataclass(frozen=True, eq=False)
class _Wants:
    """The reader of each page, and the chances of cart, order and return."""

    reader: Reader
    after: tuple[Array, Array, Array]


def sigmoid(x: Array) -> Array:
    value: Array = 1.0 / (1.0 + np.exp(-x))
    return value


def _wide(row_V: Array, item: Array) -> Array:
    return np.repeat(row_V, item.shape[1])
