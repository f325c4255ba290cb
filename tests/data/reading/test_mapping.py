"""The mapping: inferred from names and a sample, shown, changed, saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aisle.core.errors import DataError, SettingError
from aisle.data.reading.batches import Batch, Column, columns_of
from aisle.data.reading.column_names import attribute_name, plain_name
from aisle.data.reading.infer import infer, require
from aisle.data.reading.ingest import ProductReader
from aisle.data.reading.mapping import Mapping


def of(**columns: list[Any]) -> Mapping:
    size = len(next(iter(columns.values())))
    return infer(Batch(list(range(size)), {n: Column(None, v) for n, v in columns.items()}))


def named(mapping: Mapping) -> dict[str, tuple[str, ...]]:
    return {target: rule.columns for target, rule in mapping.fields.items()}


def test_names_of_columns() -> None:
    assert [plain_name(n) for n in ("Product Name", "productName", "title:token_seq", "_id", "Item-ID")] == [
        "product_name",
        "product_name",
        "title",
        "_id",
        "item_id",
    ]
    assert [attribute_name(n) for n in ("attr_t_colour", "attributes.Size", "product_color", "Screen Size")] == [
        "colour",
        "size",
        "color",
        "screen_size",
    ]


def test_esci(real_data: Callable[[str], Path]) -> None:
    mapping = ProductReader(real_data("esci-us-150") / "products.jsonl.gz").mapping
    assert named(mapping) == {
        "item_id": ("asin",),
        "title": ("title",),
        "description": ("description", "bullet_points"),
        "brand": ("brand",),
        "category": ("category",),
        "price_cents": ("price",),
        "rating": ("rating",),
        "rating_count": ("rating_count",),
        "images": ("image",),
    }
    assert mapping.fields["price_cents"].how == "units"
    assert mapping.fields["category"].how == "path"
    assert set(mapping.attributes) == {"color", "is_book"}
    assert set(mapping.ignored) == {"query_id", "_id"}


def test_icecat(real_data: Callable[[str], Path]) -> None:
    mapping = ProductReader(real_data("icecat-electronics") / "products.jsonl.gz").mapping
    assert named(mapping) == {
        "item_id": ("id",),
        "title": ("title",),
        "description": ("short_description",),
        "brand": ("supplier",),
        "price_cents": ("price",),
        "images": ("img_high",),
        "created_s": ("date_released",),
    }
    assert mapping.fields["price_cents"].how == "cents"
    assert mapping.attributes["attr_t_product_colour"].columns == ("attr_t_product_colour",)
    assert {"img_low", "img_thumb"} <= set(mapping.ignored)


def test_the_unique_column_is_the_id() -> None:
    mapping = of(product_id=["a", "a", "b"] * 10, sku=[f"s{i}" for i in range(30)], name=["x"] * 30)
    assert mapping.fields["item_id"].columns == ("sku",)
    assert mapping.fields["item_id"].why == "product_id is not unique"


@pytest.mark.parametrize(
    ("values", "how"),
    [
        ([["Home", "Kitchen"]], "path"),
        ([[["Home", "Kitchen"], ["Sale"]]], "paths"),
        ([["Home > Kitchen", "Sale"]], "paths"),
        (["Home > Kitchen"], ">"),
        (["Home|Kitchen"], "|"),
        (["Home / Bed & Bath"], " / "),
        (["Home/Kitchen"], "/"),
        (["Kitchen"], "text"),
        (["['Home', 'Kitchen']"], "path"),
    ],
)
def test_categories(values: list[Any], how: str) -> None:
    assert of(id=["1"], title=["x"], category=values).fields["category"].how == how


def test_kinds_of_attributes() -> None:
    mapping = of(
        id=["1", "2"],
        title=["x", "y"],
        weight=["10", "2.5"],
        code=["0012", "0013"],
        new=["yes", "no"],
        size=["L", "42"],
        features=["a: x | b: y", "c: z"],
        specs=['{"a": 1}', "{}"],
    )
    assert {c: r.how for c, r in mapping.attributes.items()} == {
        "weight": "number",
        "code": "text",
        "new": "boolean",
        "size": "text",
        "features": "pairs",
        "specs": "object",
    }


def test_ratings_and_dates() -> None:
    mapping = of(id=["1", "2"], title=["x", "y"], rating=["8.5", "9"], created_at=["31.12.2024", "01.02.2025"])
    assert mapping.fields["rating"].how == "of 10"
    assert mapping.fields["created_s"].how == "day first"
    assert of(id=["1"], title=["x"], created=[1_700_000_000_000]).fields["created_s"].how == "milliseconds"
    # A column by the right name whose values do not fit is an attribute like any other.
    assert "created_s" in of(id=["1"], title=["x"], created=[""]).fields
    assert "created" in of(id=["1"], title=["x"], created=["long ago"]).attributes


def test_nested_and_later_columns() -> None:
    records = [
        {"id": str(i), "title": "x", "price": {"amount": 5.5, "currency": "EUR"}, "attributes": {"color": "red"}}
        for i in range(5)
    ]
    mapping = infer(Batch(list(range(5)), columns_of(records)))
    assert mapping.fields["price_cents"].columns == ("price.amount",)
    assert mapping.fields["currency"].columns == ("price.currency",)
    assert "attributes.color" in mapping.attributes


def test_overrides() -> None:
    columns = ["id", "title", "name", "price", "cost", "text"]
    mapping = of(**{c: ["1", "2"] for c in columns})
    changed = mapping.overridden(["title=name", "price=cost:cents", "description=text+title"], ["price"], columns)
    assert named(changed)["title"] == ("name",)
    assert (changed.fields["price_cents"].columns, changed.fields["price_cents"].how) == (("cost",), "cents")
    assert changed.fields["description"].columns == ("text", "title")
    assert changed.ignored["price"] == "you said so"
    assert "cost" not in changed.attributes


@pytest.mark.parametrize(
    ("maps", "ignore", "message"),
    [
        (["title"], [], "is not understood"),
        (["titel=name"], [], "did you mean 'title'"),
        (["title=nmae"], [], "did you mean 'name'"),
        (["price=price:centz"], [], "expected one of: units"),
        ([], ["nmae"], "did you mean 'name'"),
    ],
)
def test_wrong_overrides(maps: list[str], ignore: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        of(id=["1"], name=["x"], price=["1"]).overridden(maps, ignore, ["id", "name", "price"])


def test_a_file_without_id_or_title() -> None:
    with pytest.raises(DataError, match="--map item_id=COLUMN"):
        require(of(foo=["1"], title=["x"]), ["foo", "title"])
    with pytest.raises(DataError, match="--map title=COLUMN"):
        require(of(id=["1"], foo=["x"]), ["id", "foo"])


def test_round_trip_and_print() -> None:
    mapping = of(id=["1"], title=["x"], price=["$5"], query_id=["7"], color=["red"])
    assert Mapping.model_validate_json(mapping.model_dump_json()) == mapping
    text = str(mapping)
    assert "price_cents       <- price  (units; as in '$5')" in text
    assert "of an evaluation set" in text
    assert "color" in text
