"""Filter: a small typed expression over item columns, compiled by the engine to a row bitmap once a request."""

from __future__ import annotations

import re
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
    """low <= field <= high, either end open when None, in ``unit``, else in the field's own (``price_cents`` in cents)."""

    field: str
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Contains:
    """Some value of the field has this text in it, in any case."""

    field: str
    text: str


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


Filter = In | Range | Contains | Exists | Not | And | Or
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
    if isinstance(filter, In | Range | Contains | Exists):
        return {filter.field}
    if isinstance(filter, Not):
        return fields_of(filter.part)
    return {name for part in filter.parts for name in fields_of(part)}


def parse_filter(value: Mapping[str, Any] | None) -> Filter | None:
    """A filter from JSON.

    ``{"brand": ["A", "B"], "price_cents": {"low": 100, "high": 900}, "color": {"exists": true}}`` is a conjunction;
    ``{"weight": {"high": "2 kg"}}`` names a unit, ``{"title": {"contains": "oak"}}`` asks for a part of a text,
    ``{"color": {"exists": false}}`` for items without; ``{"any": [...]}``, ``{"all": [...]}`` and ``{"not": {...}}`` nest.

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
        return _of_object(name, want)
    values = want if isinstance(want, list | tuple) else [want]
    if not all(isinstance(v, str | int | float | bool) for v in values):
        raise SettingError(f"the filter on {name!r} is {want!r}; give a value, a list of values, or a range")
    return In(name, tuple(values))


def _of_object(name: str, want: Mapping[str, Any]) -> Filter:
    if len(want) == 1 and isinstance(want.get("exists"), bool):
        return Exists(name) if want["exists"] else Not(Exists(name))
    if len(want) == 1 and isinstance(want.get("contains"), str) and want["contains"].strip():
        return Contains(name, want["contains"].strip())
    if (
        want
        and set(want) <= {"low", "high", "unit"}
        and set(want) != {"unit"}
        and isinstance(want.get("unit", ""), str)
    ):
        (low, low_unit), (high, high_unit) = (
            _quantity(name, want.get(end), want.get("unit", "")) for end in ("low", "high")
        )
        if low is None or high is None or low_unit == high_unit:
            return Range(name, low, high, low_unit if high is None else high_unit)
        return And((Range(name, low, None, low_unit), Range(name, None, high, high_unit)))
    raise SettingError(
        f"the filter on {name!r} is {dict(want)!r}; give low and high (and a unit), contains: 'text', or exists: true or false"
    )


def _quantity(name: str, end: Any, unit: str) -> tuple[float | None, str]:
    """Number and unit of an end of a range: 2, or '2 kg'."""
    if isinstance(end, str):
        return quantity(name, end, unit)
    if end is not None and (isinstance(end, bool) or not isinstance(end, int | float)):
        raise SettingError(f"the range of {name!r} has the end {end!r}; give a number, or a text such as '2 kg'")
    return end, unit


def quantity(name: str, text: str, unit: str = "") -> tuple[float, str]:
    """Number and unit of a text such as '2 kg'; ``unit`` where it names none.  Raises SettingError for anything else."""
    found = re.fullmatch(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(\D.*?)?\s*", text)
    if found is None:
        raise SettingError(
            f"{name!r} holds numbers and is filtered by {text!r}; give a number, or one with its unit: '2 kg'"
        )
    return float(found[1]), found[2] or unit


def to_json(filter: Filter | None) -> dict[str, Any]:
    """The inverse of ``parse_filter``."""
    if filter is None:
        return {}
    if isinstance(filter, In):
        return {filter.field: list(filter.values)}
    if isinstance(filter, Range):
        parts: dict[str, Any] = {"low": filter.low, "high": filter.high, "unit": filter.unit or None}
        return {filter.field: {n: v for n, v in parts.items() if v is not None}}
    if isinstance(filter, Contains):
        return {filter.field: {"contains": filter.text}}
    if isinstance(filter, Exists):
        return {filter.field: {"exists": True}}
    if isinstance(filter, Not):
        return {"not": to_json(filter.part)}
    return {"all" if isinstance(filter, And) else "any": [to_json(p) for p in filter.parts]}
