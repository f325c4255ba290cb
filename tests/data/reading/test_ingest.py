"""Product files into a shop: what is taken, what is quarantined and why, and that nothing is half written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.core.errors import DataError
from aisle.data.reading.ingest import Options, guess_kind, ingest, ingest_events, ingest_judgments, read_products
from aisle.data.reading.seen import SeenIds
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop.create(tmp_path / "shop")


def file(folder: Path, text: str | bytes, name: str = "products.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def quarantined(shop: Shop) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((shop.folder / "quarantine").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def one(path: Path, **options: Any) -> dict[str, Any]:
    """The first row of a file."""
    return next(iter(read_products(path, options=Options(**options)))).to_pylist()[0]


def test_good_rows_in_bad_rows_out(tmp_path: Path, shop: Shop) -> None:
    lines = [
        "sku,name,price,rating",
        "1,One,5.00,4",
        ",No id,5.00,4",
        "1,Again,5.00,4",
        "2,Two,free,4",
        '3,"Open,5.00,4',
        '4,"Four",5.00,4',
        "5,Five,-1,4",
        "6,Six",
        "7,Seven,7.00,4",
        "8,Eight,,",
        "9,Nine,9.00,7",
        "10,Ten,10,5",
        "11,Eleven,11,5",
        "12,Twelve,11,5",
        "13,Thirteen,11,5",
    ]
    report = ingest(file(tmp_path, "\n".join(lines)), shop)
    items = shop.items()
    assert items.table["item_id"].to_pylist() == ["1", "4", "7", "8", "10", "11", "12", "13"]
    assert items.table["title"].to_pylist()[0] == "One"
    assert (report.rows, report.quarantined) == (8, 7)
    rows = quarantined(shop)
    assert {(r["line"], r["column"]): r["reason"] for r in rows} == {
        (3, "sku"): "missing id",
        (4, "sku"): "duplicate id, the first one stays",
        (5, "price"): "not a price",
        (6, ""): "unbalanced quote",
        (8, "price"): "negative price",
        (9, ""): "expected 4 fields, found 2",
        (12, "rating"): "rating outside 0 to 5",
    }
    assert next(r for r in rows if r["line"] == 5)["value"] == "free"
    assert sum(report.reasons.values()) == 7
    assert report.mapping is not None
    assert shop.mapping() == json.loads(json.dumps(report.mapping.model_dump()))


def test_mostly_bad_writes_nothing(tmp_path: Path, shop: Shop) -> None:
    ingest(file(tmp_path, "id,title\n1,Old\n"), shop)
    bad = file(tmp_path, "id,title,price\n" + "".join(f"{i},Title,call us\n" for i in range(9)) + "10,Ten,5.00\n")
    with pytest.raises(DataError) as raised:
        ingest(bad, shop)
    message = str(raised.value)
    assert "9 of 10 rows" in message
    assert "price: not a price (9)" in message
    assert "line 2, price: 'call us'" in message
    assert "price_cents       <- price" in message
    assert "--map" in message
    assert shop.items().table["title"].to_pylist() == ["Old"]
    assert not list(shop.folder.glob("quarantine/*"))
    report = ingest(bad, shop, options=Options(ignore=["price"]))
    assert report.rows == 10


def test_header_only_and_no_usable_row(tmp_path: Path, shop: Shop) -> None:
    with pytest.raises(DataError, match="holds no row that can be read"):
        ingest(file(tmp_path, "id,title\n"), shop)
    with pytest.raises(DataError, match="broken, the first on line 1: broken JSON"):
        ingest(file(tmp_path, "{nothing\n{at all\n", "a.jsonl"), shop)


def test_duplicates_across_batches_and_files(tmp_path: Path, shop: Shop) -> None:
    rows = 25_000
    first = file(tmp_path, "id,title\n" + "".join(f"{i},First {i}\n" for i in range(rows)) + "7,Again\n", "a.csv")
    second = file(
        tmp_path,
        '{"id": 8, "title": "Again"}\n{"id": "new", "title": "New"}\n{"id": "new2", "title": "New"}\n',
        "b.jsonl",
    )
    report = ingest([first, second], shop)
    assert report.rows == rows + 2
    assert report.reasons == {"id: duplicate id, the first one stays": 2}
    assert shop.items().table["title"].to_pylist()[7:9] == ["First 7", "First 8"]
    assert sorted(r["line"] for r in quarantined(shop)) == [1, rows + 2]


def test_seen_ids() -> None:
    seen = SeenIds()
    assert seen.fresh(["a", "b", "a"]).tolist() == [True, True, False]
    assert seen.fresh(["b", "c"]).tolist() == [False, True]
    assert seen.fresh([]).tolist() == []
    for start in range(0, 5000, 100):
        assert seen.fresh([str(i) for i in range(start, start + 100)]).all()
    assert not seen.fresh([str(i) for i in range(5000)]).any()
    assert len(seen.runs) < 10


def test_every_column(tmp_path: Path) -> None:
    record = {
        "sku": 17,
        "parent_sku": "P1",
        "product_name": "  A\n  pan ",
        "description": "<p>Good</p>",
        "bullet_points": ["Light", "Strong"],
        "vendor": "Acme",
        "categories": ["Home", "Kitchen > Bath"],
        "price": "1.299,00 €",
        "list_price": "1.499,00 €",
        "stars": "4.5 out of 5 stars",
        "reviews": "1,234 ratings",
        "images": [{"large": "http://x/1.jpg"}, "http://x/2.jpg"],
        "created_at": "2024-01-02T03:04:05+02:00",
        "availability": "out of stock",
        "lang": "de",
        "color": "Red",
        "weight": "10 kg",
        "size": {"width": "5,5 cm", "deep": {"er": 3}},
        "new": True,
        "tags": ["a", "b"],
        "attr_n_power": 5.5,
        "empty": None,
        "attributes": [{"name": "Finish", "value": "Matt"}],
        "seller": "Shop",
    }
    row = one(file(tmp_path, json.dumps(record), "a.jsonl"))
    attributes = [(a["name"], a["text"], a["number"], a["unit"]) for a in row.pop("attributes")]
    assert row == {
        "item_id": "17",
        "group_id": "P1",
        "title": "A pan",
        "description": " Good \nLight\nStrong",
        "brand": "Acme",
        "category": ["Home", "Kitchen > Bath"],
        "price_cents": 129900,
        "list_price_cents": 149900,
        "currency": "EUR",
        "rating": 4.5,
        "rating_count": 1234,
        "images": ["http://x/1.jpg", "http://x/2.jpg"],
        "locale": "de",
        "merchant": "Shop",
        "created_s": 1704157445.0,
        "stock": 0,
        "active": True,
    }
    assert attributes == [
        ("color", "Red", None, None),
        ("weight", None, 10.0, "kg"),
        ("size.width", None, 5.5, "cm"),
        ("size.deep.er", None, 3.0, None),
        ("new", "yes", None, None),
        ("tags", "a", None, None),
        ("tags", "b", None, None),
        ("power", None, 5.5, None),
        ("finish", "Matt", None, None),
    ]


def test_tables_have_the_schema_of_the_catalogue(tmp_path: Path) -> None:
    for table in read_products(file(tmp_path, "id,title\n1,x\n")):
        assert table.schema == CATALOGUE


def test_mixed_types_in_one_column(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "title": "a", "price": 5, "x": 1},
        {"id": "2", "title": 7, "price": "5.50", "x": "wide"},
        {"id": 3.0, "title": None, "price": None, "x": [True, None, 2]},
    ]
    table = next(iter(read_products(file(tmp_path, "\n".join(map(json.dumps, lines)), "a.jsonl"))))
    assert table["item_id"].to_pylist() == ["1", "2", "3"]
    assert table["title"].to_pylist() == ["a", "7", ""]
    assert table["price_cents"].to_pylist() == [500, 550, None]
    assert [[a["text"] or a["number"] for a in row] for row in table["attributes"].to_pylist()] == [
        [1.0],
        ["wide"],
        ["yes", 2.0],
    ]


def test_numbers_and_booleans_written_in_csv(tmp_path: Path) -> None:
    row = one(
        file(
            tmp_path,
            'id,title,watts,ean,new,features\n1,x,60,0012,TRUE,"shape: round | max : 5 W"\n2,y,75,0013,false,shape: flat\n',
        )
    )
    got = [(a["name"], a["text"], a["number"], a["unit"]) for a in row["attributes"]]
    assert got == [
        ("watts", None, 60.0, None),
        ("ean", "0012", None, None),
        ("new", "yes", None, None),
        ("shape", "round", None, None),
        ("max", None, 5.0, "W"),
    ]


def test_parquet_with_lists(tmp_path: Path) -> None:
    table = pa.table(
        {
            "product_id": ["a"],
            "product_title": ["T"],
            "product_color": ["Red"],
            "category": [["Home", "Pans"]],
            "image_urls": [["http://x/1"]],
            "price": pa.array([5.25], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    row = one(tmp_path / "a.parquet")
    assert (row["item_id"], row["title"], row["category"], row["images"], row["price_cents"]) == (
        "a",
        "T",
        ["Home > Pans"],
        ["http://x/1"],
        525,
    )
    assert [a["name"] for a in row["attributes"]] == ["color"]


def test_windows_file_and_override(tmp_path: Path) -> None:
    path = file(tmp_path, "Artikel;Bezeichnung;Preis\n1;Töpfe groß;1.299,00\n2;Schüssel;5,50\n".encode("cp1252"))
    with pytest.raises(DataError, match="no column looks like the item_id; the file has: Artikel, Bezeichnung, Preis"):
        one(path)
    row = one(path, maps=["id=Artikel", "title=Bezeichnung", "price=Preis:comma"])
    assert (row["item_id"], row["title"], row["price_cents"], row["attributes"]) == ("1", "Töpfe groß", 129900, [])


def test_real_files(real_data: Callable[[str], Path], shop: Shop) -> None:
    report = ingest(real_data("icecat-electronics") / "products.jsonl.gz", shop)
    assert (report.rows, report.quarantined) == (19406, 0)
    items = shop.items()
    row = items.rows_of(["3920564"])
    assert items.number("price_cents", row).tolist() == [4995]
    report = ingest(real_data("esci-us-150") / "products.jsonl.gz", shop)
    assert (report.rows, report.quarantined) == (6764, 0)
    table = shop.items().table
    assert table["price_cents"].null_count == 4774
    assert table.column("price_cents").drop_null().to_pylist()[0] == 2997
    assert table["category"][1].as_py() == [
        "Home & Kitchen > Furniture > Bedroom Furniture > Mattresses & Box Springs > Mattresses"
    ]


def test_kinds(tmp_path: Path) -> None:
    assert guess_kind(file(tmp_path, "id,title,query_id\n1,x,2\n")) == "products"
    assert guess_kind(file(tmp_path, "query,product_id,label\na,1,E\n")) == "judgments"
    assert guess_kind(file(tmp_path, "301 0 D1 1\n301 0 D2 0\n", "qrels.txt")) == "judgments"
    assert guess_kind(file(tmp_path, "timestamp,visitorid,event,itemid\n1,2,view,3\n")) == "events"
    assert (
        guess_kind(file(tmp_path, '{"application": "a", "action_name": "click", "timestamp": 1}\n', "ubi_events.jsonl"))
        == "events"
    )


def test_events_and_judgments_into_a_shop(tmp_path: Path, shop: Shop) -> None:
    ingest(file(tmp_path, "id,title\n1,x\n2,y\n"), shop)
    log = "time,user,event,product_id,page\n5,u,click,1,a\nsoon,u,click,1,b\n7,u,dance,1,c\n6,u,purchase,2,\n8,u,view,2,d\n"
    report = ingest_events([file(tmp_path, log, "log.csv")], shop)
    assert (report.rows, report.quarantined) == (3, 2)
    assert shop.events()["action"].to_pylist() == ["click", "order", "click"]
    assert shop.events()["extra"].to_pylist() == ['{"page": "a"}', None, '{"page": "d"}']
    assert [(r["line"], r["reason"].split(":")[0]) for r in quarantined(shop)] == [(3, "not a time"), (4, "no action")]
    with pytest.raises(DataError, match="nothing was written"):
        ingest_events([file(tmp_path, "time,event\nx,click\n", "log.csv")], shop)
    report = ingest_judgments(file(tmp_path, "query,product_id,label\na,1,E\na,2,I\na,2,X\n", "j.csv"), shop)
    assert (report.rows, report.quarantined) == (2, 1)
    assert shop.judgments().gain().tolist() == [1.0, 0.0]
