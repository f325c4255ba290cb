"""Filters to bitmaps over catalogue rows.

Legend: I items, M distinct filters, Q requests, G groups (products).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.columns import CATALOGUE
from aisle.core.errors import SettingError, nearest
from aisle.core.filters import And, Contains, Exists, Filter, In, Not, Range, quantity
from aisle.core.lists import Array, Ragged
from aisle.core.requests import RowMasks
from aisle.core.shop import Items
from aisle.data.units import converted, stored_unit
from aisle.engine.embedded import facets_kernels as kernels
from aisle.engine.embedded.compiled import frozen

T = TypeVar("T")
_NUMERIC = {c.name for c in CATALOGUE if c.dtype.startswith(("int", "float"))}
_FLOAT32 = {c.name for c in CATALOGUE if c.dtype == "float32"}
_TEXT = {c.name for c in CATALOGUE if c.dtype in ("string", "list<string>")}
REMEMBERED = 64
"""Bitmaps kept of filters seen lately."""
_TRUE, _FALSE = {"true", "yes", "1"}, {"false", "no", "0"}


class Groups:
    """Which rows are variants of one product.

    number    int32[I] product of each row
    alone     bool[I] products of one row
    variants  int32 rows of all others, product by product
    """

    def __init__(self, number: Array) -> None:
        self.number = frozen(number.astype(np.int32))
        size_G = np.bincount(number) if len(number) else np.zeros(0, np.int64)
        self.alone = size_G[number] == 1
        several = frozen(np.flatnonzero(~self.alone).astype(np.int32))
        self.variants = frozen(kernels.by_group(several, self.number, len(size_G)))


class Fields:
    """Columns of one catalogue as filters and facets read them, each made once, and again only when it changed."""

    def __init__(self, items: Items, made: dict[tuple[str, str], tuple[object, Any]] | None = None) -> None:
        self.items = items
        self._made = {} if made is None else made
        self._bitmaps: dict[Filter | None, Array] = {}

    def followed(self, items: Items) -> Fields:
        """The same over a catalogue that changed; what was made of a column that did not is kept."""
        return Fields(items, dict(self._made))

    def _of(self, what: str, field: str, source: object, make: Callable[[], T]) -> T:
        """What was made of a column, as long as the column is the very same object."""
        known = self._made.get((what, field))
        if known is None or known[0] is not source:
            known = self._made[what, field] = (source, make())
        made: T = known[1]
        return made

    @property
    def groups(self) -> Groups:
        number = self.items.group()
        return self._of("groups", "", number, lambda: Groups(number))

    def bitmap(self, filter: Filter | None) -> Array:
        """bool[I]: live rows for which the filter holds; remembered, so never to be written to."""
        mask = self._bitmaps.get(filter)
        if mask is None:
            live = self.items.live
            mask = live if filter is None else live & evaluate(filter, self)
            if len(self._bitmaps) >= REMEMBERED:
                self._bitmaps.clear()
            self._bitmaps[filter] = mask
        return mask

    def is_numeric(self, field: str) -> bool:
        """Whether the field holds numbers.  Raises SettingError for a field that no item has."""
        if field in _NUMERIC:
            return True
        if field in _TEXT:
            return False
        # Decided once: a few changed items do not make a number of a text.
        return self._of("numeric", field, None, lambda: self._looks_numeric(field))

    def _looks_numeric(self, field: str) -> bool:
        self.check(field)
        numbers = int((~np.isnan(self.number(field))).sum())
        return numbers > 0 and 2 * numbers >= self._num_filled(field)

    def check(self, field: str) -> None:
        """Raises SettingError naming the nearest field when no item has this one."""
        if field in _NUMERIC or field in _TEXT or field == "active":
            return
        if not self._num_filled(field) and not np.any(~np.isnan(self.number(field))):
            raise SettingError(f"no item has a field {field!r}{nearest(field, self._names())}")

    def number(self, field: str) -> Array:
        """float64[I], NaN where missing."""
        return self.items.number(field)

    def codes(self, field: str) -> tuple[Ragged, list[str]]:
        """int32 codes of every row, and their labels."""
        return self.items.codes(field)

    def single(self, field: str) -> Array | None:
        """int32[I]: each row's one code, -1 for none; None for a field of which some row has several."""
        codes = self.codes(field)[0]
        return self._of("single", field, codes, lambda: _single(codes))

    def owner(self, field: str) -> Array:
        """int64[N]: the row of each code."""
        codes = self.codes(field)[0]
        return self._of("owner", field, codes, lambda: codes.owner)

    def codes_of(self, field: str, values: Iterable[object]) -> list[int]:
        """Codes whose label is one of the values, in any case."""
        labels = self.codes(field)[1]
        table = self._of("labels", field, labels, lambda: _by_label(field, labels))
        return [code for value in values for code in table.get(folded(field, value), ())]

    def ranks(self, field: str) -> Array:
        """float64[I] that orders as a text field does: by its first label, in any case; NaN where missing."""
        codes, labels = self.codes(field)
        return self._of("ranks", field, codes, lambda: _ranks(codes, labels))

    def _num_filled(self, field: str) -> int:
        return int((np.diff(self.codes(field)[0].splits) > 0).sum())

    def _names(self) -> list[str]:
        attributes = getattr(self.items, "attribute_names", None)
        return sorted({*_NUMERIC, *_TEXT, "active", *self.items.facet_fields(), *(attributes() if attributes else ())})


def _single(codes: Ragged) -> Array | None:
    count = np.diff(codes.splits)
    if count.max(initial=0) > 1:
        return None
    out = np.full(len(codes), -1, np.int32)
    out[count == 1] = codes.values
    return frozen(out)


