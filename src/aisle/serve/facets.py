"""Facets as the page shows them: labels, links, what is chosen, and small histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aisle.data.schema import CATEGORY_SEPARATOR
from aisle.serve.address import Address, plain_number, scale_of

SHOWN = 8
MAX_VALUES = 60
LEAST_SHARE = 0.05
"""A field that a smaller share of the products has narrows nothing: widths of lamps among dresses."""
NAMES = {
    "price_cents": "Price",
    "list_price_cents": "List price",
    "rating": "Rating",
    "rating_count": "Number of reviews",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet; ``url`` is where choosing it (or taking it back) leads."""

    label: str
    value: str
    count: int | None
    chosen: bool
    url: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket of a histogram, in units of a 100 x 28 drawing."""

    x: float
    width: float
    height: float
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Facet:
    """``kind``: tree, stars, values or range."""

    field: str
    name: str
    kind: str
    choices: Sequence[Choice] = ()
    bars: Sequence[Bar] = ()
    low: str = ""
    high: str = ""
    least: str = ""
    most: str = ""
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on; ``url`` is the page without it."""

    label: str
    url: str


def field_name(field: str) -> str:
    """``price_cents`` -> ``Price``; an attribute keeps its own name, capitalised."""
    return NAMES.get(field) or field.removesuffix("_cents").replace("_", " ").strip().capitalize()


def facets_of(found: Mapping[str, Any], address: Address, total: int = 0) -> list[Facet]:
    """The facets worth showing, chosen ones always among them: fields that hardly any of ``total`` products has are not."""
    facets: list[Facet] = []
    for name, counts in found.items():
        chosen = name in address.values or name in address.ends
        if not chosen and _counted(counts) < LEAST_SHARE * total:
            continue
        facet = _range(name, counts, address) if counts.get("kind") == "range" else _values(name, counts, address)
        if facet is not None:
            facets.append(_opened(facet, len(facets) < 5 or chosen))
    return facets


def _counted(counts: Mapping[str, Any]) -> int:
    """At most how many products have the field."""
    return sum(int(part["count"]) for part in counts.get("values") or counts.get("buckets") or ())


def chips_of(address: Address, currency: str) -> list[Chip]:
    """Every filter that is on."""
    chips = [
        Chip(f"{field_name(name)}: {value.replace(CATEGORY_SEPARATOR, ' › ')}", address.less(name, value).url())
        for name, values in address.values.items()
        for value in values
    ]
    for name, (low, high) in address.ends.items():
        unit = f" {currency}" if name.endswith("_cents") and currency else ""
        ends = [f"from {plain_number(low)}"] if low is not None else []
        ends += [f"to {plain_number(high)}"] if high is not None else []
        chips.append(Chip(f"{field_name(name)} {' '.join(ends)}{unit}", address.with_ends(name, None, None).url()))
    return chips


def _opened(facet: Facet, is_open: bool) -> Facet:
    return replace(facet, is_open=is_open)


def _values(name: str, counts: Mapping[str, Any], address: Address) -> Facet | None:
    values = [(str(v["value"]), int(v["count"])) for v in counts.get("values", ())]
    if name == "category":
        return _tree(name, dict(values), address)
    chosen = address.values.get(name, ())
    known = {value for value, _ in values}
    values = [(v, 0) for v in chosen if v not in known] + values
    if len(values) < 2 and not chosen:
        return None
    values.sort(key=lambda pair: pair[0] not in chosen)
    choices = [
        Choice(value, value, count, value in chosen, _toggled(address, name, value).url())
        for value, count in values[:MAX_VALUES]
    ]
    return Facet(name, field_name(name), "values", choices)


def _toggled(address: Address, name: str, value: str) -> Address:
    chosen = address.values.get(name, ())
    return address.less(name, value) if value in chosen else address.with_values(name, [*chosen, value])


def _tree(name: str, counts: Mapping[str, int], address: Address) -> Facet | None:
    """The way down to the chosen category, and its children; one category at a time."""
    chosen = next(iter(address.values.get(name, ())), "")
    way = chosen.split(CATEGORY_SEPARATOR) if chosen else []
    choices = [Choice("All categories", "", None, False, address.with_values(name, ()).url())] if way else []
    for depth in range(len(way)):
        path = CATEGORY_SEPARATOR.join(way[: depth + 1])
        choices.append(
            Choice(way[depth], path, counts.get(path), path == chosen, address.with_values(name, [path]).url(), depth)
        )
    children = _children(counts, chosen)
    while not way and len(children) == 1 and (deeper := _children(counts, children[0])):
        children = deeper
    choices += [
        Choice(
            path.rsplit(CATEGORY_SEPARATOR, 1)[-1],
            path,
            counts[path],
            False,
            address.with_values(name, [path]).url(),
            len(way),
        )
        for path in children[:MAX_VALUES]
    ]
    return Facet(name, field_name(name), "tree", choices) if choices else None


def _children(counts: Mapping[str, int], parent: str) -> list[str]:
    start = parent + CATEGORY_SEPARATOR if parent else ""
    found = [
        p for p in counts if p.startswith(start) and CATEGORY_SEPARATOR not in p[len(start) :] and len(p) > len(start)
    ]
    return sorted(found, key=lambda p: (-counts[p], p))


def _range(name: str, counts: Mapping[str, Any], address: Address) -> Facet | None:
    scale = scale_of(name)
    low, high = address.ends.get(name, (None, None))
    least, most = counts.get("low"), counts.get("high")
    if least is None or most is None or (least >= most and low is None and high is None):
        return None
    if name == "rating":
        choices = [
            Choice(
                f"{stars}",
                plain_number(stars),
                None,
                low == stars,
                address.with_ends(name, None if low == stars else stars, None).url(),
            )
            for stars in (4.5, 4.0, 3.0)
        ]
        return Facet(name, field_name(name), "stars", choices)
    unit = counts.get("unit")
    return Facet(
        name,
        f"{field_name(name)} ({unit})" if unit else field_name(name),
        "range",
        bars=_bars(name, counts.get("buckets") or (), address, scale),
        low="" if low is None else plain_number(low),
        high="" if high is None else plain_number(high),
        least=plain_number(round(least / scale, 2)),
        most=plain_number(round(most / scale, 2)),
    )


def _bars(name: str, buckets: Sequence[Mapping[str, Any]], address: Address, scale: float) -> list[Bar]:
    top = max((int(b["count"]) for b in buckets), default=0)
    if len(buckets) < 2 or top == 0:
        return []
    width = 100 / len(buckets)
    bars = []
    for n, bucket in enumerate(buckets):
        low, high, count = round(bucket["low"] / scale, 2), round(bucket["high"] / scale, 2), int(bucket["count"])
        height = max(28 * (count / top) ** 0.5, 1.5) if count else 0.6
        label = f"{plain_number(low)} to {plain_number(high)}: {count}"
        bars.append(
            Bar(
                round(n * width + 0.4, 2),
                round(width - 0.8, 2),
                round(height, 2),
                label,
                address.with_ends(name, low, high).url(),
            )
        )
    return bars
