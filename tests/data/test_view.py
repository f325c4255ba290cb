"""A view of the past: nothing of what came after reaches it, and what came before is all there."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from aisle.core.errors import DataError, SettingError, UnknownName
from aisle.core.lists import ItemLists
from aisle.core.requests import Action, Scene, hashed
from aisle.core.shop import Counter, Judgments
from aisle.data.items import ItemTable
from aisle.data.judged import judgments_of, unknown_items
from aisle.data.view import View

UNTIL_S = 500.0
NUM_ITEMS = 30


def catalogue(future: str = "late") -> pa.Table:
    """30 items; every third is created at or after UNTIL_S."""
    late = [n % 3 == 0 for n in range(NUM_ITEMS)]
    return pa.table(
        {
            "item_id": [f"i{n}" for n in range(NUM_ITEMS)],
            "title": [f"{future} {n}" if is_late else f"title {n}" for n, is_late in enumerate(late)],
            "group_id": [future if is_late else f"g{n // 4}" for n, is_late in enumerate(late)],
            "category": [[future] if is_late else ["Home"] for is_late in late],
            "price_cents": pa.array([len(future) if is_late else 999 for is_late in late], pa.int64()),
            "created_s": [UNTIL_S + len(future) if is_late else 10.0 for is_late in late],
        }
    )


def log(seed: int, size: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "time_s": rng.integers(0, 1000, size).astype(float),
            "user_id": rng.choice(["", "ann", "bob", "cyd"], size),
            "session_id": [f"s{n}" for n in rng.integers(0, 90, size)],
            "query": rng.choice(["", "red pan", "pan", "knife"], size),
            "item_id": [f"i{n}" for n in rng.integers(0, NUM_ITEMS + 3, size)],
            "position": rng.integers(0, 20, size).astype(np.int32),
            "action": rng.choice(["impression", "click", "cart", "order"], size),
        }
    )


def price_log(seed: int, size: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in rng.integers(0, NUM_ITEMS, size)],
            "time_s": rng.integers(0, 1000, size).astype(float),
            "price_cents": rng.integers(1, 1000, size),
            "stock": rng.integers(0, 5, size),
        }
    )


def corrupted(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The rows at or after UNTIL_S shuffled column by column and partly dropped, with strangers among them."""
    rng = np.random.default_rng(seed)
    past = frame.with_row_index("place").filter(pl.col("time_s") < UNTIL_S)
    future = frame.filter(pl.col("time_s") >= UNTIL_S)
    future = future.select(
        pl.col(n).sample(fraction=1, shuffle=True, seed=seed + at) for at, n in enumerate(future.columns)
    )
    strange = {n: pl.lit("broken") for n in ("user_id", "query", "action", "scene") if n in future.columns}
    future = future.sample(fraction=0.6, seed=seed).with_columns(**strange, time_s=pl.col("time_s") + 7.0)
    spread = future.with_columns(place=pl.Series(rng.integers(0, len(frame), len(future)), dtype=pl.UInt32))
    return pl.concat([past, spread.select(past.columns)]).sort("place", maintain_order=True).drop("place")


