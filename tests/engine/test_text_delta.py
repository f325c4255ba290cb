"""An index that followed changes answers as one that was built from the same catalogue at once."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import pytest

from aisle.core.requests import RowMasks
from aisle.data.items import ItemTable
from aisle.engine.embedded.text import EmbeddedText

from .conftest import generated, table

QUERIES = ["wireless lamp", "red running shirt", '"steel knife" black', "lamp -red", "portabel chair", "kett*", "SKU-7"]


def changed_at_random(items: ItemTable, rng: np.random.Generator, step: int) -> tuple[ItemTable, np.ndarray]:
    """Some items with other texts, some new, some gone, some inactive."""
    records = generated(30, seed=100 + step)
    known = rng.choice(items.num_rows, len(records), replace=False)
    for record, row in zip(records, known, strict=True):
        record["item_id"] = f"SKU-{row}" if rng.random() < 0.7 else f"NEW-{step}-{row}"
    after = items.upserted(table(records).table)
    gone = [f"SKU-{row}" for row in rng.choice(items.num_rows, 10)]
    after = after.deleted(gone)
    rows = after.rows_of([*(r["item_id"] for r in records), *gone])
    return after, rows[rows >= 0]


def assert_same(one: EmbeddedText, other: EmbeddedText, items: ItemTable) -> None:
    masks = RowMasks(items.live[None], np.zeros(len(QUERIES), np.int64))
    a, b = (index.search(QUERIES, items.num_rows, masks, {}) for index in (one, other))
    np.testing.assert_array_equal(a.splits, b.splits)
    np.testing.assert_array_equal(a.item, b.item)
    np.testing.assert_array_equal(a["score"], b["score"])
    for query in QUERIES:
        np.testing.assert_array_equal(one.match(query, {}), other.match(query, {}))
        assert one.suggest(query) == other.suggest(query)
        assert one.terms(query) == other.terms(query)
    assert one.completions("w") == other.completions("w")


@pytest.mark.parametrize("seed", range(3))
def test_following_equals_building(seed, tmp_path):
    rng = np.random.default_rng(seed)
    items = table(generated(400))
    index = EmbeddedText.build(items)
    for step in range(6):
        items, rows = changed_at_random(items, rng, step)
        index.refresh(items, rows)
        if step == 3:
            index = index.saved(tmp_path / "v1")
    assert_same(index, EmbeddedText.build(items), items)


def test_single_changes_leave_few_segments_and_each_is_found(tmp_path):
    items = table(generated(300))
    index = EmbeddedText.build(items)
    for n in range(70):
        items = items.upserted(table([{"item_id": f"U{n}", "title": f"unicorn number{n}"}]).table)
        index.refresh(items, items.rows_of([f"U{n}"]))
        assert index.match(f"number{n}", {}).sum() == 1
    assert len(index._state.parts) <= 8
    assert_same(index, EmbeddedText.build(items), items)
    again = index.saved(tmp_path / "v1")
    assert len(again._state.parts) == 1
    assert_same(again, index, items)


def test_a_change_to_what_stood_there_changes_nothing():
    items = table(generated(200))
    index = EmbeddedText.build(items)
    index.refresh(items, np.arange(0, 200, 7))
    assert_same(index, EmbeddedText.build(items), items)


def test_searches_beside_changes_see_whole_states():
    """Every product says 'pair left right' or 'pair up down': a torn state would show one word without the other."""
    kinds = ("left right", "up down")
    items = table([{"item_id": f"p{n}", "title": f"pair {kinds[n % 2]}"} for n in range(200)])
    index, stop, torn = EmbeddedText.build(items), Event(), []

    def look() -> None:
        while not stop.is_set():
            left, right = index.match("left", {}), index.match("left right", {})
            both = index.match('"left right"', {})
            if left.sum() not in (100, 101, 99) or not both.any() or not right.any():
                torn.append((left.sum(), right.sum(), both.sum()))

    thread = Thread(target=look)
    thread.start()
    for n in range(60):
        row = n % 2
        items = items.upserted(table([{"item_id": f"p{row}", "title": f"pair {kinds[(n // 2 + row) % 2]}"}]).table)
        index.refresh(items, np.array([row]))
    stop.set()
    thread.join()
    assert not torn