def _ranks(codes: Ragged, labels: Sequence[str]) -> Array:
    rank_V = np.empty(len(labels))
    rank_V[sorted(range(len(labels)), key=lambda code: labels[code].casefold())] = np.arange(len(labels))
    out = np.full(len(codes), np.nan)
    some = np.diff(codes.splits) > 0
    out[some] = rank_V[codes.values[codes.splits[:-1][some]]]
    return out


def _by_label(field: str, labels: Sequence[str]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for code, label in enumerate(labels):
        table.setdefault(folded(field, label), []).append(code)
    return table


def folded(field: str, value: object) -> str:
    """A label as it is compared: any case, blanks around ``>`` of a category path do not matter."""
    text = str(value).strip().casefold()
    return ">".join(part.strip() for part in text.split(">")) if field == "category" else text


def compile_filters(filters: Sequence[Filter | None], fields: Fields) -> RowMasks:
    """bool[M, I] bitmaps of the distinct filters, live rows only, and which one each request has."""
    distinct: dict[Filter | None, int] = {}
    which_Q = np.array([distinct.setdefault(f, len(distinct)) for f in filters], np.int64)
    if not distinct:
        return RowMasks(np.zeros((0, fields.items.num_rows), bool), which_Q)
    bitmaps = [fields.bitmap(f) for f in distinct]
    return RowMasks(frozen(bitmaps[0])[None] if len(bitmaps) == 1 else np.stack(bitmaps), which_Q)


def evaluate(filter: Filter, fields: Fields) -> Array:
    """bool[I]: rows for which the filter holds, tombstones included.

    Raises SettingError for an unknown field, a range of a text field, or a value that is no number in a numeric field.
    """
    if isinstance(filter, In):
        return _has(filter, fields)
    if isinstance(filter, Range):
        return _between(filter, fields)
    if isinstance(filter, Contains):
        return _contains(filter, fields)
    if isinstance(filter, Exists):
        return filled(filter.field, fields)
    if isinstance(filter, Not):
        return ~evaluate(filter.part, fields)
    parts = [evaluate(part, fields) for part in filter.parts]
    if not parts:
        return np.full(fields.items.num_rows, isinstance(filter, And))
    joined: Array = np.logical_and.reduce(parts) if isinstance(filter, And) else np.logical_or.reduce(parts)
    return joined


def filled(field: str, fields: Fields) -> Array:
    """bool[I]: rows where the field has a value."""
    if field == "active":
        return np.ones(fields.items.num_rows, bool)
    if fields.is_numeric(field):
        return ~np.isnan(fields.number(field))
    return np.diff(fields.codes(field)[0].splits) > 0


def _has(filter: In, fields: Fields) -> Array:
    name = filter.field
    if name == "active":
        return np.isin(fields.number("active"), [_truth(v) for v in filter.values])
    if fields.is_numeric(name):
        return np.isin(fields.number(name), [stored(name, _as_number(name, v, fields)) for v in filter.values])
    return _with_codes(name, fields.codes_of(name, filter.values), fields)


def _contains(filter: Contains, fields: Fields) -> Array:
    if filter.field == "active" or fields.is_numeric(filter.field):
        raise SettingError(f"{filter.field!r} holds numbers and is filtered by a text; give a number or a range")
    labels = pa.array(fields.codes(filter.field)[1], pa.string())
    there = pc.match_substring(pc.utf8_lower(labels), filter.text.lower())
    return _with_codes(filter.field, np.flatnonzero(there.to_numpy(zero_copy_only=False)), fields)


def _with_codes(field: str, wanted: Array | Sequence[int], fields: Fields) -> Array:
    """bool[I]: rows with one of these codes."""
    codes, labels = fields.codes(field)
    wanted_V = np.zeros(len(labels), bool)
    wanted_V[wanted] = True
    out = np.zeros(len(codes), bool)
    out[fields.owner(field)[wanted_V[codes.values]]] = True
    return out


def _between(filter: Range, fields: Fields) -> Array:
    name = filter.field
    if name == "active" or not fields.is_numeric(name):
        raise SettingError(f"{name!r} holds text and is filtered by a range; give values, such as ['...']")
    column = fields.number(name)
    out = ~np.isnan(column)
    if filter.low is not None:
        out &= column >= stored(name, in_field_unit(name, filter.low, filter.unit, fields))
    if filter.high is not None:
        out &= column <= stored(name, in_field_unit(name, filter.high, filter.unit, fields))
    return out


def in_field_unit(field: str, value: float, unit: str, fields: Fields) -> float:
    """The value in the unit of the field.  Raises SettingError when the two do not measure the same."""
    own, named = fields.items.unit(field), stored_unit(unit)
    there = converted(np.array([value], float), named, own)
    if there is None or (unit and not own):
        raise SettingError(
            f"{field!r} is given in {own or 'no unit'!r} and filtered in {unit!r}, which does not compare; "
            f"leave the unit out{f' or give one such as {own}' if own else ''}"
        )
    return float(there[0])


def stored(field: str, value: float) -> float:
    """The value as the column stores it: a float32 column holds 4.1 as 4.0999999."""
    return float(np.float32(value)) if field in _FLOAT32 else float(value)


def _as_number(field: str, value: str | float | bool, fields: Fields) -> float:
    if isinstance(value, str):
        return in_field_unit(field, *quantity(field, value), fields)
    return float(value)


def _truth(value: str | float | bool) -> float:
    text = str(value).strip().casefold()
    if text in _TRUE or text == "1.0":
        return 1.0
    if text in _FALSE or text == "0.0":
        return 0.0
    raise SettingError(f"'active' is filtered by {value!r}; give true or false")
