"""Visits, pages and feedback: what passes between a shop and its shoppers; and what the shoppers have in mind.

``Visits`` is all that a policy sees.  ``Minds`` is truth and stays with the town.

Legend: V visits, K places of a page, F interests, D style dimensions, R items remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Scene


class _Rows:
    """Columns of one length."""

    def select(self, rows: Array) -> Self:
        """These rows, in that order."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        picked = {name: value[rows] if isinstance(value, np.ndarray) else value for name, value in picked.items()}
        return replace(self, **picked)  # type: ignore[type-var]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One after the other; what is not a column is that of the first."""
        columns = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(parts[0])  # type: ignore[arg-type]
            if isinstance(getattr(parts[0], f.name), np.ndarray)
        }
        return replace(parts[0], **columns)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Storefront:
    """What a shop knows at one moment: ``on_sale`` bool[I], which rows may be shown, and ``histories(users)``, what they did."""

    on_sale: Array
    histories: Callable[[Array], ItemLists]


@dataclass(frozen=True, eq=False)
class Visits(_Rows):
    """V pages asked for.

    text       object[V]   what was typed, "" in a feed
    user       int64[V]    number of the shopper; ``user_id`` in the log is "u" and the number
    scene      int8[V]     a Scene
    time_s     float64[V]
    offset     int64[V]    places shown on earlier pages of the same list
    session    int64[V]
    step       int64[V]    pages asked for before in this session
    seed       uint64[V]   the same for all pages of one list, so that page 2 can go on where page 1 ended
    last_item  int32[V]    the row that the user clicked last, -1 none
    shop       what the shop knows at this moment
    """

    text: Array
    user: Array
    scene: Array
    time_s: Array
    offset: Array
    session: Array
    step: Array
    seed: Array
    last_item: Array
    shop: Storefront

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def history(self) -> ItemLists:
        """V lists of what each user did before, oldest first; columns ``action`` int8, ``time_s`` float64.

        Read before the page is answered: afterwards it holds the answer too.
        """
        return self.shop.histories(self.user)

    @classmethod
    def asking(
        cls, text: Sequence[str], num_items: int, *, user: Array | None = None, time_s: float = 0.0, seed: int = 0
    ) -> Visits:
        """Made by hand, of users without a history; all ``num_items`` rows are on sale."""
        count = len(text)
        none: dict[str, Array] = {"action": np.zeros(0, np.int8), "time_s": np.zeros(0)}
        return cls(
            text=np.array(text, object),
            user=np.zeros(count, np.int64) if user is None else user,
            scene=np.array([Scene.SEARCH if t else Scene.FEED for t in text], np.int8),
            time_s=np.full(count, time_s),
            offset=np.zeros(count, np.int64),
            session=np.arange(count),
            step=np.zeros(count, np.int64),
            seed=(np.arange(count) + seed * 2**32).astype(np.uint64),
            last_item=np.full(count, -1, np.int32),
            shop=Storefront(np.ones(num_items, bool), lambda users: ItemLists.empty(len(users), none)),
        )


@dataclass(frozen=True, eq=False)
class Pages:
    """``item`` int32[V, K], -1 past the end of a short page; ``propensity`` float64[V, K] of the item at its place.

    Raises ContractError when shapes differ.
    """

    item: Array
    propensity: Array

    def __post_init__(self) -> None:
        if self.item.ndim != 2 or self.item.shape != self.propensity.shape:
            raise ContractError(
                f"items {self.item.shape}, propensities {self.propensity.shape}; give both as [visits, places]"
            )

    @classmethod
    def of(cls, lists: ItemLists, k: int) -> Pages:
        """The first ``k`` rows of each list, with their column ``propensity`` where there is one, else 1."""
        head = lists.position < k
        owner, place = lists.owner[head], lists.position[head]
        item = np.full((len(lists), k), -1, np.int32)
        item[owner, place] = lists.item[head]
        propensity = np.ones((len(lists), k))
        if "propensity" in lists.columns:
            propensity[owner, place] = lists["propensity"][head]
        return cls(item, propensity)


Policy = Callable[[Visits, np.random.Generator], Pages]


@dataclass(frozen=True, eq=False)
class Feedback:
    """What shoppers did: ``click``, ``cart``, ``order`` bool[V, K], each only after the one before it; ``leaves`` bool[V]."""

    click: Array
    cart: Array
    order: Array
    leaves: Array


@dataclass(frozen=True, eq=False)
class Minds(_Rows):
    """What V shoppers have in mind; truth.

    user      int64[V]
    query     int64[V]           index into the town's queries, -1 in a feed
    leaf      int16[V]           the shelf that the visit is about
    tastes    int16[V, F]        shelves of interest
    style     float32[V, F, D]   and their styles
    weight    float32[V, F]      from 0 to 1, the strongest interest 1
    buying    bool[V]            about to buy; else looking around
    seen      int32[V, R]        rows shown lately, -1 none
    clicked   int32[V]           the row clicked last, -1 none
    key       uint64[V]          of the luck of this page
    """

    user: Array
    query: Array
    leaf: Array
    tastes: Array
    style: Array
    weight: Array
    buying: Array
    seen: Array
    clicked: Array
    key: Array

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Party:
    """Shoppers at one moment: their visits, and what they have in mind."""

    visits: Visits
    minds: Minds

    def __len__(self) -> int:
        return len(self.visits)

    def select(self, rows: Array) -> Party:
        return Party(self.visits.select(rows), self.minds.select(rows))

    @classmethod
    def joined(cls, parties: Sequence[Party]) -> Party:
        """Several batches as one, at the moment of the first."""
        return cls(Visits.joined([p.visits for p in parties]), Minds.joined([p.minds for p in parties]))


class Oracle(Protocol):
    """What is told what shoppers have in mind, as an upper bound."""

    def answer(self, party: Party, rng: np.random.Generator) -> Pages: ...


def answered(policy: Policy | Oracle, party: Party, rng: np.random.Generator) -> Pages:
    """The pages of a policy, which sees the visits alone, or of an oracle."""
    known = getattr(policy, "answer", None)
    pages: Pages = policy(party.visits, rng) if known is None else known(party, rng)  # type: ignore[operator]
    return pages
