"""What the products of a world are: shelf, brand, attributes, price, quality, demand, merchant, life.

All of it is a function of the seed and the product's number: the first items of a large world are those of a small one.

Legend: I items, P products (groups of variants), A places of attributes, S shelves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aisle.core.draws import key_of, mixed, normal, uniform
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import CHOICES, CODE, ENTRIES, KINDS, LEAVES, NUM_PLACES
from aisle.simulate.catalogue.truth import Told, Truth
from aisle.simulate.catalogue.wording import BRAND_HEADS, BRAND_TAILS, LOOKS, USES, uses_of
from aisle.simulate.knobs import Knobs

START_S = 1_735_689_600.0
"""The virtual now of a catalogue: 1 January 2025; logs begin here."""

DAY_S = 86_400.0
TURNOVER_DAYS = 28
NUM_BRANDS = 156
NUM_MERCHANTS = 40
TIER_FACTOR = np.array([0.65, 1.0, 1.75])

MERCHANTS = tuple(
    f"{BRAND_HEADS[m % len(BRAND_HEADS)]} {('Store', 'Trading', 'Outlet')[m % 3]}" for m in range(NUM_MERCHANTS)
)


def make_truth(items: int, seed: int, knobs: Knobs, market: int | None = None) -> Truth:
    """What the items are, nothing told of them yet.

    market: the seed of what shops share, brands and merchants; by default the shop's own seed.
    Raises SettingError for fewer than one item.
    """
    market = seed if market is None else market
    if items < 1:
        raise SettingError(f"a catalogue of {items} items was asked for; give 1 or more")
    group, member = _groups(items, seed)
    draw = _Draws(seed, group)
    brands = _Brands.of(market)
    leaf = np.searchsorted(np.cumsum(_shelf_shares(seed)), draw("leaf")).clip(max=len(LEAVES) - 1).astype(np.int16)
    brand = brands.of_leaf(leaf, draw("brand")).astype(np.int16)
    uses = np.array([[list(USES).index(u) for u in (uses_of(leaf) * 12)[:12]] for leaf in LEAVES])
    use = uses[leaf, (12 * draw("use")).astype(np.int64)].astype(np.int16)
    entry = _entries(leaf, member, draw)
    texts, families, numbers = _columns(entry)
    quality = (brands.quality[brand] + 0.6 * draw.normal("quality")).astype(np.float32)
    tier = brands.tier[brand]
    base = np.array([leaf.price for leaf in LEAVES])[leaf] * np.exp(0.35 * draw.normal("price"))
    price_cents = ended(base * TIER_FACTOR[tier] * (1 + 0.12 * _dearer(leaf, member)))
    merchant = np.where(draw("own shop") < 0.5, brand % NUM_MERCHANTS, NUM_MERCHANTS * draw("merchant")).astype(
        np.int16
    )
    careful = normal(mixed(market, key_of("photographer"), np.arange(NUM_MERCHANTS)))
    photo = np.clip(0.55 + 0.15 * careful[merchant] + 0.2 * draw.normal("photo"), 0, 1).astype(np.float32)
    created_s, leaves_s = _life(draw, knobs.turnover)
    return Truth(
        leaf, brand, use, tier, quality, price_cents, texts, families, numbers, entry,
        key=draw.key,
        group=group.astype(np.int32),
        member=member.astype(np.int8),
        merchant=merchant,
        look=(len(LOOKS) * draw("look")).astype(np.int8),
        demand=((1 - draw("demand")) ** -knobs.tail).astype(np.float32),
        photo=photo,
        created_s=created_s,
        leaves_s=leaves_s,
        german=german_merchants(market, knobs.german)[merchant],
        told=_untold(items),
        brands=brands.names,
        uses=tuple(USES),
        merchants=MERCHANTS,
    )  # fmt: skip


class _Draws:
    """Random numbers of each item's product by name, the same for all its variants."""

    def __init__(self, seed: int, group: Array) -> None:
        self.key = mixed(seed, group)

    def __call__(self, what: str) -> Array:
        return uniform(mixed(self.key, key_of(what)))

    def normal(self, what: str) -> Array:
        return normal(mixed(self.key, key_of(what)))


@dataclass(frozen=True, eq=False)
class _Brands:
    names: tuple[str, ...]
    tier: Array
    quality: Array

    @classmethod
    def of(cls, seed: int) -> _Brands:
        names = [head + tail.removeprefix(head[-1]) for head in BRAND_HEADS for tail in BRAND_TAILS]
        draw = _Draws(seed, np.arange(NUM_BRANDS))
        chosen = np.argsort(uniform(mixed(seed, key_of("brands"), np.arange(len(names)))), kind="stable")
        tier = np.searchsorted((0.35, 0.75), draw("tier"), "right").astype(np.int8)
        quality = 0.5 * (tier - 1) + 0.5 * draw.normal("brand quality")
        return cls(tuple(names[n] for n in chosen[:NUM_BRANDS]), tier, quality)

    def of_leaf(self, leaf: Array, draw: Array) -> Array:
        """int64[I]: a brand that is at home in the department; the first ones of a department sell most."""
        departments = list(dict.fromkeys(leaf.department for leaf in LEAVES))
        home = np.array([departments.index(leaf.department) for leaf in LEAVES])[leaf]
        per = len(self.names) // len(departments)
        return home * per + (per * draw**1.8).astype(np.int64)


def _groups(items: int, seed: int) -> tuple[Array, Array]:
    """int64[I] product of each item and its place among the variants; about 15% of the items have siblings."""
    draw = _Draws(seed, np.arange(items))
    sizes = np.where(draw("has variants") < 0.06, 2 + (3 * draw("variants")).astype(np.int64), 1)
    group = np.repeat(np.arange(items), sizes)[:items]
    return group, np.arange(items) - np.searchsorted(group, group)


