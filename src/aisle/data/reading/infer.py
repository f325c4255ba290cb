"""The mapping of a file, inferred from its column names and a sample of its rows."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import Any

from aisle.core.errors import DataError
from aisle.data.reading.batches import Batch
from aisle.data.reading.column_names import ATTRIBUTE_PARENTS, IGNORED, TARGETS, is_attribute, plain_name
from aisle.data.reading.mapping import Mapping, Rule
from aisle.data.reading.prices import NULLS, currency_of, parse_numbers, price_style

SAMPLE_ROWS = 2_000
LONG_TEXT = 300
_PAIRS = re.compile(r"^\s*[^:|;={}\[\]]{1,60}\s*[:=]\s*[^|;]+(?:[|;]\s*[^:|;=]{1,60}\s*[:=]\s*[^|;]+)*[|;]?\s*$")
_BOOLEAN = {"true", "false", "yes", "no"}


class _Sample:
    """Values of the sample by column, nulls left out."""

    def __init__(self, batch: Batch) -> None:
        head = batch.head(SAMPLE_ROWS)
        self.num_rows = len(head)
        self.values: dict[str, list[Any]] = {}
        for name, column in head.columns.items():
            self.values[name] = [
                v for v in column.values if v is not None and not (isinstance(v, str) and v.strip().lower() in NULLS)
            ]
        # Columns first seen after the sample still count by their name.
        for name in batch.columns:
            self.values.setdefault(name, [])
        self.plain = {name: plain_name(name) for name in self.values}

    def named(self, target: str) -> list[str]:
        """Columns whose name is one of the target's, most telling first; 'product_' and 'item_' in front do not count."""
        order = {name: place for place, name in enumerate(TARGETS[target])}
        found = []
        for column, plain in self.plain.items():
            bare = re.sub(r"^(?:product|item)s?[_.]", "", plain)
            place = order.get(plain, order.get(bare))
            if place is not None:
                found.append((place, plain != bare, column))
        return [column for _, _, column in sorted(found, key=lambda f: f[:2])]

    def numeric_share(self, column: str) -> float:
        values = self.values[column]
        if not values:
            return 1.0
        if any(isinstance(v, list) for v in values):
            return 0.0
        _, bad = parse_numbers(values)
        return 1 - float(bad.mean())


def infer(batch: Batch) -> Mapping:
    """The mapping of a file whose first batch this is.  Raises DataError when no column looks like an id or a title."""
    sample = _Sample(batch)
    fields: dict[str, Rule] = {}
    ignored: dict[str, str] = {}
    taken: set[str] = set()

    def take(target: str, columns: Sequence[str], how: str = "", why: str = "") -> None:
        fields[target] = Rule(columns=tuple(columns), how=how, why=why)
        taken.update(columns)

    for column, plain in sample.plain.items():
        if plain in IGNORED:
            ignored[column] = IGNORED[plain]
            taken.add(column)
    item_id, why = _id_column(sample, taken)
    if item_id:
        take("item_id", [item_id], why=why)
    for target in TARGETS:
        free = [c for c in sample.named(target) if c not in taken and not is_attribute(c)]
        if target == "item_id" or not free:
            continue
        chosen = _choice(sample, target, free)
        if chosen is not None:
            take(target, *chosen)
    for column, reason in _leftovers(sample, fields, taken):
        ignored[column] = reason
        taken.add(column)
    attributes = {c: Rule(columns=(c,), how=_attribute_kind(c, v)) for c, v in sample.values.items() if c not in taken}
    price = fields.get("price_cents")
    currency = currency_of(sample.values[price.columns[0]]) if price and "currency" not in fields else None
    return Mapping(
        fields={t: fields[t] for t in TARGETS if t in fields}, attributes=attributes, ignored=ignored, currency=currency
    )


def require(mapping: Mapping, columns: Sequence[str]) -> None:
    """Raises DataError when the mapping has no id or no title, naming the columns that the file has."""
    for target, example in (("item_id", "sku"), ("title", "product_name")):
        if target not in mapping.fields:
            there = ", ".join(list(columns)[:20])
            raise DataError(
                f"no column looks like the {target}; the file has: {there}; "
                f"name it with --map {target}=COLUMN, such as --map {target}={example}"
            )


def _id_column(sample: _Sample, taken: set[str]) -> tuple[str | None, str]:
    """The first id-like column that is filled and unique in the sample; else the first id-like one."""
    named = [
        c for c in sample.named("item_id") if c not in taken and not any(isinstance(v, list) for v in sample.values[c])
    ]
    for column in named:
        values = [str(v) for v in sample.values[column]]
        if len(values) >= 0.5 * sample.num_rows and len(set(values)) >= 0.9 * len(values):
            return column, "" if column == named[0] else f"{named[0]} is not unique"
    return (named[0], "") if named else (None, "")


def _choice(sample: _Sample, target: str, free: list[str]) -> tuple[list[str], str, str] | None:
    """(columns, how, why) of one catalogue column, or None when no named column fits by its values."""
    if target in ("price_cents", "list_price_cents"):
        how, why = price_style(free[0], sample.values[free[0]])
        return free[:1], how, why
    if target == "description":
        texts = [c for c in free if _attribute_kind(c, sample.values[c]) not in ("pairs", "object")]
        return (texts, "joined" if len(texts) > 1 else "", "") if texts else None
    if target == "category":
        return free[:1], *_category_how(sample.values[free[0]])
    if target == "rating":
        fit = next((c for c in free if _numbers_or_stars(sample, c)), None)
        return ([fit], *_rating_how(sample.values[fit])) if fit else None
    if target == "created_s":
        return _created(sample, free)
    if target == "rating_count":
        fit = next((c for c in free if sample.numeric_share(c) >= 0.5 or _starts_with_digits(sample.values[c])), None)
        return ([fit], "", "") if fit else None
    if target == "group_id":
        return free[:1], "", "variants of one product share it"
    return free[:1], "", ""