def all_outputs(view: View) -> list[tuple[str, Any]]:
    """Everything that a fit could read, as plain comparable values."""
    items, events = view.items, view.events
    out: list[tuple[str, Any]] = [(n, c.tobytes()) for n, c in events.columns.items()]
    out.append(("queries", list(events.queries)))
    for field in ("title", "category", "brand", "attributes"):
        out.append((field, items.text(field)))
        ragged, labels = items.codes(field)
        out.append((f"codes {field}", (ragged.values.tobytes(), ragged.splits.tobytes(), labels)))
    for field in ("price_cents", "stock", "created_s"):
        out.append((field, items.number(field).tobytes()))
    out += [("live", items.live.tobytes()), ("group", items.group().tobytes()), ("facets", items.facet_fields())]
    rows, at_s = np.tile(np.arange(NUM_ITEMS), 3), np.repeat([200.0, UNTIL_S, np.inf], NUM_ITEMS)
    for counter in (
        Counter(name="all", action="click"),
        Counter(name="week", action="order", window_s=100.0),
        Counter(name="warm", action="impression", half_life_s=30.0),
    ):
        out.append((counter.name, view.counts(counter, rows, at_s).tobytes()))
    users = np.array([hashed("ann"), hashed("bob"), -1])
    history = view.histories(users, np.array([300.0, np.inf, np.inf]), limit=20)
    out += [("history", (history.item.tobytes(), history.splits.tobytes(), history["time_s"].tobytes()))]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_after_changes_no_byte(seed: int) -> None:
    events, prices = log(seed), price_log(seed)
    view = View(ItemTable.from_table(catalogue()), events.to_arrow(), until_s=UNTIL_S, prices=prices.to_arrow())
    broken = View(
        ItemTable.from_table(catalogue("some other future")),
        corrupted(events, seed).to_arrow(),
        until_s=UNTIL_S,
        prices=corrupted(prices, seed).to_arrow(),
    )
    for (name, value), (_, other) in zip(all_outputs(view), all_outputs(broken), strict=True):
        assert value == other, name
    whole = View(ItemTable.from_table(catalogue()), events.to_arrow())
    assert all_outputs(whole) != all_outputs(view)


def test_events_keep_all_that_came_before() -> None:
    frame = log(9)
    view = View(ItemTable.from_table(catalogue()), frame.to_arrow(), until_s=UNTIL_S)
    past = frame.filter(pl.col("time_s") < UNTIL_S).sort("time_s", maintain_order=True)
    events = view.events
    assert events["user"].tolist() == [hashed(u) for u in past["user_id"]]
    assert events["session"].tolist() == [hashed(s) for s in past["session_id"]]
    assert events["action"].tolist() == [Action[a.upper()] for a in past["action"]]
    assert [events.queries[q] if q >= 0 else "" for q in events["query"]] == past["query"].to_list()
    known = [int(i[1:]) if int(i[1:]) < NUM_ITEMS else -1 for i in past["item_id"]]
    assert events["item"].tolist() == known
    assert events["scene"].tolist() == [Scene.SEARCH if q else Scene.FEED for q in past["query"]]
    assert set(events["quantity"].tolist()) == {-1}
    assert np.isnan(events["propensity"]).all()
    dtypes = {n: c.dtype for n, c in events.columns.items()}
    assert (dtypes["item"], dtypes["action"], dtypes["user"], dtypes["price_cents"]) == (
        "int32",
        "int8",
        "int64",
        "int64",
    )


def test_columns_and_a_table_make_the_same_view() -> None:
    items = ItemTable.from_table(catalogue())
    table = log(2).to_arrow()
    columns = View(items, table).events
    shuffled = columns.take(np.random.default_rng(0).permutation(len(columns)))
    one, two = View(items, table, until_s=UNTIL_S), View(items, shuffled, until_s=UNTIL_S)
    assert one.events["time_s"].tolist() == two.events["time_s"].tolist()
    counter = Counter(name="c", action="click", half_life_s=9.0)
    rows, at_s = np.arange(NUM_ITEMS), np.full(NUM_ITEMS, 400.0)
    np.testing.assert_allclose(one.counts(counter, rows, at_s), two.counts(counter, rows, at_s), rtol=1e-12)


def test_prices_are_those_of_the_time() -> None:
    items = ItemTable.from_table(pa.table({"item_id": ["a", "b", "c"], "price_cents": [9, 9, 9], "stock": [1, 1, 1]}))
    prices = pa.table(
        {
            "item_id": ["a", "b", "a", "a", "gone"],
            "time_s": [1.0, 60.0, 3.0, 50.0, 1.0],
            "price_cents": [100, 200, 300, 400, 500],
            "stock": [5, 6, None, 8, 9],
        }
    )
    past = View(items, until_s=50.0, prices=prices).items
    np.testing.assert_array_equal(past.number("price_cents"), [300, np.nan, np.nan])
    np.testing.assert_array_equal(past.number("stock"), [np.nan] * 3)
    assert View(items, until_s=51.0, prices=prices).items.number("price_cents")[0] == 400
    assert View(items, prices=prices).items.number("price_cents").tolist() == [9, 9, 9]
    assert View(items, until_s=50.0).items.number("price_cents").tolist() == [9, 9, 9]


