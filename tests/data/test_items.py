"""ItemTable against plain Python over the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import ContractError, DataError
from aisle.core.lists import Ragged
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE, complete

BRANDS = (None, "", "Acme", "Zeta", "Émile")
PATHS = ("Home", "Home > Kitchen", "Home > Kitchen > Pans", "Garden > Tools", "Home>Bath")


def record(rng: np.random.Generator, number: int) -> dict[str, Any]:
    attributes: list[dict[str, Any]] = []
    if rng.random() < 0.7:
        attributes.append({"name": "color", "text": str(rng.choice(["red", "blue", "green"]))})
    if rng.random() < 0.5:
        attributes.append({"name": "color", "text": "white"})
    if rng.random() < 0.6:
        attributes.append({"name": "net_weight", "number": float(rng.choice([1, 2.5, 10])), "unit": "kg"})
    return {
        "item_id": f"i{number}",
        "group_id": f"g{number // 3}" if rng.random() < 0.5 else None,
        "title": None if rng.random() < 0.1 else f"title {number}",
        "brand": BRANDS[rng.integers(len(BRANDS))],
        "category": None
        if rng.random() < 0.2
        else [str(p) for p in rng.choice(PATHS, rng.integers(0, 3), replace=False)],
        "attributes": None if rng.random() < 0.1 else attributes,
        "price_cents": None if rng.random() < 0.2 else int(rng.integers(100, 200)),
        "images": ["a.jpg", "b.jpg"] if rng.random() < 0.5 else [],
        "active": bool(rng.random() < 0.9),
    }


def chunked(records: list[dict[str, Any]], size: int = 7) -> pa.Table:
    """In several chunks that are slices, as tables from disk and from filters are."""
    padded = pa.Table.from_pylist([records[0], *records], schema=CATALOGUE).slice(1)
    return pa.concat_tables([padded.slice(at, size) for at in range(0, len(records), size)])


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [record(rng, n) for n in range(60)]


@pytest.fixture(scope="module", params=["stored", "updated"])
def items(request: pytest.FixtureRequest, records: list[dict[str, Any]]) -> ItemTable:
    """The same 60 items: as they came, and reached by updating others."""
    if request.param == "stored":
        return ItemTable.from_table(chunked(records))
    old = [{**r, "title": "old", "brand": "old", "attributes": [], "category": ["Old"]} for r in records[:40]]
    later = [records[n] for n in (12, 40, 3, 41, *range(42, 60))]
    rest = [r for r in records[:40] if r["item_id"] not in ("i12", "i3")]
    return ItemTable.from_table(chunked(old)).upserted(chunked(later)).upserted(chunked(rest))


def code_sets(codes: tuple[Ragged, list[str]]) -> list[list[str]]:
    ragged, labels = codes
    assert ragged.values.dtype == np.int32
    return [[labels[c] for c in ragged[row]] for row in range(len(ragged))]


def shown(attribute: dict[str, Any]) -> str:
    return attribute["text"] if "text" in attribute else f"{attribute['number']:g}"


def test_ids_go_both_ways(items: ItemTable, records: list[dict[str, Any]]) -> None:
    ids = [r["item_id"] for r in records]
    assert items.ids(np.arange(60)) == ids
    assert items.rows_of(["i5", "none", "i59"]).tolist() == [5, -1, 59]
    assert items.rows_of([]).tolist() == []
    assert items.rows_of(ids).dtype == np.int32


def test_text_of_every_kind_of_field(items: ItemTable, records: list[dict[str, Any]]) -> None:
    rows = np.array([59, 0, 0, 17])
    want = {
        "title": [r["title"] or "" for r in records],
        "brand": [r["brand"] or "" for r in records],
        "category": [" ".join(r["category"] or []).replace(" > ", " ") for r in records],
        "images": [" ".join(r["images"]) for r in records],
        "color": [" ".join(a["text"] for a in r["attributes"] or [] if a["name"] == "color") for r in records],
        "net_weight": [" ".join(shown(a) for a in r["attributes"] or [] if "number" in a) for r in records],
        "price_cents": ["" if r["price_cents"] is None else str(r["price_cents"]) for r in records],
        "attributes": [
            " ".join(
                " ".join(filter(None, (a["name"].replace("_", " "), shown(a), a.get("unit"))))
                for a in r["attributes"] or []
            )
            for r in records
        ],
        "unheard_of": [""] * 60,
    }
    for field, texts in want.items():
        assert items.text(field) == texts, field
        assert items.text(field, rows) == [texts[row] for row in rows], field


def test_numbers_of_columns_and_attributes(items: ItemTable, records: list[dict[str, Any]]) -> None:
    weight = [next((a["number"] for a in r["attributes"] or [] if "number" in a), np.nan) for r in records]
    price = [np.nan if r["price_cents"] is None else r["price_cents"] for r in records]
    rows = np.array([3, 3, 58])
    for field, want in (
        ("net_weight", weight),
        ("price_cents", price),
        ("title", [np.nan] * 60),
        ("nothing", [np.nan] * 60),
    ):
        np.testing.assert_array_equal(items.number(field), want)
        np.testing.assert_array_equal(items.number(field, rows), np.array(want)[rows])
        assert items.number(field).dtype == np.float64


def test_the_first_of_several_numbers_counts() -> None:
    both = [{"name": "w", "number": 1.0}, {"name": "w", "number": 2.0}]
    items = ItemTable.from_table(chunked([{"item_id": "a", "attributes": both}]))
    assert items.number("w").tolist() == [1.0]
    assert items.text("w") == ["1 2"]


def test_codes(items: ItemTable, records: list[dict[str, Any]]) -> None:
    def prefixes(paths: list[str]) -> set[str]:
        parts = [p.replace(" ", "").split(">") for p in paths]
        return {" > ".join(path[: n + 1]) for path in parts for n in range(len(path))}

    def values(r: dict[str, Any], name: str) -> set[str]:
        return {shown(a) for a in r["attributes"] or [] if a["name"] == name}

    assert code_sets(items.codes("category")) == [sorted(prefixes(r["category"] or [])) for r in records]
    assert code_sets(items.codes("brand")) == [[r["brand"]] if r["brand"] else [] for r in records]
    assert code_sets(items.codes("color")) == [sorted(values(r, "color")) for r in records]
    assert [set(c) for c in code_sets(items.codes("net_weight"))] == [values(r, "net_weight") for r in records]
    assert code_sets(items.codes("unheard_of")) == [[]] * 60
    assert items.codes("brand") is items.codes("brand")


def test_groups(items: ItemTable, records: list[dict[str, Any]]) -> None:
    names = [r["group_id"] or r["item_id"] for r in records]
    group = items.group()
    assert group.dtype == np.int32
    for a in range(60):
        assert [names[a] == n for n in names] == (group == group[a]).tolist()


def test_live_is_neither_inactive_nor_deleted(items: ItemTable, records: list[dict[str, Any]]) -> None:
    active = [r["active"] for r in records]
    assert items.live.tolist() == active
    fewer = items.deleted(["i1", "i2", "nobody"])
    assert fewer.live.tolist() == [a and n not in (1, 2) for n, a in enumerate(active)]
    assert items.live.tolist() == active
    assert fewer.num_rows == 60
    assert fewer.upserted(chunked([{**records[1], "active": True}])).live[1]


def test_upsert_keeps_rows_and_leaves_the_old_table_alone(items: ItemTable, records: list[dict[str, Any]]) -> None:
    before = items.table
    grown = items.upserted(pa.table({"item_id": ["new", "i7"], "title": ["N", "seven"]}))
    assert grown.rows_of(["i7", "new", "i8"]).tolist() == [7, 60, 8]
    assert grown.text("title", np.array([7, 60])) == ["seven", "N"]
    assert grown.text("brand", np.array([7])) == [""]
    assert grown.generation == items.generation
    assert items.rows_of(["new"]).tolist() == [-1]
    assert items.table.equals(before)
    assert grown.row_table(np.array([60, 7]))["title"].to_pylist() == ["N", "seven"]
    assert grown.table.num_rows == grown.num_rows == 61
    again = grown
    for n in range(200):
        again = again.upserted(pa.table({"item_id": [f"x{n % 5}", "i7"], "title": [f"t{n}", f"t{n}"]}))
    assert again.num_rows == 66
    assert again.text("title", np.array([7])) == ["t199"]
    assert again.table["item_id"].num_chunks < 100
    assert again.ids(np.arange(61, 66)) == ["x0", "x1", "x2", "x3", "x4"]


def test_facet_fields(records: list[dict[str, Any]]) -> None:
    rare = [{**r, "attributes": [{"name": "rare", "text": "x"}]} if n < 3 else r for n, r in enumerate(records)]
    same = [{**r, "attributes": [*(r["attributes"] or []), {"name": "same", "text": "always"}]} for r in rare]
    own = [{**r, "attributes": [*r["attributes"], {"name": "ean", "text": str(n)}]} for n, r in enumerate(same * 5)]
    for n, r in enumerate(own):
        r["item_id"] = f"i{n}"
    items = ItemTable.from_table(chunked(own))
    assert items.facet_fields() == ["category", "brand", "price_cents", "color", "net_weight"]
    assert (items.kind("color"), items.kind("net_weight"), items.kind("brand"), items.kind("rating")) == (
        "text",
        "number",
        "text",
        "number",
    )
    assert items.kind("nobody has it") is None
    assert "ean" in items.attribute_names()


def test_rows_that_do_not_exist_are_refused(items: ItemTable) -> None:
    for bad in (60, -1):
        with pytest.raises(ContractError, match=f"row {bad} of a catalogue of 60 rows"):
            items.text("title", np.array([0, bad]))
    with pytest.raises(ContractError):
        items.row_table(np.array([99]))


def test_bad_ids_are_refused() -> None:
    with pytest.raises(DataError, match="'a' occurs more than once"):
        ItemTable.from_table(pa.table({"item_id": ["a", "b", "a"]}))
    for missing in (None, ""):
        with pytest.raises(DataError, match="row 1 has no item_id"):
            ItemTable.from_table(pa.table({"item_id": ["a", missing]}))


def test_an_empty_catalogue_answers() -> None:
    items = ItemTable(CATALOGUE.empty_table())
    assert (items.num_rows, items.text("title"), items.facet_fields(), items.group().tolist()) == (0, [], [], [])
    assert items.live.tolist() == []
    for field in ("category", "brand", "color"):
        assert code_sets(items.codes(field)) == []
    assert items.upserted(pa.table({"item_id": ["a"]})).ids(np.array([0])) == ["a"]


def test_memory_mapped_from_disk(tmp_path: Path, items: ItemTable) -> None:
    path = tmp_path / "items.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, CATALOGUE) as writer:
        writer.write_table(complete(items.table, CATALOGUE), max_chunksize=16)
    before = pa.total_allocated_bytes()
    mapped = ItemTable.read(path, generation=4)
    assert pa.total_allocated_bytes() - before < 20_000
    assert mapped.table.equals(items.table)
    assert mapped.text("attributes") == items.text("attributes")
    assert mapped.generation == 4
