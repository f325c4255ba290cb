"""Filter: a small typed expression over item columns, compiled by the engine to a row bitmap once a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aisle.core.errors import SettingError


@dataclass(frozen=True, slots=True)
class In:
    """The field has at least one of these values (a category matches its whole subtree)."""

    field: str
    values: tuple[str | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """low <= field <= high, either end open when None, in the field's own unit (``price_cents`` in cents)."""

    field: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


Filter = In | Range | Exists | Not | And | Or
EVERYTHING = And(())
"""What a filter that asks nothing means inside another one."""


@dataclass(frozen=True, slots=True)
class Sort:
    """Order of the whole match set by a column; ties by catalogue row; missing values last."""

    field: str
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Sort | None:
        """``price_cents`` ascending, ``-rating`` descending, ``""`` or ``relevance`` for the funnel's own order."""
        if text in ("", "relevance"):
            return None
        return cls(text.removeprefix("-"), text.startswith("-"))

    def __str__(self) -> str:
        return ("-" if self.descending else "") + self.field


def conjuncts(filter: Filter | None) -> tuple[Filter, ...]:
    """The parts that must all hold, none of them a conjunction itself."""
    if filter is None:
        return ()
    return tuple(c for part in filter.parts for c in conjuncts(part)) if isinstance(filter, And) else (filter,)


def both(*filters: Filter | None) -> Filter | None:
    """The conjunction of those that are given."""
    parts = tuple(p for f in filters for p in conjuncts(f))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(parts)


def without(filter: Filter | None, field: str) -> Filter | None:
    """The filter less its own top-level selection on ``field``: what that field's facet counts under."""
    return both(*(p for p in conjuncts(filter) if fields_of(p) != {field}))


def fields_of(filter: Filter | None) -> set[str]:
    """Names of the columns that a filter reads."""
    if filter is None:
        return set()
    if isinstance(filter, In | Range | Exists):
        return {filter.field}
    if isinstance(filter, Not):
        return fields_of(filter.part)
    return {name for part in filter.parts for name in fields_of(part)}


def parse_filter(value: Mapping[str, Any] | None) -> Filter | None:
    """A filter from JSON.

    ``{"brand": ["A", "B"], "price_cents": {"low": 100, "high": 900}, "color": {"exists": true}}`` is a conjunction;
    ``{"any": [...]}``, ``{"all": [...]}`` and ``{"not": {...}}`` nest.

    Raises SettingError when a part is not of these forms.
    """
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise SettingError(f'a filter is {value!r}; give an object, such as {{"brand": ["A"]}}')
    parts: list[Filter | None] = []
    for name, want in value.items():
        if name in ("any", "all"):
            if not isinstance(want, list) or not all(isinstance(w, Mapping) for w in want):
                raise SettingError(f"{name!r} is {want!r}; give a list of filters, such as [{{'brand': 'A'}}]")
            nested = tuple(parse_filter(w) or EVERYTHING for w in want)
            parts.append(Or(nested) if name == "any" else And(nested))
        elif name == "not":
            if not isinstance(want, Mapping):
                raise SettingError(f"'not' is {want!r}; give a filter, such as {{'brand': 'A'}}")
            parts.append(Not(parse_filter(want) or EVERYTHING))
        else:
            parts.append(_leaf(name, want))
    return both(*parts)


def _leaf(name: str, want: Any) -> Filter:
    if isinstance(want, Mapping):
        if want.get("exists") is True and len(want) == 1:
            return Exists(name)
        if want and set(want) <= {"low", "high"}:
            low, high = want.get("low"), want.get("high")
            for end in (low, high):
                if end is not None and (isinstance(end, bool) or not isinstance(end, int | float)):
                    raise SettingError(f"the range of {name!r} has the end {end!r}; give a number")
            return Range(name, low, high)
        raise SettingError(f"the filter on {name!r} is {dict(want)!r}; give low and high, or exists: true")
    values = want if isinstance(want, list | tuple) else [want]
    if not all(isinstance(v, str | int | float | bool) for v in values):
        raise SettingError(f"the filter on {name!r} is {want!r}; give a value, a list of values, or a range")
    return In(name, tuple(values))


def to_json(filter: Filter | None) -> dict[str, Any]:
    """The inverse of ``parse_filter``."""
    if filter is None:
        return {}
    if isinstance(filter, In):
        return {filter.field: list(filter.values)}
    if isinstance(filter, Range):
        ends = {"low": filter.low, "high": filter.high}
        return {filter.field: {n: v for n, v in ends.items() if v is not None}}
    if isinstance(filter, Exists):
        return {filter.field: {"exists": True}}
    if isinstance(filter, Not):
        return {"not": to_json(filter.part)}
    return {"all" if isinstance(filter, And) else "any": [to_json(p) for p in filter.parts]}
