"""How a language-model judge serves: as every relevance stage does, with its reasoning on demand, and saved without pickle.

Legend: N pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.method import State
from aisle.relevance._judge.llm import Llm, LlmMethod
from aisle.relevance._judge.reasoned import LONGEST
from aisle.relevance._serving import ServingStage
from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY, Parsed


class JudgeStage(ServingStage[Llm]):
    """See ``ServingStage`` for the columns.

    report  figures of the fit, kept with the stage
    """

    def __init__(
        self, method: LlmMethod, env: Env, llm: Llm, threshold: float, *, report: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(method, env, llm, threshold)
        self.report = dict(report or {})
        llm.backbone.eval()

    @property
    def llm(self) -> Llm:
        return self.reader

    def reasoning(self, queries: Sequence[str], item: Array) -> list[str]:
        """Written now, the likeliest token each time: as many steps as it has tokens."""
        llm = self.llm
        if llm.grammar.order == "label_only":
            return [""] * len(item)
        heads = llm.heads(queries)
        tails = llm.tails(self.env.engine.items, item)
        prompts = [np.concatenate(pair) for pair in zip(heads, tails, strict=True)]
        texts = llm.written(prompts, LONGEST[llm.grammar.form])
        return [in_words(llm.grammar.read(text), text) for text in texts]

    def state(self) -> State:
        own = self.llm.state()
        return State(own.tensors, {**own.values, "threshold": self.threshold, "report": self.report})

    @classmethod
    def restored(cls, method: LlmMethod, state: State, env: Env, kind: type[Llm] = Llm) -> Self:
        """``kind``: how the judge gives its grade; see ``Llm``."""
        values = state.values
        llm = kind.restored(method, state, env)
        return cls(method, env, llm, float(values["threshold"]), report=values["report"])


def in_words(parsed: Parsed, text: str) -> str:
    """The reasoning for a person: verdicts, and the words of its steps where it wrote any; "" where it cannot be read."""
    parts = []
    if parsed.category is not None:
        parts.append(f"kind of product: {CATEGORY[parsed.category]}")
    if parsed.attribute is not None:
        parts.append(f"what was asked of it: {ATTRIBUTE[parsed.attribute]}")
    if "<query>" in text:
        for step, name in (("query", "search"), ("item", "product")):
            found = text.partition(f"<{step}>")[2].partition(f"</{step}>")[0].strip()
            parts += [f"{name} {found}"] if found else []
    return f": {'; '.join(parts)}" if parts else ""
