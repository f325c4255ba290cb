"""Every answered request in the shop's log: what was asked, what was shown, with which numbers and which probabilities.

A click joins its request by ``request_id``, so a ranker can be trained on the very numbers that served, and a policy can be
judged by what it showed.  Requests are written behind the answer, in batches: a kill may cost the last moments, never an event.

Where it is asked for, the numbers of all candidates go along, packed; ``candidates_of_record`` reads them back.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.errors import AisleError
from aisle.core.filters import Sort, parse_filter, to_json
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests

if TYPE_CHECKING:
    from aisle.serve.active import Active
    from aisle.serve.answers import Answer

WAITING = 10_000
BATCH = 500


Append = Callable[[str, Sequence[Mapping[str, Any]]], object]


class RequestLog:
    """A queue before the log and a thread that empties it.  ``dropped`` counts requests that found the queue full or the
    disk refusing."""

    def __init__(self, append: Append, *, candidates: bool = False) -> None:
        self._append, self._candidates = append, candidates
        self._queue: Queue[tuple[Active, Answer] | None] = Queue(WAITING)
        self.dropped = 0
        self._thread = Thread(target=self._write, name="aisle-requests", daemon=True)
        self._thread.start()

    def add(self, active: Active, answered: Answer) -> None:
        """Note a request; never waits."""
        try:
            self._queue.put_nowait((active, answered))
        except Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        going = True
        while going:
            batch = [self._queue.get()]
            try:
                while len(batch) < BATCH:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            going = None not in batch
            records = [record_of(*noted, candidates=self._candidates) for noted in batch if noted is not None]
            try:
                self._append("request", records)
            except (AisleError, OSError):
                self.dropped += len(records)


def record_of(active: Active, answered: Answer, *, candidates: bool = False) -> dict[str, Any]:
    """A request and its page as JSON values; ``requests_of_record`` is the inverse of its asking half.

    candidates  with every ranked candidate and all its columns
    """
    requests, page = answered.requests, answered.page
    more = {"candidates": _packed(page.candidates)} if candidates and page.candidates is not None else {}
    return {
        "request_id": answered.out.request_id,
        "time_s": float(requests.time_s[0]),
        "funnel": active.funnel.version,
        "plan": active.plan_name,
        "arm": "",
        "generation": answered.out.generation,
        "query": requests.query[0],
        "user": int(requests.user[0]),
        "session": int(requests.session[0]),
        "scene": int(requests.scene[0]),
        "anchor": int(requests.anchor[0]),
        "seed": int(requests.seed[0]),
        "filter": to_json(requests.filters[0]),
        "sort": str(requests.sort[0] or ""),
        "offset": int(requests.offset[0]),
        "limit": int(requests.limit[0]),
        "locale": requests.locale[0],
        "history": requests.history.item.tolist(),
        "item": page.lists.item.tolist(),
        "total": int(page.total[0]),
        "skipped": [t.stage for t in page.trace if t.skipped],
        "columns": {name: _values(column) for name, column in page.lists.columns.items()},
        **more,
    }


def requests_of_record(record: Mapping[str, Any], history: ItemLists | None = None) -> Requests:
    """The request of a record, to be answered again; ``history`` where the user had one."""
    return Requests.make(
        [record["query"]],
        user=np.array([record["user"]]),
        session=np.array([record["session"]]),
        scene=np.array([record["scene"]]),
        anchor=np.array([record["anchor"]], np.int32),
        time_s=record["time_s"],
        seed=np.array([record["seed"]], np.uint64),
        filters=[parse_filter(record["filter"])],
        sort=[Sort.parse(record["sort"])],
        offset=record["offset"],
        limit=record["limit"],
        locale=record["locale"],
        history=history,
    )


def candidates_of_record(record: Mapping[str, Any]) -> ItemLists | None:
    """The candidates of a record with their columns, one list; None where they were not kept."""
    if "candidates" not in record:
        return None
    columns = {name: _unpacked(text) for name, text in record["candidates"].items()}
    item = columns.pop("item")
    return ItemLists(item, np.array([0, len(item)]), columns, record["generation"])


def _packed(lists: ItemLists) -> dict[str, str]:
    """Column -> its dtype, shape and numbers as text: a tenth of the bytes and of the time that numbers as JSON take."""
    columns = {"item": lists.item, **lists.columns}
    return {
        name: f"{c.dtype.str} {','.join(map(str, c.shape))} {b64encode(zlib.compress(c.tobytes(), 1)).decode()}"
        for name, c in columns.items()
    }


def _unpacked(text: str) -> Array:
    dtype, shape, packed = text.split(" ")
    flat = np.frombuffer(zlib.decompress(b64decode(packed)), np.dtype(dtype))
    return flat.reshape([int(n) for n in shape.split(",")])


def _values(column: Array) -> list[Any]:
    """JSON values that come back to the same numbers; null for NaN."""
    values = column.tolist()
    return [None if v != v else v for v in values] if column.dtype.kind == "f" else values
