"""The generated catalogue: products with variants, described by sellers who each write in their own way.

``products`` says what the items are; ``display`` here makes the table that their sellers show.

Legend: I items, A places of attributes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.draws import key_of, mixed, normal, uniform
from aisle.core.lists import Array
from aisle.data.schema import ATTRIBUTE, CATALOGUE
from aisle.simulate.catalogue.appearance import addresses
from aisle.simulate.catalogue.bank import NUM_MODELS, bank
from aisle.simulate.catalogue.products import DAY_S, START_S, another_value, ended, make_truth
from aisle.simulate.catalogue.sellers import Facts, descriptions, titles
from aisle.simulate.catalogue.taxonomy import ENTRIES, LEAVES, NUM_PLACES
from aisle.simulate.catalogue.truth import Told, Truth, bits
from aisle.simulate.knobs import Knobs

NUM_STYLES = 5
REVIEWS_OF_DEMAND = 6.0
CHUNK = 100_000
"""Items whose texts are put together at once."""


def catalogue(items: int = 2500, seed: int = 0, knobs: Knobs | None = None) -> pa.Table:
    """``items`` products as a CATALOGUE table, ids p0, p1, ...; the same seed gives the same bytes."""
    return make_items(items, seed, knobs or Knobs())[0]


def make_items(items: int, seed: int, knobs: Knobs) -> tuple[pa.Table, Truth]:
    """The catalogue and what is true of it.  Raises SettingError for fewer than one item."""
    return display(make_truth(items, seed, knobs), seed, knobs)


def as_of(table: pa.Table, truth: Truth, time_s: float) -> pa.Table:
    """The catalogue with only those items ``active`` that are on sale at a time."""
    place = table.schema.get_field_index("active")
    return table.set_column(place, table.schema.field(place), pa.array(truth.alive(time_s)))


def display(truth: Truth, seed: int, knobs: Knobs, prefix: str = "p") -> tuple[pa.Table, Truth]:
    """The CATALOGUE table that sellers make of the items, ids ``prefix`` and the row, and the truth with ``told``."""
    count = len(truth.leaf)
    key = mixed(seed, key_of("sellers"), np.arange(count))
    has = truth.entry >= 0
    wrong = has & (_grid(key, "wrong") < knobs.wrong)
    everywhere = wrong & (_grid(key, "everywhere") < 0.5)
    instead = np.where(wrong, another_value(truth.leaf, truth.entry, _grid(key, "instead")), truth.entry)
    is_colour = np.array([e.name == "colour" for e in ENTRIES])[truth.entry]
    listed = has & (is_colour | (_grid(key, "missing") >= knobs.missing))
    facts = _facts(truth, np.where(everywhere, instead, truth.entry), key)
    title, description, titled, described, use = _written(facts, truth, knobs.gap)
    table = pa.table(
        {
            "item_id": _named(prefix, np.arange(count)),
            "group_id": _named("g", truth.group),
            "title": title,
            "description": description,
            "brand": pa.array(truth.brands).take(pa.array(truth.brand)),
            "category": _single(pa.array([leaf.path for leaf in LEAVES]).take(pa.array(truth.leaf))),
            "attributes": _attribute_lists(instead, listed),
            "currency": pa.array(["USD"]).take(pa.array(np.zeros(count, np.int8))),
            "images": _single(addresses(truth)),
            "locale": pa.array(["en", "de"]).take(pa.array(truth.german.astype(np.int8))),
            "merchant": pa.array(truth.merchants).take(pa.array(truth.merchant)),
            "created_s": truth.created_s,
            "active": pa.array(np.ones(count, bool)),
            **_numbers(truth, key),
        }
    )
    told = Told(bits(listed), titled, described, bits(wrong), bits(everywhere), use)
    return table.select(CATALOGUE.names).cast(CATALOGUE), replace(truth, told=told)


def _facts(truth: Truth, entry: Array, key: Array) -> Facts:
    """What the sellers know, with the values ``entry`` as they write them."""
    has_variants = np.bincount(truth.group)[truth.group] > 1
    variant = np.array([leaf.kinds.index(leaf.variant) for leaf in LEAVES], np.int8)[truth.leaf]
    return Facts(
        leaf=truth.leaf,
        brand=truth.brand,
        use=truth.use,
        look=truth.look,
        style=truth.merchant % NUM_STYLES,
        model=(mixed(truth.key, key_of("model")) % np.uint64(NUM_MODELS)).astype(np.int64),
        entry=entry,
        varies=np.where(has_variants, variant, -1).astype(np.int8),
        key=key,
    )


def _numbers(truth: Truth, key: Array) -> dict[str, pa.Array | Array]:
    """Prices, reviews and stock as displayed."""
    age_days = np.maximum((START_S - truth.created_s) / DAY_S, 0.0)
    reviews = np.floor(REVIEWS_OF_DEMAND * (truth.demand - 1.0) * np.minimum(1.0, age_days / 100)).astype(np.int64)
    rating = np.round(np.clip(3.9 + 0.4 * truth.quality + 0.3 * normal(mixed(truth.key, key_of("rating"))), 1, 5), 1)
    reduced = uniform(mixed(key, key_of("reduced"))) < 0.3
    list_price = ended(truth.price_cents / 100 * (1.1 + 0.5 * uniform(mixed(key, key_of("list price")))))
    in_stock = np.ceil(np.log1p(-uniform(mixed(key, key_of("stock")))) / np.log(1 - 0.03)).astype(np.int64)
    sold_out = uniform(mixed(key, key_of("sold out"))) < 0.05
    return {
        "price_cents": truth.price_cents,
        "list_price_cents": pa.array(np.maximum(list_price, truth.price_cents), mask=~reduced),
        "rating": pa.array(rating.astype(np.float32), mask=reviews == 0),
        "rating_count": reviews,
        "stock": np.where(sold_out, 0, np.maximum(in_stock, 1)),
    }


def _written(facts: Facts, truth: Truth, gap: float) -> tuple[pa.ChunkedArray, pa.ChunkedArray, Array, Array, Array]:
    """Titles, descriptions, and what stands in them, a chunk at a time."""
    parts = []
    for start in range(0, len(facts.leaf), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(facts.leaf)))
        sides = []
        for is_german in (False, True):
            own = rows[truth.german[rows] == is_german]
            if len(own):
                words, some = bank(truth.brands, is_german), facts.take(own)
                title, titled = titles(some, words, gap)
                description, described, use = descriptions(some, words, gap)
                sides.append((own, title, description, titled, described, use))
        own, *columns = zip(*sides, strict=True)
        back = np.argsort(np.concatenate(own), kind="stable")
        parts.append([_ordered(column, back) for column in columns])
    title, description, *told = zip(*parts, strict=True)
    return pa.chunked_array(title), pa.chunked_array(description), *(np.concatenate(t) for t in told)


def _ordered(parts: tuple[pa.Array, ...] | tuple[Array, ...], order: Array) -> pa.Array | Array:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    return pa.concat_arrays(parts).take(pa.array(order))


def _attribute_lists(entry: Array, listed: Array) -> pa.Array:
    """The attribute list of each item: those of ``entry`` [I, A] that are ``listed`` [I, A]."""
    chosen = pa.array(entry[listed])
    fields = ("name", "text", "number", "unit")
    values = {name: pa.array([getattr(e, name) for e in ENTRIES], ATTRIBUTE.field(name).type) for name in fields}
    structs = pa.StructArray.from_arrays([values[name].take(chosen) for name in fields], fields=list(ATTRIBUTE))
    ends = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), structs)


def _single(values: pa.Array) -> pa.Array:
    """Lists of one value each."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1, dtype=np.int32)), values)


def _named(prefix: str, number: Array) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(number).cast(pa.string()), "")


def _grid(key: Array, what: str) -> Array:
    """float64[I, A] in [0, 1)."""
    base = mixed(key, key_of(what))
    return np.stack([uniform(base, place + 1) for place in range(NUM_PLACES)], axis=1)


def shown(truth: Truth, i: int) -> list[dict[str, str | float | None]]:
    """Item i's true attributes as catalogue entries."""
    entries = [ENTRIES[n] for n in truth.entry[i] if n >= 0]
    return [{"name": e.name, "text": e.text, "number": e.number, "unit": e.unit} for e in entries]
