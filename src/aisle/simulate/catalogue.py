"""The generated catalogue: products with variants, described by sellers who each write in their own way.

Legend: I items, P products (groups of variants).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import pyarrow as pa

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.data.schema import CATALOGUE
from aisle.simulate.knobs import Knobs
from aisle.simulate.pictures import ADDRESS
from aisle.simulate.sellers import Product, describe, title
from aisle.simulate.taxonomy import CODE, KINDS, LEAVES, TEXTS, numbers_of, values_of
from aisle.simulate.truth import Truth
from aisle.simulate.wording import BRAND_HEADS, BRAND_TAILS, USES, uses_of

START_S = 1_735_689_600.0
"""The virtual now of a catalogue: 1 January 2025; logs begin here."""

DAY_S = 86_400.0
NUM_BRANDS = 156
NUM_MERCHANTS = 40
TIER_FACTOR = np.array([0.65, 1.0, 1.75])


def catalogue(items: int = 2500, seed: int = 0, knobs: Knobs | None = None) -> pa.Table:
    """``items`` products as a CATALOGUE table, ids p0, p1, ...; the same seed gives the same bytes."""
    return make_items(items, seed, knobs or Knobs())[0]


def make_items(items: int, seed: int, knobs: Knobs) -> tuple[pa.Table, Truth]:
    """The catalogue and what is true of it.  Raises SettingError for fewer than one item."""
    if items < 1:
        raise SettingError(f"a catalogue of {items} items was asked for; give 1 or more")
    rng = np.random.default_rng((seed, 1))
    group, member, size = _groups(items, rng)
    brands = _brands(rng)
    leaf_P = rng.choice(len(LEAVES), items, p=_zipf(len(LEAVES), 6, rng))
    brand_P = brands.of_leaf(leaf_P, rng)
    leaf, brand = leaf_P[group].astype(np.int16), brand_P[group].astype(np.int16)
    uses = tuple(USES)
    of_leaf = np.array([[uses.index(u) for u in (uses_of(leaf) * 12)[:12]] for leaf in LEAVES])
    use = of_leaf[leaf_P, rng.integers(0, 12, items)][group].astype(np.int16)
    texts, families, numbers = _attributes(leaf, group, member, rng)
    quality = (brands.quality[brand_P] + 0.6 * rng.standard_normal(items))[group].astype(np.float32)
    tier = brands.tier[brand]
    base = np.array([leaf.price for leaf in LEAVES])[leaf_P] * np.exp(0.35 * rng.standard_normal(items))
    price_cents = _ended(base[group] * TIER_FACTOR[tier] * (1 + 0.12 * _dearer(leaf, member)))
    truth = Truth(leaf, brand, use, tier, quality, price_cents, texts, families, numbers, brands.names, uses)
    return _table(truth, group, size, knobs, rng, Random(seed * 1_000_003 + 2)), truth


@dataclass(frozen=True, eq=False)
class _Brands:
    names: tuple[str, ...]
    tier: Array
    quality: Array

    def of_leaf(self, leaf_P: Array, rng: np.random.Generator) -> Array:
        """int64[P]: a brand that is at home in the department; the first ones of a department sell most."""
        departments = list(dict.fromkeys(leaf.department for leaf in LEAVES))
        home = np.array([departments.index(leaf.department) for leaf in LEAVES])[leaf_P]
        per = len(self.names) // len(departments)
        place = (per * rng.random(len(leaf_P)) ** 1.8).astype(np.int64)
        return home * per + place


def _brands(rng: np.random.Generator) -> _Brands:
    names = [head + tail for head in BRAND_HEADS for tail in BRAND_TAILS]
    chosen = rng.permutation(len(names))[:NUM_BRANDS]
    tier = rng.choice(3, NUM_BRANDS, p=(0.35, 0.4, 0.25)).astype(np.int8)
    quality = 0.5 * (tier - 1) + 0.5 * rng.standard_normal(NUM_BRANDS)
    return _Brands(tuple(names[n] for n in chosen), tier, quality)


def _groups(items: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """int64[I] product of each item, its place among the variants, and their number; about 15% have siblings."""
    sizes = np.where(rng.random(items) < 0.06, rng.integers(2, 5, items), 1)
    group = np.repeat(np.arange(items), sizes)[:items]
    member = np.arange(items) - np.searchsorted(group, group)
    return group, member, np.bincount(group)[group]


def _zipf(count: int, shift: float, rng: np.random.Generator) -> Array:
    weight = 1.0 / (shift + rng.permutation(count))
    share: Array = weight / weight.sum()
    return share


def _attributes(
    leaf: Array, group: Array, member: Array, rng: np.random.Generator
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Attribute name -> codes of texts, of their families, and numbers.  Variants differ in their shelf's variant."""
    texts: dict[str, Array] = {}
    families: dict[str, Array] = {}
    numbers: dict[str, Array] = {}
    draw_P = rng.random((len(leaf), 8))
    for index, shelf in enumerate(LEAVES):
        rows = np.flatnonzero(leaf == index)
        kinds = dict.fromkeys((*shelf.attributes, shelf.variant))
        for place, kind in enumerate(kinds):
            name = KINDS[kind].name
            draw = draw_P[group[rows], place]
            step = member[rows] if kind == shelf.variant else 0
            if KINDS[kind].numbers:
                values = np.array(numbers_of(shelf, kind))
                column = numbers.setdefault(name, np.full(len(leaf), np.nan))
                column[rows] = values[((draw * len(values)).astype(np.int64) + step) % len(values)]
                continue
            pairs = values_of(shelf, kind)
            at = ((draw**1.4 * len(pairs)).astype(np.int64) + step) % len(pairs)
            for columns, side in ((texts, 0), (families, 1)):
                codes = np.array([CODE[pair[side]] for pair in pairs], np.int16)
                columns.setdefault(name, np.full(len(leaf), -1, np.int16))[rows] = codes[at]
    return texts, families, numbers


