"""Public sets: the real files where they are, their layouts on small files everywhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aisle.core.errors import DataError, UnknownName
from aisle.data.sets import KINDS, check_set, data_root, open_set
from aisle.data.splits import leave_one_out

RealData = Callable[[str], Path]


def test_esci(real_data: RealData) -> None:
    folder = real_data("esci-us-150")
    dataset = open_set(f"esci:{folder}")
    assert dataset.counts() == {"products": 6764, "judgments": 4233, "queries": 96} == check_set(f"esci:{folder}")
    items = dataset.items()
    judged = dataset.judged(items)
    assert len(judged.lists.item) == 4233  # every judged product is in the catalogue
    assert (judged.lists.counts.min(), judged.lists.counts.max()) == (40, 78)
    assert set(judged.gain().tolist()) == {1.0, 0.1, 0.01, 0.0}
    row = items.rows_of(["B0777K9RGX"])
    assert items.text("category", row)[0].endswith("Furniture Bedroom Furniture Mattresses & Box Springs Mattresses")
    assert items.text("color", row) == ["White"]
    assert items.text("description", row)[0].startswith("MEMORY FOAM MATTRESS")
    ragged, labels = items.codes("category")
    assert "Home & Kitchen > Furniture" in [labels[c] for c in ragged[int(row[0])]]
    price = items.number("price_cents")
    assert (np.isfinite(price).sum(), np.nanmedian(price) > 500) == (1990, True)
    # Which queries a product was collected for is not a fact about the product.
    assert "query_id" not in items.attribute_names()


def test_icecat(real_data: RealData) -> None:
    folder = real_data("icecat-electronics")
    dataset = open_set(f"icecat:{folder}")
    assert dataset.counts() == {"products": 19406, "judgments": 2322, "queries": 89}
    items = dataset.items()
    judged = dataset.judged(items)
    positive = [judged.select(np.array([q])).gain().max() > 0 for q in range(len(judged))]
    assert sum(positive) == 76
    row = items.rows_of(["2101957"])
    assert items.text("brand", row) == ["HP"]
    assert items.number("price_cents", row).tolist() == [10995]
    assert items.number("display_diagonal", row).tolist() == [17.0]
    assert (items.text("touchscreen", row), items.text("bluetooth", row)) == (["no"], ["yes"])
    assert items.text("images", row)[0].startswith("http://images.icecat.biz/img/gallery_mediums/")
    assert len(items.attribute_names()) > 5000
    assert not any("<br" in text for text in items.text("description"))
    assert items.facet_fields()[:2] == ["brand", "price_cents"]


@pytest.mark.parametrize(("name", "products", "users"), [("beauty", 12101, 22363), ("sports", 18357, 35598)])
def test_amazon_5core(real_data: RealData, name: str, products: int, users: int) -> None:
    folder = real_data(f"amazon-{name}")
    counts = check_set(f"amazon-5core:{folder}")
    assert (counts["products"], counts["users"]) == (products, users)
    dataset = open_set(f"amazon_5core:{folder}")
    assert dataset.sequences is not None
    assert np.unique(dataset.sequences.item).tolist() == list(range(products))
    _, _, test = leave_one_out(dataset.sequences)
    assert len(test.target) == users
    if name == "beauty":
        assert dataset.items().text("title", dataset.sequences.item[:1])[0].startswith("OPI Nail Lacquer, Simmer")


def test_amazon_games(real_data: RealData) -> None:
    folder = real_data("amazon-games")
    assert check_set(f"amazon_games:{folder}") == {"products": 16859, "users": 50546, "interactions": 440264}
    dataset = open_set(f"amazon_games:{folder}")
    assert dataset.items().text("title", np.array([0])) == ["Fire Emblem: The Sacred Stones"]
    assert dataset.users[:2] == ("0", "1")


def test_esci_in_its_official_layout(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "product_id": ["A", "B", "A"],
            "product_title": ["pan", "pot", "Pfanne"],
            "product_description": ["<p>flat", None, ""],
            "product_bullet_point": ["iron", "steel", ""],
            "product_brand": ["Acme", None, "Acme"],
            "product_color": ["Black", None, ""],
            "product_locale": ["us", "us", "es"],
        }
    ).write_parquet(tmp_path / "shopping_queries_dataset_products.parquet")
    pl.DataFrame(
        {
            "example_id": [0, 1, 2, 3],
            "query": ["frying pan", "frying pan", "pot", "frying pan"],
            "query_id": [1, 1, 2, 1],
            "product_id": ["A", "B", "B", "A"],
            "product_locale": ["us", "us", "us", "es"],
            "esci_label": ["E", "substitute", "I", "C"],
            "small_version": [1, 1, 1, 1],
            "large_version": [1, 1, 1, 1],
            "split": ["test", "test", "train", "test"],
        }
    ).write_parquet(tmp_path / "shopping_queries_dataset_examples.parquet")
    dataset = open_set(f"esci:{tmp_path}")
    items = dataset.items()
    assert items.text("description") == ["flat\niron", "steel"]
    assert items.text("color") == ["Black", ""]
    judged = dataset.judged(items)
    assert (list(judged.query), judged.gain().tolist()) == (["frying pan"], [1.0, 0.1])
    with pytest.raises(DataError, match=r"published are 1814924"):
        check_set(f"esci:{tmp_path}")


def test_wands(tmp_path: Path) -> None:
    (tmp_path / "product.csv").write_text(
        "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\t"
        "rating_count\taverage_rating\treview_count\n"
        '0\tsolid wood 30 " bed\tBeds\tFurniture / Bedroom Furniture / Beds\tgood , deep sleep\t'
        "overallwidth : 64.7|color: red : dark|empty :|noise\t15.0\t4.5\t15.0\n"
        "1\trug\tArea Rugs\t\t\t\t\t\t\n"
    )
    (tmp_path / "query.csv").write_text("query_id\tquery\tquery_class\n0\tsalon chair\tMassage\n1\tbed\tBeds\n")
    (tmp_path / "label.csv").write_text(
        "id\tquery_id\tproduct_id\tlabel\n0\t1\t0\tExact\n1\t1\t1\tIrrelevant\n2\t0\t0\tPartial\n"
    )
    dataset = open_set(f"wands:{tmp_path}")
    items = dataset.items()
    assert items.table["category"].to_pylist() == [["Furniture > Bedroom Furniture > Beds"], ["Area Rugs"]]
    assert items.text("title") == ['solid wood 30 " bed', "rug"]
    assert items.text("overallwidth") == ["64.7", ""]
    assert items.text("color") == ["red : dark", ""]
    assert items.attribute_names() == ["color", "overallwidth"]
    assert items.number("rating_count").tolist()[0] == 15
    judged = dataset.judged(items)
    assert (list(judged.query), judged.gain().tolist()) == (["bed", "salon chair"], [1.0, 0.0, 0.5])
    with pytest.raises(DataError, match="published are 42994"):
        check_set(f"wands:{tmp_path}")
    (tmp_path / "label.csv").write_text("id\tquery_id\tproduct_id\tlabel\n7\t9\t0\tExact\n")
    with pytest.raises(DataError, match=r"query '9', which query.csv lacks"):
        open_set(f"wands:{tmp_path}")


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'esci'"):
        open_set(f"escii:{tmp_path}")
    with pytest.raises(DataError, match="write KIND:DIR, such as esci:FOLDER"):
        open_set("esci")
    with pytest.raises(DataError, match="is no folder"):
        open_set("esci:nowhere")
    assert set(KINDS) == {"esci", "wands", "icecat", "amazon_5core", "amazon_games"}
    for kind in KINDS:
        with pytest.raises(DataError, match=r"has no .*; give the folder that holds the set"):
            open_set(f"{kind}:{tmp_path}")
    with gzip.open(tmp_path / "products.jsonl.gz", "wt") as file:
        file.write(json.dumps({"asin": "A", "title": "t"}) + "\n{broken\n")
    with pytest.raises(DataError, match=r"products.jsonl.gz, line 2 is no JSON"):
        open_set(f"esci:{tmp_path}")
    (tmp_path / "products.jsonl.gz").unlink()
    (tmp_path / "products.jsonl").write_text(json.dumps({"asin": "A", "title": "t"}))
    (tmp_path / "judgments.csv").write_text("query,product_id,label\nq,A,X\n")
    with pytest.raises(DataError, match="label 'X' is none of E, S, C, I"):
        open_set(f"esci:{tmp_path}")


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project_root: Path) -> None:
    monkeypatch.setenv("AISLE_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("AISLE_DATA")
    assert data_root() == project_root.parent / "shared" / "data"
