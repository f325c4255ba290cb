"""Writing over HTTP: products, single columns of products, deletions and behaviour; on disk when it answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from hmac import compare_digest
from time import time
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Query, Request

from aisle.core.errors import DataError, UnknownName
from aisle.engine.embedded.log import Receipt
from aisle.serve.live import LiveShop
from aisle.serve.models import Problem
from aisle.serve.models_in import MAX_WAIT_S, ChangeIn, EventsIn, EventsOut, ItemsIn, WriteOut, record_of_item

WRITING = 64
"""Writes that wait for the disk at once; they share commits, and never take a place of those who search."""
KNOWN_S = 2.0
KEY = "AISLE_WRITE_KEY"
LOCAL = ("127.0.0.1", "::1")
T = TypeVar("T")


def may_write(request: Request) -> None:
    """Products are changed with the key in ``AISLE_WRITE_KEY``, or, where there is none, from this machine.

    Raises HTTPException 403.
    """
    key = os.environ.get(KEY, "")
    host = request.client.host if request.client else ""
    if key:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not compare_digest(given.encode(), key.encode()):
            raise HTTPException(403, "the key of this shop is needed to change products")
    elif host not in LOCAL:
        raise HTTPException(403, f"products are changed from this machine only, not from {host or 'elsewhere'}")


def writes(live: LiveShop, problems: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The routes that change a shop."""
    router = APIRouter(prefix="/api", tags=["write"], responses={**problems, 403: {"model": Problem}})
    limiter = anyio.CapacityLimiter(WRITING)

    async def apart(work: Callable[[], T]) -> T:
        """In a thread of the writers' own."""
        return await anyio.to_thread.run_sync(work, limiter=limiter)

    @router.post("/items", status_code=202, dependencies=[Depends(may_write)])
    async def upsert(body: ItemsIn) -> WriteOut:
        """Add products or replace them whole; with ``partial``, change the columns that are named and keep the others.

        All of them are accepted, or none.
        """
        return await apart(partial(_upsert, live, body))

    @router.patch("/items/{item_id:path}", status_code=202, dependencies=[Depends(may_write)])
    async def change(item_id: str, body: ChangeIn) -> WriteOut:
        """Change single columns of a product, such as price and stock; a null empties one."""
        return await apart(partial(_change, live, item_id, body))

    @router.delete("/items/{item_id:path}", status_code=202, dependencies=[Depends(may_write)])
    async def delete(
        item_id: str, wait_visible: bool = False, timeout_s: Annotated[float, Query(gt=0, le=MAX_WAIT_S)] = 5.0
    ) -> WriteOut:
        """Take a product out of the catalogue."""
        return await apart(partial(_delete, live, item_id, wait_visible, timeout_s))

    @router.post("/events", status_code=202)
    async def events(body: EventsIn) -> EventsOut:
        """Behaviour to learn from."""
        return await apart(partial(_events, live, body))

    return router


def _upsert(live: LiveShop, body: ItemsIn) -> WriteOut:
    if body.partial:
        _must_know(live, [item.item_id for item in body.items])
    records = [record_of_item(item) for item in body.items]
    receipt = _append(live, "update" if body.partial else "upsert", records)
    return _written(live, receipt, body.wait_visible, body.timeout_s)


def _change(live: LiveShop, item_id: str, body: ChangeIn) -> WriteOut:
    _must_know(live, [item_id])
    record = record_of_item(body.as_item(item_id))
    if len(record) == 1:
        raise DataError(f"the change of {item_id[:200]!r} names no column; give at least one, such as price_cents")
    receipt = _append(live, "update", [record])
    return _written(live, receipt, body.wait_visible, body.timeout_s)


def _delete(live: LiveShop, item_id: str, wait_visible: bool, timeout_s: float) -> WriteOut:
    _must_know(live, [item_id])
    receipt = _append(live, "delete", [{"item_id": item_id}])
    return _written(live, receipt, wait_visible, timeout_s)


def _events(live: LiveShop, body: EventsIn) -> EventsOut:
    now_s = time()
    records = [e.model_dump() | {"time_s": now_s if e.time_s is None else e.time_s} for e in body.events]
    receipt = _append(live, "event", records)
    return EventsOut(accepted=len(records), last=receipt.last)


def _append(live: LiveShop, kind: str, records: Sequence[dict[str, Any]]) -> Receipt:
    if live.writing is None:
        raise HTTPException(503, live.status().step)
    return live.writing.append(kind, records)


def _written(live: LiveShop, receipt: Receipt, wait_visible: bool, timeout_s: float) -> WriteOut:
    visible = live.visible(receipt.last, timeout_s) if wait_visible else None
    return WriteOut(accepted=receipt.last - receipt.first + 1, first=receipt.first, last=receipt.last, visible=visible)


def _must_know(live: LiveShop, item_ids: Sequence[str]) -> None:
    """Raises UnknownName for items that there are not, once everything that was accepted is looked at."""
    if live.active is None:
        raise HTTPException(503, live.status().step)
    unknown = live.unknown(item_ids)
    if unknown and live.log is not None and live.visible(live.log.last_sequence, KNOWN_S):
        unknown = live.unknown(unknown)
    if unknown:
        more = f" (nor are {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise UnknownName(f"no item {unknown[0][:200]!r} is in the catalogue{more}; add it with POST /api/items")
