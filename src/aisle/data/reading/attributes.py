"""Typed attributes from raw columns: a text, or a number with its unit ('10 kg', '15.6"', 5000).

All columns of a batch at once, so that a sparse file with thousands of attribute columns stays quick.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from aisle.data.reading.batches import Batch, flat
from aisle.data.reading.column_names import attribute_name
from aisle.data.reading.mapping import Mapping
from aisle.data.schema import ATTRIBUTE
from aisle.data.units import WRITTEN

_QUANTITY = r"^\s*([+-]?\d+(?:[.,]\d{1,3})?)\s*([^\d\s.,+\-][^\d]{0,9}|m2)\s*$"
_BLANK = frozenset({"", "null", "NULL", "NaN", "nan", "None", "N/A", "n/a", "\\N"})
MAX_TEXT = 1_000
"""Characters of one attribute; a longer one is text for the description and is cut here."""


class _Values:
    """Attribute values as they come, flat: row, code of the name, value."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.rows: list[int] = []
        self.codes: list[int] = []
        self.values: list[Any] = []

    def extend(self, name: str, rows: Sequence[int], values: Sequence[Any]) -> None:
        code = self.names.setdefault(name, len(self.names))
        self.rows.extend(rows)
        self.codes.extend([code] * len(values))
        self.values.extend(values)


def attribute_lists(batch: Batch, mapping: Mapping) -> pa.Array:
    """list<struct<name, text, number, unit>>[N]: every column that is neither a field nor ignored, in column order."""
    texts, numbers = _Values(), _Values()
    texts.names = numbers.names
    used = mapping.used()
    for column, (rows, values) in batch.columns.items():
        if column in used or mapping.is_ignored(column):
            continue
        rule = mapping.attributes.get(column)
        rows = range(len(batch)) if rows is None else rows
        _gather(attribute_name(column), rule.how if rule else "auto", rows, values, texts, numbers)
    return _lists(len(batch), texts, numbers)


def _gather(name: str, how: str, rows: Sequence[int], values: Sequence[Any], texts: _Values, numbers: _Values) -> None:
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if how == "pairs" or how == "object":
        for row, value in zip(rows, values, strict=True):
            for key, leaf in _packed(value, how):
                _gather(attribute_name(key), "auto", [row], [leaf], texts, numbers)
    elif kinds <= {int, float} and type(None) not in map(type, values):
        numbers.extend(name, rows, values)
    elif kinds == {str}:
        kept = [(r, v) for r, v in zip(rows, values, strict=True) if v is not None and v not in _BLANK]
        if how == "number":
            parsed = [(r, v, _number(v)) for r, v in kept]
            numbers.extend(name, [r for r, _, n in parsed if n is not None], [n for _, _, n in parsed if n is not None])
            kept = [(r, v) for r, v, n in parsed if n is None]
        elif how == "boolean":
            kept = [(r, {"true": "yes", "false": "no"}.get(v.strip().lower(), v)) for r, v in kept]
        texts.extend(name, [r for r, _ in kept], [v for _, v in kept])
    else:
        _mixed(name, rows, values, texts, numbers)


def _mixed(name: str, rows: Sequence[int], values: Sequence[Any], texts: _Values, numbers: _Values) -> None:
    """Values of several types, booleans and lists: each by its own type."""
    for row, value in zip(rows, values, strict=True):
        for leaf in value if isinstance(value, list) else (value,):
            if isinstance(leaf, bool):
                texts.extend(name, (row,), ("yes" if leaf else "no",))
            elif isinstance(leaf, (int, float)):
                numbers.extend(name, (row,), (leaf,))
            elif isinstance(leaf, dict):
                for key, part in _packed(leaf, "object"):
                    _gather(
                        name if key in ("name", "value") else attribute_name(key), "auto", [row], [part], texts, numbers
                    )
            elif leaf is not None and str(leaf) not in _BLANK:
                texts.extend(name, (row,), (leaf if isinstance(leaf, str) else json.dumps(leaf, ensure_ascii=False),))


def _packed(value: Any, how: str) -> list[tuple[str, Any]]:
    """(name, value) of attributes packed into one value: 'a: x | b: y', a JSON object, or [{name, value}]."""
    if how == "pairs" and isinstance(value, str):
        pairs = (re.split(r"\s*[:=]\s*", part.strip(), maxsplit=1) for part in re.split(r"[|;]", value))
        return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0] and pair[1]]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    if isinstance(value, list):
        return [pair for part in value for pair in _packed(part, how)]
    if not isinstance(value, dict):
        return []
    name = next((value[k] for k in ("name", "key", "attribute", "label") if isinstance(value.get(k), str)), None)
    if name is not None and "value" in value:
        return [(name, value["value"])] if value["value"] is not None else []
    return list(flat(value))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _lists(num_rows: int, texts: _Values, numbers: _Values) -> pa.Array:
    text = pl.Series("text", texts.values, dtype=pl.String).str.strip_chars().str.slice(0, MAX_TEXT)
    parts = (
        text.str.extract_groups(_QUANTITY).struct.unnest()
        if len(text)
        else pl.DataFrame({"1": [], "2": []}, schema={"1": pl.String, "2": pl.String})
    )
    unit = parts["2"].str.strip_chars().str.to_lowercase().replace_strict(WRITTEN, default=None, return_dtype=pl.String)
    amount = parts["1"].str.replace(",", ".").cast(pl.Float64, strict=False)
    amount = amount.zip_with(unit.is_not_null(), pl.Series([None], dtype=pl.Float64))
    text = text.zip_with(unit.is_null(), pl.Series([None], dtype=pl.String))
    values = np.array([float(n) if abs(n) < 1e300 else np.nan for n in numbers.values], np.float64)
    extra = pl.DataFrame(
        {
            "text": pl.Series([None] * len(values), dtype=pl.String),
            "number": values,
            "unit": pl.Series([None] * len(values), dtype=pl.String),
        }
    )
    both = pl.concat([pl.DataFrame({"text": text, "number": amount, "unit": unit}), extra.filter(pl.lit(True))])
    rows = np.array([*texts.rows, *numbers.rows], np.int64)
    codes = np.array([*texts.codes, *numbers.codes], np.int64)
    order = np.lexsort((codes, rows))
    if len(values):
        finite = np.concatenate([np.ones(len(texts.rows), bool), np.isfinite(values)])
        order = order[finite[order]]
    splits = np.zeros(num_rows + 1, np.int32)
    np.cumsum(np.bincount(rows[order], minlength=num_rows), out=splits[1:])
    table = both[order].to_arrow()
    # The union of the codes: names as text only once they are in order.
    names = pa.array(list(texts.names), pa.string()).take(pa.array(codes[order]))
    fields = [
        names,
        *(
            table[n].combine_chunks().cast(t)
            for n, t in (("text", pa.string()), ("number", pa.float64()), ("unit", pa.string()))
        ),
    ]
    return pa.ListArray.from_arrays(pa.array(splits), pa.StructArray.from_arrays(fields, fields=list(ATTRIBUTE)))
