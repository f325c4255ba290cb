"""Who writes the reasoning that a judge learns from: rules over displayed text, or a chat endpoint that the user names.

teacher  by rules: ``tagger`` finds what a query asks for and what an item says, ``rules`` the statement that a verdict quotes
chat     asks the endpoint
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.method import Settings
from aisle.core.shop import Items
from aisle.relevance._scale import Scale
from aisle.relevance._verdicts import Rationale
from aisle.relevance._writers.chat import Chat, ChatTeacher
from aisle.relevance._writers.rules import RuleStore
from aisle.relevance._writers.tagger import Tagger
from aisle.relevance._writers.teacher import Teacher


class Writer(Protocol):
    """Whoever writes rationales."""

    def write(self, query: str, rows: Sequence[int], labels: Array) -> list[Rationale | None]:
        """The reasoning behind the label (a place on the scale) of each of a query's rows; None where there is none to keep."""
        ...


class Rationales(Settings):
    """
    by          ``rules``: the teacher that reads displayed text by the catalogue's own words; ``chat``: the endpoint below
    sees_label  whether the writer is told the human label; one that is not keeps what leads to it and drops the rest
    step_noise  of ``rules``: chance that a written verdict is another one than the teacher found, the label staying as it is
    rules       file of the shop's own rules, one a line; "" for those that come with aisle
    chat        endpoint and model
    """

    by: Literal["rules", "chat"] = "rules"
    sees_label: bool = True
    step_noise: float = Field(0.0, ge=0, le=1)
    rules: str = ""
    chat: Chat = Chat()

    def writer(self, items: Items, scale: Scale, env: Env) -> Writer:
        """Raises DataError for a file without rules, SettingError for a chat endpoint without an address or a model."""
        store = RuleStore.read(Path(self.rules)) if self.rules else RuleStore()
        if self.by == "chat":
            return ChatTeacher(self.chat, items, scale, store, sees_label=self.sees_label, home=env.scratch)
        return Teacher(
            Tagger(items), scale, store, sees_label=self.sees_label, step_noise=self.step_noise, seed=env.seed
        )
