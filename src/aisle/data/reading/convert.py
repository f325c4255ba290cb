"""A batch of raw columns to a table of the catalogue's schema, by a mapping; all rows of a column at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from aisle.core.lists import Array
from aisle.data.reading.attributes import attribute_lists
from aisle.data.reading.batches import Batch, Reject
from aisle.data.reading.mapping import Mapping, Rule
from aisle.data.reading.prices import NULLS, parse_numbers, parse_prices
from aisle.data.schema import CATALOGUE, CATEGORY_SEPARATOR, complete

Faults = list[tuple[int, str]]
MAX_ID = 1_000

_BLANK = frozenset({"", "null", "NULL", "NaN", "nan", "None", "N/A", "n/a", "\\N"})
_YES = {"true", "yes", "1", "y", "t", "in stock", "instock", "available", "in_stock", "active", "enabled"}
_NO = {
    "false",
    "no",
    "0",
    "n",
    "f",
    "out of stock",
    "outofstock",
    "unavailable",
    "out_of_stock",
    "sold out",
    "inactive",
    "disabled",
}
_TAG = re.compile(r"<[^<>]{1,200}>")
_FORMATS = {
    "day first": ("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M"),
    "month first": ("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%Y %H:%M", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y"),
    "date": ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y-%m"),
}


def convert(batch: Batch, mapping: Mapping, reject: Reject, fresh: Callable[[Sequence[str]], Array]) -> pa.Table:
    """The good rows of a batch as a CATALOGUE table; bad rows go to ``reject``, one reason each.

    ``fresh(ids)`` says (bool[N]) which ids were not seen before; it is asked only for rows that are good otherwise.
    """
    size = len(batch)
    columns: dict[str, pa.Array] = {}
    bad: dict[int, tuple[str, str]] = {}
    for target, rule in mapping.fields.items():
        parts = [batch.columns[c].dense(size) if c in batch.columns else [None] * size for c in rule.columns]
        values, faults = _CONVERTERS.get(target, _text)(parts, rule)
        columns[target] = values
        for row, reason in faults:
            bad.setdefault(row, (target, reason))
    if "currency" not in columns and mapping.currency:
        columns["currency"] = pa.array([mapping.currency] * size, pa.string())
    columns["attributes"] = attribute_lists(batch, mapping)
    columns["group_id"] = (
        columns["group_id"].fill_null(columns["item_id"]) if "group_id" in columns else columns["item_id"]
    )
    ids = columns["item_id"].to_pylist()
    good = np.array([row for row in range(size) if row not in bad], np.int64)
    new = fresh([ids[row] for row in good])
    for row in good[~new]:
        bad[int(row)] = ("item_id", "duplicate id, the first one stays")
    raw = {c: batch.columns[c].dense(size) for c in mapping.used() if bad and c in batch.columns}
    for row, (target, reason) in sorted(bad.items()):
        column = mapping.fields[target].columns[0]
        value = raw[column][row] if column in raw else None
        reject(batch.positions[row], column, "" if value is None else value, reason)
    table = complete(pa.table(columns), CATALOGUE)
    return table.take(pa.array(good[new]))


def plain_text(value: Any) -> str | None:
    """A value as text: lists joined, booleans yes or no, whole floats without '.0'; None for no value."""
    if value is None or type(value) is str:
        return None if value in _BLANK else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() and abs(value) < 1e15 else str(value)
    if isinstance(value, list):
        return "\n".join(t for v in value if (t := plain_text(v)))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _text(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    """The first part that has a value."""
    texts = pa.array([plain_text(v) for v in parts[0]], pa.string())
    for more in parts[1:]:
        texts = texts.fill_null(pa.array([plain_text(v) for v in more], pa.string()))
    return texts, []


def _title(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    titles = [
        " ".join(t for p in row if (t := "" if p is None else p if isinstance(p, str) else plain_text(p) or ""))
        for row in zip(*parts, strict=True)
    ]
    return pa.array([" ".join(t.split()) for t in titles], pa.string()), []


def _ids(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    faults: Faults = []
    ids = []
    for row, value in enumerate(parts[0]):
        text = (plain_text(value) or "").strip() if not isinstance(value, (list, dict)) else ""
        if text in _BLANK:
            faults.append((row, "missing id"))
        elif len(text) > MAX_ID:
            faults.append((row, f"id longer than {MAX_ID} characters"))
        ids.append(text)
    return pa.array(ids, pa.string()), faults


def _description(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    texts = [[plain_text(v) if v else None for v in part] for part in parts]
    for text in texts:
        if any(t is not None and "</" in t for t in text[:200]):
            text[:] = [_TAG.sub(" ", t) if t else t for t in text]
    if len(texts) == 1:
        return pa.array(texts[0], pa.string()), []
    return pa.array(["\n".join(t for t in row if t) or None for row in zip(*texts, strict=True)], pa.string()), []


def _prices(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    cents, faults = parse_prices(parts[0], rule.how or "units")
    return _int64(cents), faults


def _rating(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    numbers, bad = parse_numbers(_leading(parts[0]))
    numbers = numbers * 5 / float(rule.how.removeprefix("of ") or 5)
    wrong = (numbers < 0) | (numbers > 5.0001)
    faults = [(int(r), "not a number") for r in np.flatnonzero(bad)] + [
        (int(r), f"rating outside 0 to {rule.how[3:]}") for r in np.flatnonzero(wrong)
    ]
    return pa.array(numbers.astype(np.float32), mask=np.isnan(numbers)), faults


def _count(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    numbers, bad = parse_numbers(_leading(parts[0]))
    faults = [(int(r), "not a count") for r in np.flatnonzero(bad)] + [
        (int(r), "negative count") for r in np.flatnonzero(numbers < 0)
    ]
    return _int64(np.floor(numbers)), faults


def _leading(values: Sequence[Any]) -> list[Any]:
    """'4.5 out of 5 stars', '1,234 ratings' -> the number in front."""
    return [
        m.group() if isinstance(v, str) and (m := re.match(r"\s*[\d.,]+(?=\s+[A-Za-z(])", v)) else v for v in values
    ]


def _stock(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    """Pieces; 'out of stock' is 0, and 'in stock' without a number is null (the shop does not count)."""
    plain = [
        {True: None, False: 0}.get(said, v) if (said := _said(v)) is not None and not _digits(v) else v
        for v in parts[0]
    ]
    numbers, bad = parse_numbers(_leading(plain))
    return _int64(np.floor(np.maximum(numbers, 0))), [(int(r), "not a stock") for r in np.flatnonzero(bad)]


def _digits(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).strip().isdigit()


def _said(value: Any) -> bool | None:
    text = str(value).strip().lower().rsplit("/", 1)[-1]
    return True if text in _YES else False if text in _NO else None


def _active(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    said = [True if v is None or str(v).strip() == "" else _said(v) for v in parts[0]]
    return pa.array([True if s is None else s for s in said], pa.bool_()), [
        (r, "neither yes nor no") for r, s in enumerate(said) if s is None
    ]


def _created(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    seconds, bad = parse_times(parts[0], rule.how or "date")
    return pa.array(seconds, mask=np.isnan(seconds)), [(int(r), "not a date") for r in np.flatnonzero(bad)]


def parse_times(values: Sequence[Any], how: str) -> tuple[Array, Array]:
    """(float64[N] unix seconds with NaN for no value, bool[N] where the text is no time).  Times without a zone are UTC."""
    if how in ("seconds", "milliseconds") or all(v is None or type(v) in (int, float) for v in values):
        numbers, bad = parse_numbers([repr(v) if isinstance(v, float) and v == v else v for v in values])
        return numbers / (1000 if how == "milliseconds" else 1), bad
    text = pl.Series("time", [None if v is None else str(v) for v in values], dtype=pl.String).str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(list(NULLS)), None)
    bare = (
        text.str.replace(r"(\d)[Tt](\d)", "${1} ${2}").str.replace(r"\s*[zZ]$", "").str.replace(r"\s*[+-]00:?00$", "")
    )
    found = pl.Series("time", [None] * len(text), dtype=pl.Datetime("us"))
    for form in (*_FORMATS["date"], *_FORMATS.get(how if how != "date" else "month first", ())):
        kind: Any = pl.Datetime("us") if "%H" in form else pl.Date
        missing = found.is_null() & bare.is_not_null()
        if not missing.any():
            break
        parsed = bare.str.strptime(kind, form, strict=False, exact=True).cast(pl.Datetime("us"))
        found = found.zip_with(~missing, parsed)
    zoned = (
        text.str.strptime(pl.Datetime("us", "UTC"), "%Y-%m-%dT%H:%M:%S%.f%z", strict=False)
        if text.str.contains(r"[+-]\d\d:?\d\d$").any()
        else None
    )
    if zoned is not None:
        found = found.zip_with(found.is_not_null(), zoned.dt.replace_time_zone(None))
    seconds = found.dt.timestamp("us").cast(pl.Float64) / 1e6
    bad = (text.is_not_null() & found.is_null()).to_numpy()
    return seconds.fill_null(np.nan).to_numpy(), bad


def _int64(numbers: Array) -> pa.Array:
    missing = np.isnan(numbers)
    return pa.array(np.where(missing, 0, numbers).astype(np.int64), mask=missing)


def _category(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    seen: dict[str, list[str] | None] = {}
    out: list[list[str] | None] = []
    for value in parts[0]:
        if isinstance(value, str):
            if value not in seen:
                seen[value] = _paths(value, rule.how)
            out.append(seen[value])
        else:
            out.append(_paths(value, rule.how))
    return pa.array(out, pa.list_(pa.string())), []


def _paths(value: Any, how: str) -> list[str] | None:
    """Category paths of one value; None when there is none."""
    if isinstance(value, str):
        if value in _BLANK:
            return None
        if value.lstrip().startswith("[") and (listed := listed_text(value)) is not None:
            value = listed
        elif how in ("path", "paths", "text"):
            value = [value]
        else:
            value = re.split(r"\s*>+\s*", value) if how == ">" else value.split(how)
    if not isinstance(value, list):
        value = [value]
    if any(isinstance(v, list) for v in value):
        paths = [p for v in value for p in _paths(v, "path") or []]
    elif how == "paths":
        paths = [
            CATEGORY_SEPARATOR.join(s for p in re.split(r"\s*>+\s*", plain_text(v) or "") if (s := p.strip()))
            for v in value
        ]
    else:
        # A '>' inside a name would read as a level.
        paths = [
            CATEGORY_SEPARATOR.join(
                s for v in value if (s := " ".join((plain_text(v) or "").replace(">", " ").split()))
            )
        ]
    return [p for p in dict.fromkeys(paths) if p] or None


def listed_text(text: str) -> list[Any] | None:
    """A list written as text, in JSON or Python spelling; None when it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        import ast

        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, list) else None


def _images(parts: list[list[Any]], rule: Rule) -> tuple[pa.Array, Faults]:
    out = [[a for v in row for a in _addresses(v)] for row in zip(*parts, strict=True)]
    return pa.array([list(dict.fromkeys(a)) or None for a in out], pa.list_(pa.string())), []


def _addresses(value: Any) -> list[str]:
    if isinstance(value, str):
        if value in _BLANK:
            return []
        if value.startswith("["):
            return _addresses(listed_text(value) or [])
        return [a for a in re.split(r"[|;\s]+|,(?=\s*(?:https?:)?//)", value) if a]
    if isinstance(value, dict):
        return next(
            ([str(value[k])] for k in ("hi_res", "large", "url", "src", "link", "href", "medium") if value.get(k)), []
        )
    return [a for v in value for a in _addresses(v)] if isinstance(value, list) else []


_CONVERTERS: dict[str, Callable[[list[list[Any]], Rule], tuple[pa.Array, Faults]]] = {
    "item_id": _ids, "title": _title, "description": _description, "category": _category, "price_cents": _prices,
    "list_price_cents": _prices, "rating": _rating, "rating_count": _count, "images": _images, "created_s": _created,
    "stock": _stock, "active": _active,
}  # fmt: skip
