"""Env: what a fit and a stage may use besides the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aisle.core.errors import StateError, UnknownName, nearest
from aisle.core.lists import Array
from aisle.core.shop import Counter, Counts, Engine


class Encoder(Protocol):
    """Texts to unit vectors: a named artifact that several stages share."""

    name: str
    dim: int
    revision: str
    """Another one whenever the same text would get another vector: kept encodings are told apart by it."""

    def encode(self, texts: Sequence[str]) -> Array:
        """float32[N, D], rows of length 1 (0 for an empty text)."""
        ...


class Progress(Protocol):
    """Where long work reports; the command line draws bars, a test may count."""

    def __call__(self, task: str, done: int, total: int | None) -> None: ...


def silent(task: str, done: int, total: int | None) -> None:
    """No progress shown."""


def in_words(figures: Mapping[str, Any]) -> str:
    """The numbers among what a step of a fit reports, and whether it was taken back: ``macro f1 0.412, pairs 512``."""
    numbers = [
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items() if type(value) in (int, float)
    ]
    return ", ".join([*numbers, *(["taken back"] if figures.get("taken_back") else [])])


@dataclass(frozen=True, kw_only=True, eq=False)
class Env:
    """
    engine    the indexes of the shop's current generation
    encoders  name -> Encoder, as they are needed
    counters  where ``counts`` is answered: behaviour as a server accepts it; a plan that is fitted without gets its view's
    seed      of everything random in a fit
    device    where torch methods run
    scratch   a folder that a fit may fill; None for memory only
    progress  called while long work runs
    log       takes a line for a person, on what long work has come to
    """

    engine: Engine
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    counters: Counts | None = None
    seed: int = 0
    device: str = "cpu"
    scratch: Path | None = None
    progress: Progress = silent
    log: Callable[[str], None] = lambda line: None

    def encoder(self, name: str) -> Encoder:
        """Raises UnknownName when the shop has no such encoder."""
        if name not in self.encoders:
            raise UnknownName(f"no encoder {name!r}{nearest(name, self.encoders)}")
        return self.encoders[name]

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """float64[N]: a counter that the stage's method declares, as of each time: see ``core.shop.Counts``.

        Raises StateError where nothing is counted, UnknownName for a counter that no method of the plan declares.
        """
        if self.counters is None:
            raise StateError(f"nothing counts {counter.name!r} here; give Env(counters=...), such as the shop's view")
        return self.counters.counts(counter, rows, at_s, query)
