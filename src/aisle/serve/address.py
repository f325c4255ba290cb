"""The state of the page in its address: shareable, and the back button works.

``?q=red+dress&f.brand=A&f.brand=B&min.price_cents=10&sort=-rating&page=2``; fields in cents stand in whole units here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any
from urllib.parse import urlencode

from aisle.serve.models import MAX_OFFSET, MAX_TEXT, SearchIn

PAGE_SIZE = 24
MAX_PAGE = MAX_OFFSET // PAGE_SIZE
MAX_FIELDS = 30

Values = Mapping[str, tuple[str, ...]]
Ends = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True, slots=True)
class Address:
    """
    values   field -> chosen values
    ends     field -> (low, high) in the unit of the address, None for an open end
    """

    q: str = ""
    values: Values = field(default_factory=dict)
    ends: Ends = field(default_factory=dict)
    sort: str = ""
    page: int = 1

    @classmethod
    def parse(cls, params: Iterable[tuple[str, str]]) -> Address:
        """From query parameters; what cannot be read is left out, a page never fails over its address."""
        q, sort, page = "", "", 1
        values: dict[str, list[str]] = {}
        ends: dict[str, list[float | None]] = {}
        for name, text in params:
            kind, _, field_name = name.partition(".")
            if name == "q":
                q = text[:MAX_TEXT]
            elif name == "sort":
                sort = text[:200]
            elif name == "page":
                page = min(max(int(text), 1), MAX_PAGE) if text.isdecimal() and len(text) < 9 else 1
            elif not field_name or len(values) + len(ends) >= MAX_FIELDS or not text:
                continue
            elif kind == "f" and text not in values.setdefault(field_name, []):
                values[field_name].append(text)
            elif kind in ("min", "max") and (number := _number(text)) is not None:
                ends.setdefault(field_name, [None, None])[kind == "max"] = number
        return cls(
            q,
            {n: tuple(v) for n, v in values.items()},
            {n: (e[0], e[1]) for n, e in ends.items()},
            sort,
            page,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Query parameters; neutral ones are left out."""
        pairs = [("q", self.q)] if self.q else []
        pairs += [(f"f.{name}", value) for name, values in self.values.items() for value in values]
        for name, (low, high) in self.ends.items():
            pairs += [(f"min.{name}", plain_number(low))] if low is not None else []
            pairs += [(f"max.{name}", plain_number(high))] if high is not None else []
        pairs += [("sort", self.sort)] if self.sort else []
        return pairs + ([("page", str(self.page))] if self.page > 1 else [])

    def url(self, path: str = "/") -> str:
        query = urlencode(self.pairs())
        return f"{path}?{query}" if query else path

    def asked(self, limit: int = PAGE_SIZE) -> SearchIn:
        """The question to the shop."""
        return SearchIn(
            q=self.q, filter=self.filter() or None, sort=self.sort, offset=(self.page - 1) * limit, limit=limit
        )

    def filter(self) -> dict[str, Any]:
        """The filter in the form of the API: ends in the field's own unit."""
        found: dict[str, Any] = {name: list(values) for name, values in self.values.items()}
        for name, (low, high) in self.ends.items():
            scale = scale_of(name)
            found[name] = {k: v * scale for k, v in (("low", low), ("high", high)) if v is not None}
        return found

    # -- addresses of what may come next -------------------------------------------------------------------------------

    def at_page(self, page: int) -> Address:
        return replace(self, page=page)

    def asking(self, q: str) -> Address:
        """Another query, no filters."""
        return Address(q=q)

    def unfiltered(self) -> Address:
        return replace(self, values={}, ends={}, page=1)

    def with_values(self, name: str, values: Sequence[str]) -> Address:
        rest = {n: v for n, v in self.values.items() if n != name}
        return replace(self, values={**rest, name: tuple(values)} if values else rest, page=1)

    def less(self, name: str, value: str) -> Address:
        return self.with_values(name, [v for v in self.values.get(name, ()) if v != value])

    def with_ends(self, name: str, low: float | None, high: float | None) -> Address:
        rest = {n: e for n, e in self.ends.items() if n != name}
        return replace(self, ends=rest if low is None and high is None else {**rest, name: (low, high)}, page=1)

    def __bool__(self) -> bool:
        return bool(self.pairs())


def scale_of(name: str) -> float:
    """How many of the field's own units one unit of the address is."""
    return 100.0 if name.endswith("_cents") else 1.0


def plain_number(value: float) -> str:
    return f"{value:.10g}"


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if isfinite(value) and abs(value) < 1e12 else None
