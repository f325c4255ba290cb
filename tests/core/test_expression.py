from __future__ import annotations

import numpy as np
import pytest

from aisle.core import expression
from aisle.core.errors import SettingError, UnknownName
from aisle.core.lists import ItemLists

CTR, PRICE = np.array([0.1, 0.2, np.nan], np.float32), np.array([400, 900, 100])
LISTS = ItemLists(np.arange(3, dtype=np.int32), np.array([0, 3]), {"ctr": CTR, "price_cents": PRICE})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ctr", [0.1, 0.2, np.nan]),
        ("ctr * price_cents ** 0.5", [2, 6, np.nan]),
        ("-price_cents + 2 * (price_cents - 100) / 4", [-250, -500, -100]),
        ("nan_to(ctr, 0.05)", [0.1, 0.2, 0.05]),
        ("minimum(price_cents, 500) - maximum(price_cents, 500)", [-100, -400, -400]),
        ("log1p(exp(0) - 1) + sqrt(abs(-4))", [2, 2, 2]),
        ("7", [7, 7, 7]),
    ],
)
def test_evaluates(text, expected):
    value = expression.evaluate(text, LISTS, 3)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, np.array(expected, np.float32), rtol=1e-6)


def test_columns_are_found():
    assert expression.columns_of("log1p(ctr) * price_cents + ctr") == {"ctr", "price_cents"}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "ctr.__class__",
        "'text'",
        "b'text'",
        "True",
        "[c for c in ctr]",
        "{c: 1 for c in ctr}",
        "(lambda: 1)()",
        "ctr[0]",
        "ctr if ctr else 1",
        "ctr := 3",
        "(ctr := 3)",
        "ctr = 3",
        "ctr; price_cents",
        "ctr == 1",
        "f'{ctr}'",
        "log(x=ctr)",
        "log(*ctr)",
        "1j",
        "",
        "ctr *",
        "ctr\x00",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(SettingError):
        expression.parse(text)


@pytest.mark.parametrize("text", ["log(ctr, price_cents)", "where(ctr)", "minimum(ctr)", "nan_to(ctr)", "exp()"])
def test_a_function_takes_its_own_number_of_arguments(text):
    with pytest.raises(SettingError, match="takes"):
        expression.parse(text)


@pytest.mark.parametrize("text", ["-" * 5000 + "1", "(" * 300 + "1" + ")" * 300, "1" * 400, "1e39", "-1e39"])
def test_monsters_are_refused(text):
    with pytest.raises(SettingError):
        expression.parse(text)


def test_division_by_zero_is_a_value_and_no_warning():
    columns = {"none": np.zeros(1), "one": np.ones(1)}
    assert expression.evaluate("log(none)", columns, 1).tolist() == [-np.inf]
    assert expression.evaluate("one / none", columns, 1).tolist() == [np.inf]
    assert np.isnan(expression.evaluate("none / none", columns, 1)).all()


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'price_cents'"):
        expression.evaluate("price_cent * 2", LISTS, 3)


def test_columns_are_not_changed():
    before = CTR.copy()
    expression.evaluate("ctr + 1", LISTS, 3)[:0]
    np.testing.assert_array_equal(CTR, before)
