"""What answers right now, and what ties the process that answers to the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.core.roles import BagMaker
from aisle.engine.embedded.behaviour import LiveBehaviour
from aisle.funnel import Funnel
from aisle.funnel.guard import Guard
from aisle.serve.board import Board
from aisle.serve.writing import Writing

MOST_WORDS = 8
"""Words of the longest query that is asked before a funnel answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """What answers right now; ``behaviour``: where users' histories are taken from."""

    funnel: Funnel
    plan_name: str
    behaviour: LiveBehaviour | None = None

    def history(self, user: int, at_s: float) -> ItemLists | None:
        """One list: what the user did before a time, as far as the log has been taken in.  None: unknown."""
        return None if user < 0 or self.behaviour is None else self.behaviour.history(user, at_s)


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """What ties a reading process to the others: the way to the one that writes, and the board of all."""

    writing: Writing
    board: Board


def warmed(funnel: Funnel) -> Funnel:
    """The same funnel after its first, slow requests; what these took does not count against its stages.

    Some have one word, some two and so on, since an encoder may prepare for each length.
    """
    titles = funnel.env.engine.items.text("title", np.flatnonzero(funnel.env.engine.items.live)[:2])
    lengths = [" ".join("a" * words) for words in range(1, 1 + MOST_WORDS)]
    for query in [*(" ".join(title.split()[:2]) for title in titles), *lengths, ""]:
        funnel.serve(Requests.make([query]), facets=None)
    return replace(funnel, guard=Guard())


def bag_makers(funnel: Funnel) -> dict[str, BagMaker]:
    """Model -> the fitted stage that makes its bags of items."""
    return {model: funnel.fitted[slot].stage for model, slot in funnel.plan.bags().items()}
