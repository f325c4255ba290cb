"""Where the time of a page goes: milliseconds of its parts, median over queries.

The parts are timed from outside, so that serving pays nothing for it.  With a second processor the vectors are found beside the
words: ``waited`` is what is left of them by then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np

from aisle.core.requests import Requests
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.text import EmbeddedText
from aisle.engine.embedded.vectors import Vectors
from aisle.funnel import Funnel, ordering, paging, retrieving
from aisle.funnel.beside import HELPER, Errand

PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "words": ((EmbeddedText, "match"), (EmbeddedText, "search")),
    "vectors": ((Vectors, "search"),),
    "joined": ((retrieving, "candidates"),),
    "fused": ((ordering, "scored"),),
    "facets": ((EmbeddedEngine, "count"),),
    "put together": ((paging, "assemble"),),
    "waited": ((Errand, "result"),),
}
WITHIN = {"put together": "facets"}
"""A part that another one is counted in."""


@contextmanager
def clocked(taken_ms: dict[str, float]) -> Iterator[None]:
    """Every part adds what it takes."""
    with_clock = [
        patch.object(owner, name, _clocked(getattr(owner, name), part, taken_ms))
        for part, places in PARTS.items()
        for owner, name in places
    ]
    for one in with_clock:
        one.start()
    try:
        yield
    finally:
        for one in with_clock:
            one.stop()


def _clocked(call: Callable[..., Any], part: str, taken_ms: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            taken_ms[part] += (perf_counter() - start) * 1e3

    return timed


def parts_of(funnel: Funnel, requests: Sequence[Requests], facets: Sequence[str], helped: bool) -> dict[str, float]:
    """Part -> median milliseconds, and ``whole``; the second of two rounds."""
    taken: dict[str, list[float]] = defaultdict(list)
    before, HELPER.is_wanted = HELPER.is_wanted, helped
    try:
        mine: dict[str, float] = defaultdict(float)
        with clocked(mine):  # once for all: a class that changes makes the interpreter forget what it has learned
            for one in [*requests, *requests]:
                funnel.env.engine.text.forget()
                mine.clear()
                start = perf_counter()
                funnel.serve(one, facets=facets, strict=True)
                mine["whole"] = (perf_counter() - start) * 1e3
                for outer, inner in WITHIN.items():
                    mine[outer] -= mine[inner]
                for part in (*PARTS, "whole"):
                    taken[part].append(mine[part])
    finally:
        HELPER.is_wanted = before
    return {part: float(np.median(times[len(requests) :])) for part, times in taken.items()}
