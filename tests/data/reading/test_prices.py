"""Prices as people write them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle.data.reading.prices import currency_of, parse_numbers, parse_prices, price_style


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("12.99", 1299),
        ("$1,299.00", 129900),
        ("1.299,00 €", 129900),
        ("EUR 12", 1200),
        ("12,-", 1200),
        ("12,99", 1299),
        ("1 299,50", 129950),
        ("1\u00a0299,50\u00a0€", 129950),
        ("1'299.50", 129950),
        ("US$5.5", 550),
        ("5€", 500),
        ("1,299", 129900),
        ("1,234,567.89", 123456789),
        ("$12.99 - $19.99", 1299),
        ("from 7.00", 700),
        (12.99, 1299),
        (12, 1200),
        (0, 0),
        ("12.99USD", 1299),
        ("kr 99.00", 9900),
        ("1e2", 10000),
    ],
)
def test_reads(text: object, cents: int) -> None:
    numbers, faults = parse_prices([text], "units")
    assert faults == []
    assert numbers[0] == cents


def test_what_is_no_price() -> None:
    _, faults = parse_prices(["free", "-5", "12..3.4", "call us", "1e30", True, "12,3x", "1-2"], "units")
    assert dict(faults) == {
        1: "negative price",
        4: "price too large",
        **dict.fromkeys((0, 2, 3, 5, 6, 7), "not a price"),
    }


@pytest.mark.parametrize("text", ["", None, "N/A", "null", " - ", "nan", float("nan")])
def test_no_price_is_no_fault(text: object) -> None:
    numbers, faults = parse_prices([text], "units")
    assert np.isnan(numbers[0])
    assert faults == []


def test_cents_and_the_decimal_comma() -> None:
    assert parse_prices([4995, "4995", "4,995"], "cents")[0].tolist() == [4995, 4995, 499500 / 100]
    assert parse_prices(["1.299", "12,5", "3"], "units, decimal comma")[0].tolist() == [129900, 1250, 300]
    assert parse_prices(["1.299", "12.5", "3"], "units")[0].tolist() == [130, 1250, 300]


def test_the_style_of_a_column() -> None:
    assert price_style("price", [4995, 10995, 595, 9495])[0] == "cents"
    assert price_style("price", ["4995", "10995", "9495"])[0] == "cents"
    assert price_style("price", [49, 109, 5, 94])[0] == "units"
    assert price_style("price", ["$12.99", None, "$4,000"])[0] == "units"
    assert price_style("price", ["$1299", "$4000"])[0] == "units"
    assert price_style("price_cents", [5, 6])[0] == "cents"
    assert price_style("Preis", ["12,99", "1.299,00", "8"])[0] == "units, decimal comma"
    assert price_style("price", [])[0] == "units"


def test_currency() -> None:
    assert currency_of(["$12.99", "$3", None]) == "USD"
    assert currency_of(["12,99 EUR"]) == "EUR"
    assert currency_of([12.99, "13"]) is None
    assert currency_of(["$1", "1 €"]) is None


@given(st.integers(0, 10**9))
def test_any_way_of_writing_a_price(cents: int) -> None:
    units, rest = divmod(cents, 100)
    ways = [
        f"${units:,}.{rest:02}",
        f"{units}.{rest:02}",
        f"{units:,}".replace(",", ".") + f",{rest:02} €",
        f"{units:,}".replace(",", " ") + f",{rest:02}",
    ]
    numbers, faults = parse_prices(ways, "units")
    assert faults == []
    assert numbers.tolist() == [cents] * 4


@given(st.floats(0, 1e9, allow_nan=False))
def test_numbers_from_json_keep_their_value(value: float) -> None:
    numbers, bad = parse_numbers([value])
    assert not bad[0]
    assert numbers[0] == pytest.approx(value, rel=1e-12)
