from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.data.units import converted, in_unit, stored_unit, usual_unit


def number(value: float, unit: str, into: str) -> float | None:
    there = converted(np.array([value]), unit, into)
    return None if there is None else float(there[0])


@pytest.mark.parametrize(
    ("value", "unit", "into", "expected"),
    [
        (1500, "g", "kg", 1.5),
        (70, "in", "cm", 177.8),
        (0, "°C", "°F", 32),
        (212, "°F", "°C", 100),
        (36, "months", "years", 3),
        (3, "kg", "cm", None),
        (3, "", "cm", 3),
        (230, "V", "V", 230),
        (0, "g", "kg", 0),
    ],
)
def test_numbers_in_other_units(value, unit, into, expected):
    assert number(value, unit, into) == expected


def test_there_and_back_is_the_same():
    values = np.random.default_rng(0).uniform(0.01, 500, 200).round(3)
    for unit, into in (("in", "cm"), ("lb", "kg"), ("fl oz", "ml"), ("°F", "°C")):
        np.testing.assert_allclose(converted(converted(values, unit, into), into, unit), values, rtol=1e-9)


def test_units_as_people_write_them():
    assert [stored_unit(text) for text in ("KG", "inches", '"', "Litre", "furlong")] == [
        "kg",
        "in",
        "in",
        "l",
        "furlong",
    ]


def test_a_column_is_brought_to_its_usual_unit():
    units = pa.array(["kg", "g", None, "kg", "pcs"])
    assert usual_unit(units) == "kg"
    np.testing.assert_array_equal(in_unit(np.array([1.0, 1500, 2, 3, 4]), units, "kg"), [1, 1.5, 2, 3, np.nan])


def test_items_give_one_unit_and_keep_it_while_few_change():
    def weighing(item_id: str, value: float, unit: str | None) -> dict:
        return {"item_id": item_id, "attributes": [{"name": "weight", "number": value, "unit": unit}]}

    def table(records: list[dict]) -> pa.Table:
        schema = pa.schema([CATALOGUE.field("item_id"), CATALOGUE.field("attributes")])
        return pa.Table.from_pylist(records, schema=schema)

    items = ItemTable.from_table(table([weighing(str(n), n, "kg") for n in range(100)] + [weighing("g", 1500, "g")]))
    assert items.unit("weight") == "kg"
    assert items.unit("price_cents") == items.unit("colour") == ""
    assert items.number("weight")[-1] == 1.5
    grown = items.upserted(table([weighing(f"n{n}", 100, "g") for n in range(4)]))
    np.testing.assert_array_equal(grown.number("weight")[-5:], [1.5, 0.1, 0.1, 0.1, 0.1])
    np.testing.assert_array_equal(grown.number("weight", np.array([102, 3])), [0.1, 3])
    many = grown.upserted(table([weighing(f"m{n}", 100, "g") for n in range(300)]))
    assert many.unit("weight") == "g", "made anew, number and unit together"
    assert many.number("weight")[1] == 1000
