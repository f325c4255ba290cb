"""Truth is a return value: no shop holds it, under its own name or another, and a method that asks for it is caught."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.core.errors import AisleError
from aisle.core.method import NOTHING, Given
from aisle.data.schema import CATALOGUE, EVENTS, JUDGMENTS
from aisle.data.shop import Shop
from aisle.funnel import Plan, fit
from aisle.ranking.fusion import Fusion
from aisle.recipes.environment import memory_env
from aisle.retrieval.bm25 import Bm25
from aisle.simulate.catalogue.truth import Told, Truth
from aisle.simulate.world import World, simulate

ITEMS = 600
HIDDEN = ("use", "look", "quality", "photo", "leaves_s")
"""What no column may tell.  Not here: what is displayed (shelf, brand, price, creation), and what a shopper can tell from it
(the tier of a brand, the demand behind a number of reviews)."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("honest") / "shop"
    simulate(folder, ITEMS, 1, 3, num_queries=40, budget=800)
    return Shop.open(folder)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return World.make(ITEMS, 3).truth


def tells(column: np.ndarray, hidden: np.ndarray) -> bool:
    """Whether a column gives the hidden one away: rises with it, or stands for its values."""
    if column.dtype.kind in "fiub" and hidden.dtype.kind == "f":
        ok = np.isfinite(column) & np.isfinite(hidden)
        if ok.sum() < 10 or column[ok].std() == 0 or hidden[ok].std() == 0:
            return False
        ranks = [np.argsort(np.argsort(v[ok], kind="stable")) for v in (column.astype(float), hidden)]
        return abs(np.corrcoef(*ranks)[0, 1]) > 0.95
    values, of_row = np.unique(column.astype(str), return_inverse=True)
    if not 1 < len(values) < len(column) / 4:
        return False
    groups = [hidden[of_row == n] for n in range(len(values))]
    return all(len(np.unique(g)) == 1 for g in groups) and len(np.unique(hidden)) > 1


def leaks(table: pa.Table, truth: Truth) -> set[tuple[str, str]]:
    found = set()
    for name in table.column_names:
        column = np.array([str(v) if isinstance(v, list) else v for v in table[name].to_pylist()])
        if column.dtype == object:
            column = np.array([np.nan if v is None else v for v in column], float)
        found |= {(name, hidden) for hidden in HIDDEN if tells(column, getattr(truth, hidden))}
    return found


def test_every_file_of_a_shop_holds_displayed_columns_only(shop: Shop) -> None:
    truths = {f.name for record in (Truth, Told) for f in fields(record)} | {"intent", "kind", "changes"}
    allowed = {*CATALOGUE.names, *EVENTS.names, *JUDGMENTS.names}
    files = [path for path in shop.folder.rglob("*") if path.suffix in (".parquet", ".arrow")]
    assert len(files) == 3
    for path in files:
        names = pq.read_schema(path).names if path.suffix == ".parquet" else pa.ipc.open_file(path).schema.names
        assert set(names) <= allowed, path
        assert not set(names) & (truths - allowed), path
    said = json.loads((shop.folder / "world.json").read_text())
    assert set(said) == {"version", "items", "days", "seed", "knobs"}
    assert (shop.folder / "queries.txt").read_text().count("\n") == 40


def test_no_column_tells_what_is_hidden_under_another_name(shop: Shop, truth: Truth) -> None:
    assert leaks(shop.items().table, truth) == set()


def test_the_search_for_leaks_would_find_one(shop: Shop, truth: Truth) -> None:
    table = shop.items().table
    place = table.column_names.index("rating")
    told = table.set_column(place, "rating", pa.array(np.round(truth.quality, 1)))
    assert leaks(told, truth) == {("rating", "quality")}
    place = table.column_names.index("merchant")
    told = table.set_column(place, "merchant", pa.array([f"shop {u}" for u in truth.use]))
    assert leaks(told, truth) == {("merchant", "use")}


class Spy(Fusion):
    """A ranking that asks the shop for truth by its names, and remembers what it got."""

    retrievers: dict[str, float] = {"bm25": 1.0}

    def fit(self, shop, env, given: Given = NOTHING):
        SEEN.update({name: shop.items.text(name) for name in WANTED})
        SEEN.update({f"#{name}": shop.items.number(name) for name in WANTED})
        return super().fit(shop, env, given)


class Greedy(Spy):
    """One that declares a truth column as its input."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"score_bm25", "quality"})


WANTED = ("quality", "use", "tier", "demand", "grade", "intent", "verdict", "leaf", "told")
SEEN: dict[str, object] = {}


def test_a_method_that_reads_truth_is_caught(shop: Shop) -> None:
    view = shop.view()
    with pytest.raises(AisleError, match="quality"):
        fit(Plan(retrieval={"bm25": Bm25()}, ranking=Greedy()), view, memory_env(view.items))
    fit(Plan(retrieval={"bm25": Bm25()}, ranking=Spy()), view, memory_env(view.items))
    assert len(SEEN) == 2 * len(WANTED)
    for name, got in SEEN.items():
        empty = np.isnan(np.asarray(got, float)).all() if name.startswith("#") else set(got) == {""}  # type: ignore[call-overload]
        assert empty, f"the shop gave {name} away"
