"""Requests: a batch of Q questions to the shop.  One online request is a batch of one.

Search, feed and similar items are one type and one code path.  Legend: Q requests, I items, M distinct filters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from time import monotonic
from typing import Any

import numpy as np

from aisle.core.errors import ContractError, DeadlinePassed, UnknownName, nearest
from aisle.core.filters import Filter, Sort
from aisle.core.lists import Array, ItemLists


class Scene(IntEnum):
    SEARCH = 0
    FEED = 1
    SIMILAR = 2


class Action(IntEnum):
    """What a shopper did, as the ``action`` column of histories and events."""

    IMPRESSION = 0
    CLICK = 1
    CART = 2
    ORDER = 3
    RETURN = 4
    REMOVE = 5


def hashed(name: str) -> int:
    """A stable, non-negative 63-bit number for a user or session id; ``""`` is -1, anonymous."""
    if not name:
        return -1
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def query_ids(queries: Sequence[str]) -> Array:
    """int64[Q]: a hash of each query, case and blanks aside; -1 for an empty one."""
    return np.array([hashed(" ".join(query.lower().split())) for query in queries], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class RowMasks:
    """Some catalogue rows for each request, such as those that it may see: M distinct bitmaps, shared by requests that are alike.

    bits   bool[M, I]
    which  int64[Q]   the bitmap of each request
    """

    bits: Array
    which: Array

    def of(self, q: int) -> Array:
        """bool[I]: the rows of request q."""
        mask: Array = self.bits[self.which[q]]
        return mask

    def allows(self, owner: Array, item: Array) -> Array:
        """bool[N]: whether row ``item[n]`` is among those of request ``owner[n]``; rows beyond the bitmap are not."""
        if len(self.which) == 1 and len(item) and item.min() >= 0 and item.max() < self.bits.shape[1]:
            mask: Array = self.bits[self.which[0]]
            return mask[item]
        inside = (item >= 0) & (item < self.bits.shape[1])
        allowed: Array = inside & self.bits[self.which[owner], np.where(inside, item, 0)]
        return allowed

    def select(self, rows: Array) -> RowMasks:
        return RowMasks(self.bits, self.which[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """
    query     Q strings, "" in a feed
    user      int64[Q], a hash, -1 anonymous
    session   int64[Q], a hash, -1 unknown
    scene     int8[Q], a Scene
    anchor    int32[Q], the item that similar items are asked for, -1 none
    time_s    float64[Q], unix seconds
    seed      uint64[Q], fixed per session: page 2 repeats the draws of page 1
    filters   Q filters or None
    sort      Q sort orders or None
    offset    int64[Q], rows to skip
    limit     int64[Q], rows wanted
    locale    Q strings such as "en"
    history   what each user did strictly before time_s, oldest first; columns ``action`` int8, ``time_s`` float64
    columns   name -> array[Q, ...], written by understanding and by encoders (``emb_<encoder>``)
    allowed   compiled filters, live rows and what the query does not exclude; None until the engine compiled them
    unwanted  rows that have what the query says no to: shown behind the others where no score decides; None for none
    deadline_s  monotonic second by which an answer is due; inf for none
    """

    query: Sequence[str]
    user: Array
    session: Array
    scene: Array
    anchor: Array
    time_s: Array
    seed: Array
    filters: Sequence[Filter | None]
    sort: Sequence[Sort | None]
    offset: Array
    limit: Array
    locale: Sequence[str]
    history: ItemLists
    columns: Mapping[str, Array] = field(default_factory=dict)
    allowed: RowMasks | None = None
    unwanted: RowMasks | None = None
    deadline_s: float = float("inf")

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def make(
        cls,
        query: Sequence[str],
        *,
        user: Array | None = None,
        session: Array | None = None,
        scene: Array | Scene | None = None,
        anchor: Array | None = None,
        time_s: Array | float = 0.0,
        seed: Array | int = 0,
        filters: Sequence[Filter | None] | Filter | None = None,
        sort: Sequence[Sort | None] | Sort | None = None,
        offset: Array | int = 0,
        limit: Array | int = 10,
        locale: Sequence[str] | str = "en",
        history: ItemLists | None = None,
        columns: Mapping[str, Array] | None = None,
        deadline_s: float = float("inf"),
    ) -> Requests:
        """A batch from whatever is known; the rest takes its neutral value.  A scalar holds for every request."""
        q = len(query)

        def full(value: Any, dtype: type, default: Any) -> Array:
            value = default if value is None else value
            values: Array = np.asarray(value, dtype)
            if values.shape not in ((), (q,)):
                raise ContractError(
                    f"{q} requests came with values of shape {values.shape}; give one a request, or one for all"
                )
            return np.ascontiguousarray(np.broadcast_to(values, (q,)))

        def each(value: Any, kind: type | tuple[type, ...] | None = None) -> tuple[Any, ...]:
            return tuple(value) if isinstance(value, list | tuple) else (value,) * q

        if scene is None:
            scene = Scene.SEARCH if any(query) else (Scene.FEED if anchor is None else Scene.SIMILAR)
        none: dict[str, Array] = {"action": np.zeros(0, np.int8), "time_s": np.zeros(0)}
        return cls(
            query=tuple(query),
            user=full(user, np.int64, -1),
            session=full(session, np.int64, -1),
            scene=full(scene, np.int8, 0),
            anchor=full(anchor, np.int32, -1),
            time_s=full(time_s, np.float64, 0.0),
            seed=full(seed, np.uint64, 0),
            filters=each(filters),
            sort=each(sort),
            offset=full(offset, np.int64, 0),
            limit=full(limit, np.int64, 10),
            locale=each(locale),
            history=history if history is not None else ItemLists.empty(q, none),
            columns=dict(columns or {}),
            deadline_s=deadline_s,
        )

    def __post_init__(self) -> None:
        q = len(self.query)
        if len(self.history) != q:
            raise ContractError(f"{q} requests came with {len(self.history)} histories; give one list a request")
        for name in ("filters", "sort", "locale"):
            count = len(getattr(self, name))
            if count != q:
                raise ContractError(f"{q} requests came with {count} {name}; give one a request, or one for all")
        for name, column in self.columns.items():
            if len(column) != q:
                raise ContractError(f"request column {name!r} has {len(column)} rows, there are {q} requests")

    def __getitem__(self, name: str) -> Array:
        if name not in self.columns:
            raise UnknownName(f"no request column {name!r}{nearest(name, self.columns)}")
        return self.columns[name]

    def with_columns(self, **columns: Array) -> Requests:
        return replace(self, columns={**self.columns, **columns})

    def select(self, rows: Array) -> Requests:
        """The given requests, in that order."""
        pick = [int(r) for r in rows]
        return replace(
            self,
            query=tuple(self.query[r] for r in pick),
            user=self.user[rows],
            session=self.session[rows],
            scene=self.scene[rows],
            anchor=self.anchor[rows],
            time_s=self.time_s[rows],
            seed=self.seed[rows],
            filters=tuple(self.filters[r] for r in pick),
            sort=tuple(self.sort[r] for r in pick),
            offset=self.offset[rows],
            limit=self.limit[rows],
            locale=tuple(self.locale[r] for r in pick),
            history=self.history.select(rows),
            columns={n: c[rows] for n, c in self.columns.items()},
            allowed=None if self.allowed is None else self.allowed.select(rows),
            unwanted=None if self.unwanted is None else self.unwanted.select(rows),
        )

    def masks(self) -> RowMasks:
        """The compiled filters.  Raises ContractError when no engine compiled them."""
        if self.allowed is None:
            raise ContractError("these requests were not compiled; call engine.compile(requests) before a retriever")
        return self.allowed

    def rng(self, q: int, salt: int) -> np.random.Generator:
        """Request q's own random numbers for one method: order and batching of requests do not matter."""
        return np.random.default_rng((int(self.seed[q]), salt))

    def left_s(self) -> float:
        """Seconds until the deadline, negative when it has passed."""
        return self.deadline_s - monotonic()

    def check_deadline(self) -> None:
        """Called by a stage between chunks.  Raises DeadlinePassed."""
        if self.left_s() < 0:
            raise DeadlinePassed(f"{-self.left_s() * 1e3:.0f} ms past the deadline of the request")
