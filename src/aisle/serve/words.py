"""Reasons, columns and traces in plain words: what the panel "why this order" says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from aisle.core.roles import Reason
from aisle.serve.models import StageOut

ORDERS = {
    "bm25": "words",
    "minilm": "meaning",
    "own": "meaning",
    "dense": "meaning",
    "popular": "popularity",
    "item_cf": "what others looked at too",
}
"""Retriever -> what it orders by, as a shopper would say it."""

MATCH = re.compile(r"(?P<words>'.+') in the [\w ]+")
NUMBERS = re.compile(r"^number \d+ for | gave it -?[\d.]")

Columns = Mapping[str, float | None]

COLUMNS = {
    "score": "final score",
    "ctr": "chance of a click",
    "propensity": "chance of this place",
    "price_cents": "price",
    "created_s": "newest",
}

STAGES = {
    "understanding": "reading the query",
    "encoder": "turning the query into a vector",
    "retrieval": "finding candidates",
    "relevance": "judging relevance",
    "ranking": "ordering",
    "reranking": "re-ordering the top",
    "allocation": "filling the page",
    "facets": "counting filters",
    "rules": "applying rules",
}


def order_of(retriever: str) -> str:
    """``by words``, ``by meaning``: the noun of a retriever, its own name when it is not a usual one."""
    return ORDERS.get(retriever, retriever.replace("_", " "))


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 11th, 21st ..."""
    if 10 <= n % 100 <= 20:
        return f"{n}th"
    return f"{n}{['th', 'st', 'nd', 'rd', *['th'] * 6][n % 10]}"


def ranks(columns: Columns) -> list[str]:
    """``12th by words``, one for each retriever that found the item, best place first."""
    found = [(value, name.removeprefix("rank_")) for name, value in columns.items() if name.startswith("rank_")]
    places = sorted((int(value), name) for value, name in found if value is not None and value >= 0)
    return [f"{ordinal(place + 1)} by {order_of(name)}" for place, name in places]


def missed(columns: Columns) -> list[str]:
    """The orders in which the item is not among the candidates."""
    return [
        order_of(n.removeprefix("rank_")) for n, v in columns.items() if n.startswith("rank_") and (v is None or v < 0)
    ]


def summary(position: int | None, columns: Columns, query: str) -> str:
    """One sentence: where the item stands and what put it there."""
    place = f"{ordinal(position + 1)} in this list" if position is not None else "Beyond the ranked part of this list"
    found = ranks(columns)
    if not found:
        return (
            f"{place}: it matches “{query}”, in the shop's own order."
            if query
            else f"{place}, in the shop's own order."
        )
    gaps = missed(columns)
    text = f"{place}: {listing(found)}"
    return f"{text}; not found by {listing(gaps)}." if gaps else f"{text}."


def plain(reasons: Iterable[Reason]) -> list[Reason]:
    """The reasons worth reading: matches joined by their words; places and scores are left out, they stand elsewhere."""
    fields: dict[tuple[str, str], list[Reason]] = {}
    kept: dict[str, Reason] = {}
    for reason in reasons:
        match = MATCH.fullmatch(reason.words)
        if match:
            fields.setdefault((reason.stage, match["words"]), []).append(reason)
        elif not NUMBERS.search(reason.words):
            kept.setdefault(reason.words, reason)
    return [_joined(stage, typed, parts) for (stage, typed), parts in fields.items()] + list(kept.values())


def _joined(stage: str, typed: str, parts: Sequence[Reason]) -> Reason:
    """``matches 'red' and 'dress' in the title and the brand``."""
    where = listing([f"the {p.words.rpartition(' in the ')[2]}" for p in parts])
    weights = [p.weight for p in parts if p.weight is not None]
    return Reason(stage, f"matches {listing(typed.split(', '))} in {where}", sum(weights) if weights else None)


def worth_showing(columns: Columns) -> dict[str, float | None]:
    """The numbers that say something: no empty ones, no ``found`` where a place says it, no certain propensity."""
    dull = {"propensity"} if columns.get("propensity") == 1 else set()
    return {
        name: value
        for name, value in columns.items()
        if value is not None
        and name not in dull
        and not name.startswith("found_")
        and not (name.startswith("rank_") and value < 0)
    }


def stage_name(stage: str) -> str:
    """``retrieval.bm25`` -> ``finding candidates (bm25)``."""
    folder, _, rest = stage.partition(".")
    words = STAGES.get(folder, folder)
    name = rest.removesuffix(".score")
    if rest.endswith(".score"):
        words = "scoring the others' candidates"
    return f"{words} ({name})" if name else words


def column_name(name: str) -> str:
    """``score_bm25`` -> ``score by words``."""
    kind, _, rest = name.partition("_")
    if rest and kind in ("score", "rank", "found"):
        return {"score": "score by ", "rank": "place by ", "found": "found by "}[kind] + order_of(rest)
    return {"score": "final score", "ctr": "chance of a click", "propensity": "chance of this place"}.get(
        name, name.replace("_", " ")
    )


def column_value(name: str, value: float | None) -> str:
    """A column as a person reads it: places from 1, yes and no, four digits."""
    if value is None or value != value:
        return "–"
    if name.startswith("rank_"):
        return ordinal(int(value) + 1) if value >= 0 else "–"
    if name.startswith("found_"):
        return "yes" if value else "no"
    return f"{value:.4g}"


def slow_stages(trace: Sequence[StageOut]) -> list[str]:
    """What was left out, in words."""
    return [f"{stage_name(s.stage)} was left out: {s.skipped}" for s in trace if s.skipped]


def listing(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
