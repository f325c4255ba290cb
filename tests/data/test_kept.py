"""A catalogue that followed upserts shows the same columns as one that was read anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE

FIELDS = ("brand", "category", "colour", "weight", "images", "title", "attributes", "size")
NUMBERS = ("price_cents", "weight", "stock", "size")


def product(n: int, draw: int) -> dict[str, Any]:
    """One of many states of product ``n``: with gaps, labels that come and go, and a group that changes."""
    rng = np.random.default_rng(1000 * n + draw)
    attributes = [{"name": "colour", "text": f"c{rng.integers(4)}"}] * int(rng.integers(0, 2))
    attributes += [{"name": "weight", "number": float(rng.integers(5))}] * int(rng.integers(0, 3))
    attributes += [{"name": "size", "text": "XL"}] * int(rng.random() < 0.05)
    return {
        "item_id": f"p{n}",
        "group_id": f"g{rng.integers(8)}" if rng.random() < 0.5 else None,
        "title": f"lamp {rng.integers(5)}",
        "brand": f"Brand {rng.integers(6)}" if rng.random() < 0.8 else "",
        "category": [f"Home > {c}" for c in rng.choice(list("abcd"), rng.integers(0, 3), replace=False)],
        "attributes": attributes,
        "price_cents": int(rng.integers(9)) if rng.random() < 0.9 else None,
        "stock": int(rng.integers(3)),
        "active": bool(rng.random() < 0.9),
    }


def table(products: list[tuple[int, int]]) -> pa.Table:
    return pa.Table.from_pylist([product(n, draw) for n, draw in products], schema=CATALOGUE)


def columns(items: ItemTable) -> dict[str, Any]:
    """Every column in terms that do not depend on how labels and groups are numbered."""
    group = items.group()
    first = {g: row for row, g in reversed(list(enumerate(group.tolist())))}
    shown: dict[str, Any] = {"live": items.live.tolist(), "group": [first[g] for g in group.tolist()]}
    for name in NUMBERS:
        shown[f"number {name}"] = [None if v != v else v for v in items.number(name).tolist()]
    for name in FIELDS:
        codes, labels = items.codes(name)
        assert labels == sorted(set(labels))
        shown[name] = [[labels[v] for v in codes[row]] for row in range(items.num_rows)]
        shown[f"kind {name}"] = items.kind(name)
    return shown


BASE = ItemTable.from_table(table([(n, 0) for n in range(150)]))
CHANGES = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 170), st.integers(0, 9)), max_size=8), st.booleans()), max_size=6
)


@given(CHANGES)
@settings(max_examples=30, deadline=None)
def test_columns_that_follow_upserts_equal_those_made_anew(changes: list[tuple[list[tuple[int, int]], bool]]) -> None:
    columns(BASE)
    items = BASE
    for upserts, ask in changes:
        items = items.upserted(table(list(dict(upserts).items())))
        if upserts and upserts[0][1] % 3 == 0:
            items = items.deleted([f"p{upserts[0][0]}"])
        if ask:
            columns(items)
    fresh = ItemTable.from_table(items.table)
    wanted = columns(fresh.hidden(items.tombstones))
    found = columns(items)
    # A field whose last label is gone is still known by name.
    for name in FIELDS:
        assert wanted.pop(f"kind {name}") in (found.pop(f"kind {name}"), None)
    assert found == wanted


def test_a_column_that_an_upsert_does_not_change_is_the_very_same() -> None:
    items = BASE
    before = items.codes("brand"), items.number("weight"), items.group()
    changed = {**product(7, 0), "price_cents": 77}
    items = items.upserted(pa.Table.from_pylist([changed], schema=CATALOGUE))
    assert items.codes("brand") is before[0]
    assert items.number("weight") is before[1]
    assert items.group() is before[2]
    assert items.number("price_cents")[7] == 77
    assert BASE.number("price_cents")[7] != 77
