"""What is written over the wire: products, changes of products, behaviour."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat

from aisle.serve.models import MAX_OFFSET, MAX_TEXT, SceneName

ActionName = Literal["impression", "click", "cart", "order", "return", "remove"]
MAX_BATCH = 1000
MAX_WAIT_S = 60.0
LATEST_S = 1e11
"""Beyond it a time is in milliseconds, by mistake."""


class AttributeIn(BaseModel):
    """A text, or a number with its unit."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=MAX_TEXT)
    text: str | None = None
    number: float | None = None
    unit: str | None = None


class ColumnsIn(BaseModel):
    """The catalogue's columns (docs/glossary.md); what is left out is empty, or, in a change, stays."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    group_id: str | None = None
    title: str | None = None
    description: str | None = None
    brand: str | None = None
    category: list[str] | str | None = Field(None, description="paths, each written 'Department > Aisle > Shelf'")
    attributes: list[AttributeIn] | dict[str, str | StrictFloat] | None = Field(
        None, description='[{"name": "weight", "number": 2, "unit": "kg"}], or {"colour": "red", "width_cm": 40}'
    )
    price_cents: int | None = None
    list_price_cents: int | None = None
    currency: str | None = None
    rating: float | None = None
    rating_count: int | None = None
    images: list[str] | str | None = None
    locale: str | None = None
    merchant: str | None = None
    created_s: float | None = Field(None, le=LATEST_S, description="unix seconds")
    stock: int | None = None
    active: bool | None = Field(None, description="false: kept, but not shown")


class ItemIn(ColumnsIn):
    """A product."""

    item_id: str = Field(min_length=1, max_length=MAX_TEXT)


class WaitIn(BaseModel):
    """Whether the answer waits until searches show what was written."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    wait_visible: bool = Field(False, description="answer only when every process of the shop shows it")
    timeout_s: float = Field(5.0, gt=0, le=MAX_WAIT_S, description="and say so when that took longer")


class ItemsIn(WaitIn):
    items: list[ItemIn] = Field(min_length=1, max_length=MAX_BATCH)
    partial: bool = Field(False, description="keep the columns that are not named, of items that there are")


class ChangeIn(ColumnsIn, WaitIn):
    """Columns to change; a null empties one."""

    def as_item(self, item_id: str) -> ItemIn:
        """The product's new columns alone."""
        named = self.model_dump(exclude_unset=True, exclude={"wait_visible", "timeout_s"})
        return ItemIn(item_id=item_id, **named)


class WriteOut(BaseModel):
    accepted: int
    first: int = Field(description="log record of the first one")
    last: int = Field(description="log record of the last one")
    visible: bool | None = Field(None, description="whether every process shows it; null when that was not asked for")


def record_of_item(item: ItemIn) -> dict[str, Any]:
    """The columns that were named, as the log keeps them: lists where the catalogue has lists."""
    record = item.model_dump(exclude_unset=True)
    for name in ("category", "images"):
        if isinstance(record.get(name), str):
            record[name] = [record[name]]
    attributes = record.get("attributes")
    if isinstance(attributes, dict):
        record["attributes"] = [
            {"name": name, ("text" if isinstance(value, str) else "number"): value}
            for name, value in attributes.items()
        ]
    return record


class EventIn(BaseModel):
    """Something a shopper did.  Unknown fields are refused; put the shop's own into ``extra``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    action: ActionName
    item_id: str = Field("", max_length=MAX_TEXT)
    time_s: float | None = Field(None, ge=0, le=LATEST_S, description="unix seconds; the server's clock when absent")
    user_id: str = Field("", max_length=MAX_TEXT)
    session_id: str = Field("", max_length=MAX_TEXT)
    request_id: str = Field("", max_length=MAX_TEXT, description="of the page it happened on")
    scene: SceneName = "search"
    query: str = Field("", max_length=MAX_TEXT)
    position: int | None = Field(None, ge=0, le=MAX_OFFSET, description="place on the page, from 0")
    quantity: int | None = Field(None, ge=0, le=MAX_OFFSET)
    price_cents: int | None = Field(None, ge=0)
    propensity: float | None = Field(None, ge=0, le=1)
    extra: dict[str, Any] | None = None


class EventsIn(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    events: list[EventIn] = Field(min_length=1, max_length=1000)


class EventsOut(BaseModel):
    accepted: int
    last: int = Field(description="log record of the last one")