def test_a_later_item_keeps_its_row_and_shows_nothing() -> None:
    view = View(ItemTable.from_table(catalogue(), generation=5), until_s=UNTIL_S)
    assert view.generation == 5
    assert view.items.live.tolist() == [n % 3 != 0 for n in range(NUM_ITEMS)]
    assert view.items.text("title", np.array([3, 4])) == ["", "title 4"]
    assert view.items.rows_of(["i3", "i4"]).tolist() == [3, 4]


def test_times_never_pass_until() -> None:
    view = View(ItemTable.from_table(catalogue()), log(1).to_arrow(), until_s=UNTIL_S)
    counter = Counter(name="c", action="click", window_s=100.0, half_life_s=50.0)
    rows = np.arange(NUM_ITEMS)
    assert view.counts(counter, rows, 1e9).tolist() == view.counts(counter, rows, UNTIL_S).tolist()
    whole = View(ItemTable.from_table(catalogue()), log(1).to_arrow())
    last = whole.events["time_s"][-1]
    assert whole.counts(Counter(name="n", action="click"), rows, np.inf).sum() == np.sum(
        (whole.events["action"] == Action.CLICK) & (whole.events["item"] >= 0)
    )
    assert whole.counts(counter, rows, np.inf) == pytest.approx(whole.counts(counter, rows, last + 1e-6))


def test_judgments_have_two_parts() -> None:
    items = ItemTable.from_table(catalogue())
    table = pa.table({"query": ["pan", "pan", "pot", "pan"], "item_id": ["i2", "i1", "x", "i2"], "grade": [1, 2, 3, 0]})
    judged = judgments_of(table, {0: 0.0, 1: 0.5, 2: 1.0}, items)
    assert list(judged.query) == ["pan", "pot"]
    assert judged.lists.item.tolist() == [1, 2]
    assert judged.lists["grade"].tolist() == [2, 0]
    assert judged.lists.splits.tolist() == [0, 2, 2]
    assert judged.gain().tolist() == [1.0, 0.0]
    assert unknown_items(table, items) == ["x"]
    view = View(items, judgments={"train": judged})
    assert view.judgments() is judged
    assert len(view.judgments("validation")) == 0
    with pytest.raises(UnknownName, match="validation"):
        view.judgments("test")
    with pytest.raises(UnknownName):
        View(items, judgments={"tests": Judgments((), ItemLists.empty(0))})


def test_wrong_names_are_told() -> None:
    items = ItemTable.from_table(catalogue())
    wrong = pa.table({"time_s": [1.0], "action": ["clicked"], "item_id": ["i1"]})
    with pytest.raises(DataError, match=r"'clicked' is unknown; did you mean 'click'"):
        _ = View(items, wrong).events
    with pytest.raises(UnknownName, match="did you mean 'click'"):
        View(items).counts(Counter(name="c", action="clicks"), np.array([0]), 1.0)
    with pytest.raises(SettingError, match="half_life_s 0"):
        View(items).counts(Counter(name="c", action="click", half_life_s=0.0), np.array([0]), 1.0)


def test_an_empty_log_answers() -> None:
    view = View(ItemTable.from_table(catalogue()))
    assert len(view.events) == 0
    assert view.counts(Counter(name="c", action="click"), np.arange(3), np.inf).tolist() == [0.0] * 3
    assert view.histories(np.array([hashed("ann"), -1]), 5.0).counts.tolist() == [0, 0]
