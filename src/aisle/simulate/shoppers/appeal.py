"""Appeal: what draws shoppers to the items of a world beyond the words, item by item; truth.

Styles and looks are functions of the names of brands, colours, uses and patterns, so that they mean the same in every
world: tastes carry over from one shop to another.

Legend: I items, S shelves, D style dimensions, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.draws import key_of, mixed, normal
from aisle.core.lists import Array
from aisle.simulate.catalogue.relations import WEIGHT_SS, together
from aisle.simulate.catalogue.taxonomy import LEAVES, TEXTS
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.world import World

STYLE_DIM = 8

MIDDLE_RATING = 3.9

SAME_AISLE = 0.35
SAME_USE = 0.3
"""How well two things of different shelves go together that are for one use."""


@dataclass(frozen=True, eq=False)
class Appeal:
    """
    leaf     int16[I]       shelf
    style    float32[I, D]  unit vectors: brand, colour and use
    general  float32[I]     what everyone likes: rating, number of reviews, and what no column shows of demand
    picture  float32[I]     about -1 to 1: how the colour and the pattern of the picture please, and how good the photo is
    quality  float32[I]     about normal; known after the purchase, guessed before
    dear     float32[I]     ln(price / usual price of the shelf)
    use      int16[I]       what it is for
    stocked  bool[I]
    near     float32[S, S]  how much a shopper of one shelf cares for another: 1 the same, less in its aisle
    truth    of the world
    """

    leaf: Array
    style: Array
    general: Array
    picture: Array
    quality: Array
    dear: Array
    use: Array
    stocked: Array
    near: Array
    truth: Truth

    @classmethod
    def of(cls, world: World) -> Appeal:
        truth, items = world.truth, world.items
        none = np.full(world.num_items, -1, np.int16)
        colour, pattern = truth.families.get("colour", none), truth.families.get("pattern", none)
        rating = np.nan_to_num(items["rating"].to_numpy(), nan=MIDDLE_RATING).astype(np.float32)
        usual = np.array([leaf.price for leaf in LEAVES])[truth.leaf]
        return cls(
            leaf=truth.leaf.astype(np.int16),
            style=_styles(world, colour),
            general=0.4 * (rating - MIDDLE_RATING) + 0.4 * world.popularity + 0.12 * np.log(truth.demand),
            picture=_pictures(truth.leaf, colour, pattern) + 1.5 * (truth.photo - np.float32(0.55)),
            quality=truth.quality,
            dear=np.log(truth.price_cents / 100 / usual).astype(np.float32),
            use=truth.use.astype(np.int16),
            stocked=items["stock"].to_numpy() > 0,
            near=_near(),
            truth=truth,
        )

    def together(self, one: Array, other: Array) -> Array:
        """float32[N]: how well row ``other`` goes with row ``one``, 0 to 1; -1 goes with nothing.

        Two mechanisms: the use-together graph of shelves, and any two things for one use, such as camping.
        """
        leaf, others = self.leaf[one], self.leaf[other]
        value = np.where((self.use[one] == self.use[other]) & (leaf != others), SAME_USE, 0).astype(np.float32)
        linked = np.flatnonzero((WEIGHT_SS[leaf, others] > 0) & (one >= 0) & (other >= 0))
        value[linked] = np.maximum(value[linked], together(self.truth, one[linked], other[linked]))
        return np.where((one >= 0) & (other >= 0), value, 0).astype(np.float32)

    def alike(self, one: Array, other: Array) -> Array:
        """float32[...]: how much one item can stand for the other, 0 to 1: the same shelf, and style."""
        cosine = (self.style[one] * self.style[other]).sum(-1)
        value: Array = np.where(self.leaf[one] == self.leaf[other], (1 + cosine) / 2, 0).astype(np.float32)
        return value


def directions(names: Sequence[str], dim: int = STYLE_DIM) -> Array:
    """float32[len(names), dim]: a direction for each name, the same for ever; ``""`` points nowhere."""
    key = mixed(np.array([key_of(name) >> 1 for name in names], np.int64)[:, None], np.arange(dim))
    vector = normal(key) * np.array([bool(name) for name in names])[:, None]
    return unit(vector).astype(np.float32)


def unit(vector: Array) -> Array:
    """Scaled to length 1 along the last axis; a zero stays."""
    scaled: Array = vector / np.maximum(np.sqrt((vector * vector).sum(-1, keepdims=True)), 1e-9)
    return scaled


def _styles(world: World, colour: Array) -> Array:
    """float32[I, D]: half of it the brand, the rest the colour and the use."""
    truth = world.truth
    style = 0.8 * directions([f"brand {b}" for b in truth.brands])[truth.brand]
    style += 0.6 * directions([*(f"colour {t}" for t in TEXTS), ""])[colour]
    style += 0.4 * directions([f"use {u}" for u in truth.uses])[truth.use]
    return unit(style).astype(np.float32)


def _pictures(leaf: Array, colour: Array, pattern: Array) -> Array:
    """float32[I]: a colour pleases differently in each department, a pattern everywhere alike."""
    departments = {name: n for n, name in enumerate(dict.fromkeys(shelf.department for shelf in LEAVES))}
    department = np.array([departments[shelf.department] for shelf in LEAVES])[leaf]
    of_colour = _likings([f"look of {text} in {name}" for name in departments for text in (*TEXTS, "")])
    of_pattern = _likings([f"look of {text}" for text in (*TEXTS, "")])
    place = department * (len(TEXTS) + 1) + np.where(colour < 0, len(TEXTS), colour)
    look: Array = np.clip(0.6 * of_colour[place] + 0.4 * of_pattern[pattern], -1.5, 1.5).astype(np.float32)
    return look


def _likings(names: Sequence[str]) -> Array:
    """float64[len(names)], normal: how much each name is liked, the same for ever."""
    liking: Array = normal(mixed(np.array([key_of(name) >> 1 for name in names], np.int64)))
    return liking


def _near() -> Array:
    """float32[S, S]."""
    aisles = np.array([f"{leaf.department} > {leaf.aisle}" for leaf in LEAVES])
    near = np.where(aisles[:, None] == aisles[None, :], SAME_AISLE, 0.0).astype(np.float32)
    np.fill_diagonal(near, 1.0)
    return near