def _shelf_shares(seed: int) -> Array:
    """float64[S]: shares of the shelves, from large to a seventeenth of that."""
    place = np.argsort(uniform(mixed(seed, key_of("shelves"), np.arange(len(LEAVES)))), kind="stable")
    weight = 1.0 / (6 + place)
    share: Array = weight / weight.sum()
    return share


def _entries(leaf: Array, member: Array, draw: _Draws) -> Array:
    """int16[I, A] into ENTRIES.  Variants of a product differ in their shelf's variant."""
    entry = np.full((len(leaf), NUM_PLACES), -1, np.int16)
    by_place = [draw(f"attribute {place}") for place in range(NUM_PLACES)]
    order = np.argsort(leaf, kind="stable")
    ends = np.cumsum(np.bincount(leaf, minlength=len(LEAVES)))
    for index, rows in enumerate(np.split(order, ends[:-1])):
        shelf = LEAVES[index]
        for place, kind in enumerate(shelf.kinds):
            choices = CHOICES[index][place]
            step = member[rows] if kind == shelf.variant else 0
            # Texts are listed from common to rare, amounts are even.
            even = 1.0 if KINDS[kind].numbers else 1.4
            entry[rows, place] = choices[
                ((by_place[place][rows] ** even * len(choices)).astype(np.int64) + step) % len(choices)
            ]
    return entry


def another_value(leaf: Array, entry: Array, draw: Array) -> Array:
    """int16[I, A]: another value that each attribute could have on its shelf, by ``draw`` [I, A] in [0, 1); the same where
    there is only one."""
    choices, count, place_of = _choices()
    shelf, place = leaf[:, None], np.arange(NUM_PLACES)[None, :]
    many = count[shelf, place]
    shift = 1 + (draw * np.maximum(many - 1, 1)).astype(np.int64)
    other: Array = choices[shelf, place, (place_of[shelf, place, entry] + shift) % many]
    return other


@lru_cache(maxsize=1)
def _choices() -> tuple[Array, Array, Array]:
    """int16[S, A, C] the values of each attribute, int64[S, A] how many, and int16[S, A, E] the place of each entry."""
    width = max(len(slot) for slots in CHOICES for slot in slots)
    choices = np.full((len(LEAVES), NUM_PLACES, width), -1, np.int16)
    count = np.ones((len(LEAVES), NUM_PLACES), np.int64)
    place_of = np.zeros((len(LEAVES), NUM_PLACES, len(ENTRIES)), np.int16)
    for shelf, slots in enumerate(CHOICES):
        for number, slot in enumerate(slots):
            choices[shelf, number, : len(slot)] = slot
            count[shelf, number] = len(slot)
            place_of[shelf, number, slot] = np.arange(len(slot))
    return choices, count, place_of


def _columns(entry: Array) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Attribute name -> codes of texts, of their families, and numbers."""
    texts: dict[str, Array] = {}
    families: dict[str, Array] = {}
    numbers: dict[str, Array] = {}
    for name in dict.fromkeys(e.name for e in ENTRIES):
        named = [e if e.name == name else None for e in ENTRIES]
        of_name = np.array([e is not None for e in named])
        row, place = np.nonzero((entry >= 0) & of_name[entry])
        value = entry[row, place]
        if next(e for e in named if e).text is None:
            numbers[name] = np.full(len(entry), np.nan)
            numbers[name][row] = np.array([e.number if e else np.nan for e in named])[value]
            continue
        for columns, side in ((texts, "text"), (families, "family")):
            columns[name] = np.full(len(entry), -1, np.int16)
            columns[name][row] = np.array([CODE[getattr(e, side)] if e else -1 for e in named], np.int16)[value]
    return texts, families, numbers


def _dearer(leaf: Array, member: Array) -> Array:
    """int64[I]: how many steps a variant costs more; only where the variants are amounts."""
    by_number = np.array([bool(KINDS[shelf.variant].numbers) and shelf.variant != "shoe_size" for shelf in LEAVES])
    return np.where(by_number[leaf], member, 0)


def ended(price: Array) -> Array:
    """int64[I] cents with the endings that shops use."""
    whole = np.maximum(np.round(price), 1).astype(np.int64)
    return whole * 100 - np.where(whole % 3 == 0, 50, np.where(whole % 3 == 1, 1, 5))


def _life(draw: _Draws, turnover: float) -> tuple[Array, Array]:
    """float64[I] when items come and when they go, unix seconds; inf where they stay."""
    age_days = -300.0 * np.log1p(-draw("age"))
    comes = draw("comes") < turnover
    created_s = np.round(START_S + DAY_S * np.where(comes, TURNOVER_DAYS * draw("arrival"), -age_days))
    goes = (draw("goes") < turnover) & ~comes
    return created_s, np.where(goes, np.round(START_S + DAY_S * TURNOVER_DAYS * draw("leaving")), np.inf)


def german_merchants(seed: int, share: float) -> Array:
    """bool[M]: the merchants that write German."""
    order = np.argsort(uniform(mixed(seed, key_of("german"), np.arange(NUM_MERCHANTS))), kind="stable")
    german = np.zeros(NUM_MERCHANTS, bool)
    german[order[: round(share * NUM_MERCHANTS)]] = True
    return german


def _untold(count: int) -> Told:
    none = np.zeros(count, np.uint8)
    return Told(none, none, none, none, none, none.astype(np.int8))
