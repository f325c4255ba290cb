"""Catalogue rows as the page and the API show them."""

from __future__ import annotations

from math import isfinite
from typing import Any, Protocol, cast
from urllib.parse import quote

import numpy as np

from aisle.core.errors import UnknownName
from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.serve.models import AttributeOut, ItemDetail, ItemOut


class _Table(Protocol):
    def to_pylist(self) -> list[dict[str, Any]]: ...


class _Rows(Protocol):
    def row_table(self, rows: Array) -> _Table: ...


def records(items: Items, rows: Array) -> list[dict[str, Any]]:
    """The catalogue records of these rows, in that order."""
    return cast(_Rows, items).row_table(np.asarray(rows)).to_pylist()


def row_of(items: Items, item_id: str) -> int:
    """Raises UnknownName when the shop has no such live item."""
    row = int(items.rows_of([item_id])[0])
    if row < 0 or not items.live[row]:
        raise UnknownName(f"no item {item_id!r} in this shop; look its id up with a search")
    return row


def cards(items: Items, rows: Array) -> list[ItemOut]:
    """Result cards of these rows, in that order."""
    group = items.group()
    return [ItemOut(**_card(record, int(group[row]))) for record, row in zip(records(items, rows), rows, strict=True)]


def detail(items: Items, row: int) -> ItemDetail:
    """Everything about one row."""
    (record,) = records(items, np.array([row]))
    return ItemDetail(
        **_card(record, int(items.group()[row])),
        description=record["description"] or "",
        categories=record["category"] or [],
        attributes=[AttributeOut(name=a["name"] or "", value=attribute_text(a)) for a in record["attributes"] or []],
        merchant=record["merchant"] or "",
        active=record["active"] is not False,
    )


def _card(record: dict[str, Any], group: int) -> dict[str, Any]:
    item_id = record["item_id"]
    rating = record["rating"]
    return {
        "id": item_id,
        "title": record["title"] or item_id,
        "brand": record["brand"] or "",
        "price_cents": record["price_cents"],
        "list_price_cents": record["list_price_cents"],
        "currency": record["currency"] or "",
        "rating": round(rating, 2) if rating is not None and isfinite(rating) else None,
        "rating_count": record["rating_count"],
        "image": next(iter(record["images"] or []), None),
        "picture": picture_address(item_id),
        "group": group,
        "stock": record["stock"],
        "category": next(iter(record["category"] or []), ""),
    }


def picture_address(item_id: str) -> str:
    return f"/picture/{quote(item_id, safe='')}.svg"


def attribute_text(attribute: dict[str, Any]) -> str:
    """A typed attribute as a person reads it: ``1.5 kg``, ``red``."""
    if attribute["text"] is not None:
        return str(attribute["text"])
    number, unit = attribute["number"], attribute["unit"]
    if number is None:
        return ""
    return f"{number:.10g} {unit}" if unit else f"{number:.10g}"
