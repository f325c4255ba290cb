"""The fitted stages of a plan, and a batch's way through them: each call stands behind the guard.

Legend: Q requests, N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from aisle.core.env import Env
from aisle.core.errors import GenerationError
from aisle.core.lists import Array, ItemLists
from aisle.core.method import Method
from aisle.core.requests import Requests, Scene
from aisle.funnel.guard import Guard
from aisle.funnel.page import StageTrace
from aisle.funnel.plan import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """One filled slot: the method, its fitted stage, and the version that names exactly this fit."""

    method: Method
    stage: Any
    version: str


@dataclass(frozen=True, eq=False)
class Stages:
    """Every filled slot of a plan, and what the plan says of each, looked up once.  ``order``: what candidates are ordered by."""

    plan: Plan
    env: Env
    fitted: Mapping[str, Fitted]
    guard: Guard
    order: str

    def __getitem__(self, slot: str) -> Any:
        return self.fitted[slot].stage

    def __contains__(self, slot: str) -> bool:
        return slot in self.fitted

    def answered_by(self, retriever: str, requests: Requests) -> Array:
        """int64[Qa]: the requests whose scene this retriever answers in."""
        scenes = self._scenes[retriever]
        if len(scenes) == len(Scene):
            return np.arange(len(requests))
        return np.array([q for q, scene in enumerate(requests.scene.tolist()) if scene in scenes], np.int64)

    def can_read(self, slot: str, requests: Requests, lists: ItemLists | None = None) -> bool:
        """Whether every column that the slot reads is there (a skipped stage leaves some out)."""
        there = requests.columns.keys() | (lists.columns.keys() if lists is not None else set())
        return self._reads[slot] <= there

    def check_generation(self, slot: str, lists: ItemLists) -> None:
        """Raises GenerationError for lists of another catalogue's rows."""
        if lists.generation not in (None, self.env.engine.generation):
            raise GenerationError(
                f"{slot} answered with rows of generation {lists.generation}, the shop is at {self.env.engine.generation}: "
                f"a row number names another item there; fit the stage again"
            )

    @cached_property
    def encoders(self) -> list[str]:
        return sorted(self.plan.encoders())

    @cached_property
    def _scenes(self) -> dict[str, tuple[int, ...]]:
        return {name: self.plan.answers_in(name) for name in self.plan.retrieval}

    @cached_property
    def _reads(self) -> dict[str, frozenset[str]]:
        return {slot: fitted.method.reads for slot, fitted in self.fitted.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """
    A batch's way through the stages.

    trace   what ran, how long, and what was skipped and why
    strict  raise what a stage raises, instead of going on without it
    """

    stages: Stages
    strict: bool
    trace: list[StageTrace]

    def run(self, slot: str, requests: Requests, work: Callable[[], Any], rows: Callable[[Any], int] = len) -> Any:
        """What ``work`` returns, or None when the slot was skipped or failed."""
        return self.stages.guard.run(slot, requests, work, self.trace, strict=self.strict, rows=rows)

    def beside(self) -> Way:
        """The same way with a trace of its own, for another thread."""
        return Way(self.stages, self.strict, [])


def num_rows(lists: ItemLists) -> int:
    """What a stage that answers with lists reports as its rows."""
    return len(lists.item)
