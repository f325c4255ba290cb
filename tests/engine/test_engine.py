from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from aisle.core.errors import SettingError, StateError, UnknownName
from aisle.core.filters import In, Sort
from aisle.core.requests import Requests
from aisle.engine.embedded import EmbeddedEngine

from .conftest import generated, table


@pytest.fixture(scope="module")
def engine(items) -> EmbeddedEngine:
    return EmbeddedEngine.build(items)


def test_importing_the_package_loads_no_index_library():
    code = "import sys, aisle.engine.embedded; print([m for m in ('numba', 'tantivy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("sort", [Sort("price_cents"), Sort("rating_count", True), Sort("weight"), Sort("brand", True)])
def test_order_by_a_column_puts_missing_last_and_ties_by_row(items, engine, sort):
    rows = np.random.default_rng(0).permutation(items.num_rows).astype(np.int32)
    if sort.field == "brand":
        key = [t.casefold() for t in items.text("brand")]
        known = sorted((r for r in rows if key[r]), key=lambda r: r)
        known.sort(key=lambda r: key[r], reverse=sort.descending)
        missing = sorted(r for r in rows if not key[r])
    else:
        value = items.number(sort.field)
        known = sorted((r for r in rows if not np.isnan(value[r])), key=lambda r: r)
        known.sort(key=lambda r: -value[r] if sort.descending else value[r])
        missing = sorted(r for r in rows if np.isnan(value[r]))
    assert engine.order(rows, sort).tolist() == [*known, *missing]


def test_the_engines_own_order_is_popularity(items, engine):
    count = np.nan_to_num(items.number("rating_count"))
    ordered = engine.order(np.arange(items.num_rows, dtype=np.int32), None)
    assert ordered.tolist() == sorted(range(items.num_rows), key=lambda r: (-count[r], r))
    assert ordered.dtype == np.int32
    with pytest.raises(SettingError, match="did you mean 'weight'"):
        engine.order(ordered, Sort("wieght"))


def test_compile_and_facets_go_by_request(items, engine):
    requests = engine.compile(Requests.make(["lamp", "red lamp"], filters=[None, In("colour", ("Red",))]))
    assert requests.masks().bits.shape == (2, items.num_rows)
    match = [engine.text.match(q, {}) for q in requests.query]
    first, second = engine.count(requests, match, ["colour"])
    assert len(first.facets["colour"]["values"]) == 4
    assert second.facets["colour"]["values"][0]["value"] == "Red"
    assert engine.count(requests, [None, None], ["colour"])[0].facets != first.facets
    assert first.groups <= first.rows == (match[0] & items.live).sum()


def test_two_processes_record_what_each_has_encoded(tmp_path):
    items = table(generated(20))
    first = EmbeddedEngine.build(items, tmp_path)
    second = EmbeddedEngine.open(items, tmp_path)
    for engine, encoder in ((first, "one"), (second, "other")):
        engine.put_vectors(encoder, np.arange(20), np.eye(20, 8, dtype=np.float32))
        engine.save_vectors(encoder, sequence=7)
    assert EmbeddedEngine.open(items, tmp_path).encoded == {"one": 7, "other": 7}


def test_build_open_refresh_and_vectors_on_disk(tmp_path):
    items = table(generated(50))
    engine = EmbeddedEngine.build(items, tmp_path, sequence=7)
    vectors = np.eye(50, 8, dtype=np.float32)
    engine.put_vectors("./my encoder", np.arange(50), vectors)
    engine.save_vectors("./my encoder")
    items = items.upserted(table([{"item_id": "NEW", "title": "unicorn", "rating_count": 10_000}]).table)
    engine.refresh(items, items.rows_of(["NEW"]), sequence=8)
    assert engine.num_unsaved == 1
    assert engine.save() == engine.saved_sequence == 8
    engine.put_vectors("./my encoder", items.rows_of(["NEW"]), np.full((1, 8), 0.5, np.float32))
    for now in (engine, EmbeddedEngine.open(items, tmp_path)):
        assert now.sequence == 8
        assert now.generation == items.generation
        assert now.encoders() == ["./my encoder"]
        requests = now.compile(Requests.make(["unicorn"]))
        assert now.text.search(["unicorn"], 5, requests.masks(), {}).item.tolist() == [50]
        assert now.order(np.arange(51, dtype=np.int32), None)[0] == 50
        found = now.vectors("./my encoder").search(vectors[:1], 3, requests.masks())
        assert 0 in found.item or not items.live[0]
    assert engine.vectors("./my encoder").num_rows == 51
    again = EmbeddedEngine.build(items, tmp_path, sequence=9)
    assert again.sequence == 9
    assert again.vectors("./my encoder").num_rows == 51, "a new text index keeps the vectors, saved and put later"
    with pytest.raises(UnknownName, match=r"did you mean '\./my encoder'"):
        again.vectors("my encoder")
    with pytest.raises(StateError, match="no indexes"):
        EmbeddedEngine.open(items, tmp_path / "elsewhere")
