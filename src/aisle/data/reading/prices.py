"""Prices as people write them, to cents: '$1,299.00', '1.299,00 €', 'EUR 12', '12,-', 4995 (cents).

All rows at once.  The unit (units or cents) and the decimal mark are decided once a column, by ``price_style``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from aisle.core.lists import Array

NULLS = ("", "null", "none", "nan", "n/a", "na", "-", "--", "nil", "undefined", "unknown", "\\n")
"""Texts (lower case) that mean "no value"."""
STYLES = ("units", "units, decimal comma", "cents")
MAX_CENTS = 10**13
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "₹": "INR", "¥": "JPY", "zł": "PLN"}
_CODES = "usd|eur|gbp|inr|jpy|chf|cad|aud|sek|nok|dkk|pln|czk|brl|cny|mxn|nzd"
# Digits with groups of two (as in India) or three, and decimals.
_NUMBER = r"^[+-]?(?:(?:\d+|\d{1,3}(?:[.,]\d{2,3})+)(?:[.,]\d*)?|[.,]\d+)$"
_MARKS = rf"us\$|[$€£¥₹]|zł|\bkr\.?|^(?:{_CODES})\s*|\s*(?:{_CODES})$"


def _clean(values: Sequence[Any]) -> pl.Series:
    """Trimmed lower-case text without currency, blanks and range ends; null where there is no value."""
    text = (
        pl.Series("price", [None if v is None else str(v) for v in values], dtype=pl.String)
        .str.strip_chars()
        .str.to_lowercase()
    )
    text = text.set(text.is_in(list(NULLS)), None)
    text = text.str.replace(r"^(?:from|ab|only|nur)\s+", "").str.replace(r"\s+(?:-|–|to|bis)\s+.*$", "")
    text = text.str.replace_all(_MARKS, "").str.replace_all(r"[\s\u00a0\u202f']", "")
    return text.str.replace(r"[.,][-–—]+$", "")


def price_style(name: str, values: Sequence[Any]) -> tuple[str, str]:
    """(style, why) of a price column, from its name and a sample of its values.

    ``cents`` when the name says so, or when all are whole numbers with a median of at least 1000.
    """
    if name.lower().endswith(("_cents", "_minor", "cents", "_ct", "_pence")):
        return "cents", "the name says cents"
    text = _clean(values).drop_nulls()
    if not len(text):
        return "units", "no value in the sample"
    comma = int(text.str.contains(r",\d{1,2}$").sum())
    point = int(text.str.contains(r"\.\d{1,2}$").sum())
    example = str(next(v for v in values if v is not None and str(v).strip()))[:20]
    whole = text.str.contains(r"^\d+$")
    median = text.filter(whole).cast(pl.Float64).median()
    if (
        bool(whole.all())
        and isinstance(median, float)
        and median >= 1000
        and not any(m in str(v) for v in values[:100] for m in _SYMBOLS)
    ):
        return "cents", f"whole numbers, median {median:.0f}; '{example}' means {float(text[0]) / 100:.2f}"
    if comma > point:
        return "units, decimal comma", f"decimal comma, as in '{example}'"
    return "units", f"as in '{example}'"


def currency_of(values: Sequence[Any]) -> str | None:
    """The ISO code that the prices carry, when they agree."""
    found = set()
    for value in values:
        if isinstance(value, str):
            upper = value.upper()
            found |= {code for mark, code in _SYMBOLS.items() if mark.upper() in upper}
            found |= {
                code.upper()
                for code in _CODES.split("|")
                if upper.startswith(code.upper()) or upper.endswith(code.upper())
            }
    return found.pop() if len(found) == 1 else None


def parse_numbers(values: Sequence[Any], *, comma: bool = False) -> tuple[Array, Array]:
    """(float64[N] with NaN for no value, bool[N] where the text is no number).  ``comma``: the decimal mark is a comma."""
    text = _clean(values)
    marked = text.str.contains(_NUMBER) | text.str.contains(r"^[+-]?\d+(?:\.\d+)?e[+-]?\d+$")
    decimal = r"^\d+,\d{3,}$" if comma else r"^[+-]?\d*\.\d{3,}$"
    has_decimals = text.str.contains(r"[.,]\d{1,2}$") | text.str.contains(decimal)
    whole = text.str.replace(r"[.,]\d+$", "").str.replace_all(r"[.,]", "")
    part = text.str.extract(r"[.,](\d+)$", 1)
    split = pl.select(
        pl.when(has_decimals)
        .then(pl.concat_str([whole, part], separator="."))
        .otherwise(text.str.replace_all(r"[.,]", ""))
    ).to_series()
    scientific = text.str.contains("e")
    number = split.zip_with((~scientific).fill_null(True), text).cast(pl.Float64, strict=False)
    present = text.is_not_null().to_numpy()
    good = marked.fill_null(False).to_numpy() & number.is_not_null().to_numpy()
    out = np.where(good, number.fill_null(np.nan).to_numpy(), np.nan)
    return out, present & ~good


def parse_prices(values: Sequence[Any], style: str) -> tuple[Array, list[tuple[int, str]]]:
    """(float64[N] whole cents with NaN for no price, [(row, reason)] of the rows whose price is none)."""
    number, bad = parse_numbers(values, comma=style == "units, decimal comma")
    cents = np.rint(number if style == "cents" else number * 100)
    faults = [(int(row), "not a price") for row in np.flatnonzero(bad)]
    faults += [(int(row), "negative price") for row in np.flatnonzero(cents < 0)]
    faults += [(int(row), "price too large") for row in np.flatnonzero(cents > MAX_CENTS)]
    for row, _ in faults:
        cents[row] = np.nan
    return cents, faults