def _dearer(leaf: Array, member: Array) -> Array:
    """int64[I]: how many steps a variant costs more; only where the variants are amounts."""
    by_number = np.array([bool(KINDS[shelf.variant].numbers) and shelf.variant != "shoe_size" for shelf in LEAVES])
    return np.where(by_number[leaf], member, 0)


def _ended(price: Array) -> Array:
    """int64[I] cents with the endings that shops use."""
    whole = np.maximum(np.round(price), 1).astype(np.int64)
    return whole * 100 - np.where(whole % 3 == 0, 50, np.where(whole % 3 == 1, 1, 5))


def _table(truth: Truth, group: Array, size: Array, knobs: Knobs, rng: np.random.Generator, words: Random) -> pa.Table:
    count = len(group)
    merchant = np.where(rng.random(count) < 0.5, truth.brand % NUM_MERCHANTS, rng.integers(0, NUM_MERCHANTS, count))[
        group
    ]
    age_days = rng.exponential(300.0, count)[group]
    reviews = np.floor(6.0 * rng.pareto(1.1, count)[group] * np.minimum(1.0, age_days / 100)).astype(np.int64)
    rating = np.round(np.clip(3.9 + 0.4 * truth.quality + 0.3 * rng.standard_normal(count), 1, 5), 1)
    reduced = rng.random(count) < 0.3
    list_price = _ended(truth.price_cents / 100 * rng.uniform(1.1, 1.6, count))
    stock = np.where(rng.random(count) < 0.05, 0, rng.geometric(0.03, count))
    leaves = [LEAVES[n] for n in truth.leaf]
    titles, descriptions, attributes = [], [], []
    model = ""
    for i, leaf in enumerate(leaves):
        if i == 0 or group[i] != group[i - 1]:
            model = (
                f"{words.choice(BRAND_HEADS)}{words.choice('aeio')} {words.randint(1, 9) * words.choice((1, 10, 100))}"
            )
        product = Product(leaf, truth.brands[truth.brand[i]], truth.uses[truth.use[i]], shown(truth, i), model)
        titles.append(title(product, int(merchant[i]) % 5, size[i] > 1, knobs.gap, words))
        descriptions.append(describe(product, knobs.gap, words))
        attributes.append([a for a in product.attributes if a["name"] == "colour" or words.random() >= knobs.missing])
    ids = [f"p{i}" for i in range(count)]
    return pa.table(
        {
            "item_id": ids,
            "group_id": [f"g{g}" for g in group],
            "title": titles,
            "description": descriptions,
            "brand": [truth.brands[b] for b in truth.brand],
            "category": [[leaf.path] for leaf in leaves],
            "attributes": pa.array(attributes, CATALOGUE.field("attributes").type),
            "price_cents": truth.price_cents,
            "list_price_cents": pa.array(np.maximum(list_price, truth.price_cents), mask=~reduced),
            "currency": ["USD"] * count,
            "rating": pa.array(rating.astype(np.float32), mask=reviews == 0),
            "rating_count": reviews,
            "images": [[f"{ADDRESS}{name}"] for name in ids],
            "locale": ["en"] * count,
            "merchant": [
                f"{BRAND_HEADS[m % len(BRAND_HEADS)]} {('Store', 'Trading', 'Outlet')[m % 3]}" for m in merchant
            ],
            "created_s": np.round(START_S - DAY_S * age_days),
            "stock": stock,
            "active": [True] * count,
        },
        schema=CATALOGUE,
    )


def shown(truth: Truth, i: int) -> list[dict[str, str | float | None]]:
    """Item i's attributes as catalogue entries."""
    leaf = LEAVES[truth.leaf[i]]
    entries: list[dict[str, str | float | None]] = []
    for kind in dict.fromkeys((*leaf.attributes, leaf.variant)):
        name, _, numbers, unit = KINDS[kind]
        if numbers:
            entries.append({"name": name, "text": None, "number": float(truth.numbers[name][i]), "unit": unit})
        else:
            entries.append({"name": name, "text": TEXTS[truth.texts[name][i]], "number": None, "unit": None})
    return entries
