"""Shops whose right answer is known, for tests that must finish in a second.

Legend: U users, I items, C clicks, E events.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Action, Scene, hashed
from aisle.core.shop import Events, Judgments
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.data.view import View

START_S = 1_700_000_000.0
GAINS = {0: 0.0, 1: 1.0, 2: 3.0, 3: 7.0}

KINDS = (
    ("Home > Lighting > Lamps", "lamp", ("Alder", "Birch"), ("desk", "floor", "bedside", "wall"), ("white", "brass")),
    ("Sport > Games > Balls", "ball", ("Comet", "Drift"), ("beach", "tennis", "rubber", "training"), ("red", "green")),
)


def two_tastes(users: int = 40, items: int = 40, seed: int = 0) -> View:
    """A shop of two kinds of product, lamps (even rows) and balls (odd rows), and two kinds of shopper.

    Even users click every lamp and odd users every ball they see, but user u never sees row u: a method that learned
    anything from the log ranks row u above the rows of the other kind for user u.  Shoppers see the other kind too,
    and pass it over.  Half of the pages answer the searches "lamp" and "ball", half are feeds.  The queries of the
    judgments name a kind (train) or a colour and a kind (validation), so lexical methods have an answer as well.
    """
    table = two_kinds(items, seed)
    return View(
        ItemTable.from_table(table),
        _events(users, items, table["price_cents"].to_numpy(), seed),
        judgments={
            "train": _judged(items, ("", "desk", "floor", "tennis")),
            "validation": _judged(items, ("white", "red")),
        },
    )


def user_of(u: int) -> int:
    """The hash by which user u of ``two_tastes`` stands in requests and events."""
    return hashed(f"u{u}")


def two_kinds(items: int = 40, seed: int = 0) -> pa.Table:
    """The catalogue of ``two_tastes`` (CATALOGUE schema), ids i0, i1, ...

    Every fifth item is a variant of the one before the previous, prices run from 5 to 100, one in ten has no stock.
    """
    rng = np.random.default_rng((seed, 1))
    price_cents = rng.integers(500, 10_000, items)
    rating, rating_count = rng.uniform(2.5, 5.0, items), rng.integers(0, 500, items)
    rows = []
    for i in range(items):
        path, noun, brands, _, _ = KINDS[i % 2]
        brand, use, colour = brands[i // 2 % 2], _use(i), _colour(i)
        rows.append(
            {
                "item_id": f"i{i}",
                "group_id": f"i{i - 2}" if i % 5 == 4 else f"i{i}",
                "title": f"{brand} {use} {noun} {colour} no {i}",
                "description": f"A {colour} {noun} by {brand}. Made for the {use}.",
                "brand": brand,
                "category": [path],
                "attributes": [
                    {"name": "colour", "text": colour, "number": None, "unit": None},
                    {"name": "width", "text": None, "number": float(10 + i // 2 % 7), "unit": "cm"},
                ],
                "price_cents": int(price_cents[i]),
                "list_price_cents": int(price_cents[i]) * 5 // 4 if i % 3 == 0 else None,
                "currency": "USD",
                "rating": float(rating[i]),
                "rating_count": int(rating_count[i]),
                "images": [f"aisle-picture:i{i}"],
                "locale": "en",
                "merchant": f"merchant {i % 3}",
                "created_s": START_S - 86_400.0 * (i + 1),
                "stock": 0 if i % 10 == 9 else 5,
                "active": True,
            }
        )
    return pa.Table.from_pylist(rows, schema=CATALOGUE)


def grown(items_table: pa.Table, share: float = 0.1) -> pa.Table:
    """New items, ``share`` of the catalogue but at least one: likenesses of rows spread over it, with new ids."""
    count = max(1, round(len(items_table) * share))
    rows = np.linspace(0, len(items_table) - 1, count).astype(np.int64)
    table = items_table.take(pa.array(rows))
    known = set(items_table["item_id"].to_pylist())
    prefix = "new-"
    while any(i.startswith(prefix) for i in known):
        prefix += "new-"
    ids = pa.array([f"{prefix}{n}" for n in range(count)])
    title = pc.binary_join_element_wise(table["title"], "new", " ", null_handling="skip")
    for name, column in (("item_id", ids), ("group_id", ids), ("title", title)):
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), column.cast(table.schema.field(at).type))
    return table


def _events(users: int, items: int, price_cents: Array, seed: int) -> Events:
    """Every user sees every item but one, half of them in a search and half in a feed, and clicks the own kind."""
    rng = np.random.default_rng((seed, 2))
    u, i = (a.ravel() for a in np.divmod(np.arange(users * items), items))
    seen = u != i
    u, i = u[seen], i[seen]
    liked = u % 2 == i % 2
    order = np.lexsort((rng.random(len(u)), u))
    u, i, liked = u[order], i[order], liked[order]
    place = np.arange(len(u)) - np.searchsorted(u, u)
    shown_of_u = np.bincount(u, minlength=users)[u]
    visit = (place >= shown_of_u // 2).astype(np.int64)
    position = np.where(visit == 1, place - shown_of_u // 2, place)
    page = 2 * u + visit
    time_s = START_S + 3600.0 * page + 10.0 * position
    search = visit == 0
    both = {
        "user": np.array([user_of(n) for n in range(users)], np.int64)[u],
        "session": page,
        "request": page,
        "scene": np.where(search, Scene.SEARCH, Scene.FEED).astype(np.int8),
        "query": np.where(search, u % 2, -1).astype(np.int32),
        "item": i.astype(np.int32),
        "position": position.astype(np.int32),
        "price_cents": price_cents[i].astype(np.int64),
        "propensity": np.ones(len(u)),
    }
    clicked = np.flatnonzero(liked)
    columns = {name: np.concatenate([column, column[clicked]]) for name, column in both.items()}
    columns["time_s"] = np.concatenate([time_s, time_s[clicked] + 1.0])
    columns["action"] = np.repeat(np.array([Action.IMPRESSION, Action.CLICK], np.int8), [len(u), len(clicked)])
    columns["quantity"] = np.full(len(columns["action"]), -1, np.int32)
    in_time = np.argsort(columns["time_s"], kind="stable")
    return Events(columns, [kind[1] for kind in KINDS]).take(in_time)


def _judged(items: int, words: tuple[str, ...]) -> Judgments:
    """Every item judged for "<word> lamp", "<word> ball": 3 both hold, 2 the kind only, 1 the word only, 0 neither."""
    row = np.arange(items)
    own_words = [{"", _use(i), _colour(i)} for i in range(items)]
    queries, grades = [], []
    for word in words:
        has_word = np.array([word in own for own in own_words], bool)
        for parity, kind in enumerate(KINDS):
            is_kind = row % 2 == parity
            if (has_word & is_kind).any():
                queries.append(f"{word} {kind[1]}".strip())
                grades.append(np.where(is_kind, 2 + has_word, has_word & bool(word)).astype(np.int32))
    lists = ItemLists(
        np.tile(row.astype(np.int32), len(queries)),
        np.arange(len(queries) + 1, dtype=np.int64) * items,
        {"grade": np.concatenate(grades)},
    )
    return Judgments(queries, lists, GAINS)


def _use(i: int) -> str:
    return KINDS[i % 2][3][i // 2 % 4]


def _colour(i: int) -> str:
    return KINDS[i % 2][4][i // 4 % 2]