def _numbers_or_stars(sample: _Sample, column: str) -> bool:
    return sample.numeric_share(column) >= 0.5 or _starts_with_digits(sample.values[column])


def _starts_with_digits(values: Sequence[Any]) -> bool:
    texts = [v for v in values if isinstance(v, str)]
    return bool(texts) and sum(bool(re.match(r"\s*\d", t)) for t in texts) >= 0.5 * len(texts)


def _rating_how(values: Sequence[Any]) -> tuple[str, str]:
    numbers, _ = parse_numbers([v for v in values if not isinstance(v, (list, dict))])
    # A single mistyped rating must not change the scale of all others.
    known = sorted(float(n) for n in numbers if n == n) or [5.0]
    high = known[int(0.9 * (len(known) - 1))]
    if high <= 5:
        return "of 5", ""
    scale = 10 if high <= 10 else 100
    return f"of {scale}", f"many in the sample are above 5, such as {high:g}"


def _category_how(values: Sequence[Any]) -> tuple[str, str]:
    lists = [v for v in values if isinstance(v, list)]
    if lists:
        parts = [str(p) for v in lists for p in v if not isinstance(p, list)]
        if any(isinstance(p, list) for v in lists for p in v):
            return "paths", "a list of paths"
        if parts and sum(">" in p for p in parts) > 0.2 * len(parts):
            return "paths", "each element is a path"
        return "path", "each list is one path"
    texts = [str(v) for v in values]
    if texts and sum(t.lstrip().startswith("[") for t in texts) > 0.5 * len(texts):
        return "path", "each list is one path"
    for mark, least in ((">", 0.2), ("|", 0.2), (" / ", 0.2), ("/", 0.6), (";", 0.6)):
        share = sum(mark in t for t in texts) / max(len(texts), 1)
        if share >= least:
            return mark, f"{share:.0%} of the sample hold {mark.strip()!r}"
    return "text", "one level"


def _created(sample: _Sample, free: list[str]) -> tuple[list[str], str, str] | None:
    from aisle.data.reading.convert import parse_times

    for column in free:
        values = sample.values[column]
        if not values:
            return [column], "date", ""
        numbers = [
            v
            for v in values
            if isinstance(v, (int, float)) or (isinstance(v, str) and v.strip().isdigit() and len(v.strip()) >= 9)
        ]
        if len(numbers) > 0.5 * len(values):
            median = statistics.median(float(v) for v in numbers)
            return [column], "milliseconds" if median > 1e11 else "seconds", ""
        bad = {how: int(parse_times(values, how)[1].sum()) for how in ("date", "day first", "month first")}
        how = min(bad, key=lambda h: bad[h])
        if bad[how] <= 0.5 * len(values):
            return [column], how, ""
    return None


def _attribute_kind(column: str, values: Sequence[Any]) -> str:
    """How the values of an attribute column are read; ``auto`` where they have JSON types of their own."""
    texts = [v for v in values if isinstance(v, str)]
    if not texts or len(texts) < len(values):
        return (
            "object" if values and all(isinstance(v, list) and v and isinstance(v[0], dict) for v in values) else "auto"
        )
    if plain_name(column).removeprefix("product_") in ATTRIBUTE_PARENTS:
        if sum(t.lstrip()[:1] in "{[" for t in texts) > 0.8 * len(texts):
            return "object"
        if sum(_PAIRS.match(t) is not None for t in texts) > 0.8 * len(texts):
            return "pairs"
    if all(t.strip().lower() in _BOOLEAN for t in texts):
        return "boolean"
    # Leading zeros and long digits are codes (EAN, model numbers), not amounts.
    if all(re.fullmatch(r"-?(?:0|[1-9]\d{0,10})(?:\.\d+)?", t.strip()) for t in texts):
        return "number"
    return "text"


def _leftovers(sample: _Sample, fields: dict[str, Rule], taken: set[str]) -> list[tuple[str, str]]:
    """(column, reason) of what is no attribute: the id again, addresses, long texts."""
    out = []
    id_rule = fields.get("item_id")
    ids = [str(v) for v in sample.values[id_rule.columns[0]]] if id_rule else []
    for column, values in sample.values.items():
        if column in taken or not values:
            continue
        texts = [v for v in values[:200] if isinstance(v, str)]
        if ids and len(values) == len(ids) and [str(v) for v in values] == ids:
            out.append((column, f"the same values as {id_rule.columns[0] if id_rule else ''}"))
        elif texts and sum(t.startswith(("http://", "https://", "//")) for t in texts) > 0.8 * len(texts):
            out.append((column, "web addresses"))
        elif (
            texts
            and not is_attribute(column)
            and statistics.median(map(len, texts)) > LONG_TEXT
            and _attribute_kind(column, values) == "text"
        ):
            out.append((column, "long text; --map description=... makes it searchable"))
    return out
