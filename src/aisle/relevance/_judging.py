"""How a judge serves: the top of the list within a budget, chances by prefill, one grade by CumPT, reasoning on demand.

Legend: Q requests, N candidates, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any

import numpy as np

from aisle.core import registry
from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import State
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.nn.backbones.backbone import Sampling
from aisle.relevance._grammar import ATTRIBUTE, CATEGORY, Parsed
from aisle.relevance._llm import Llm, LlmMethod
from aisle.relevance._tiers import cumulative_grade

BAD, MID, GOOD = 0, 1, 2
"""Tiers as the column ``tier`` has them; -1 for a candidate that was not judged."""

EXPLAINED = 10
"""Rows of a page whose reasoning is written at most; it takes as many steps as it has tokens."""

MAX_REASONING = 96
"""Tokens."""


class JudgeStage:
    """Fitted: ``relevance`` float32[N], the expected grade from 0 (worst) to 1 (best), and ``tier`` int8[N].

    What was not judged (beyond ``top``, or when time was up) takes the lowest relevance judged in its request, 0 where
    nothing was, and the tier -1.

    threshold    of CumPT
    cue          what ends the prompt of the task that is served
    explain_cue  the same of the task that writes reasoning
    """

    def __init__(
        self, method: LlmMethod, env: Env, llm: Llm, threshold: float, *, cue: str = "", explain_cue: str = "",
        report: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.method, self.env, self.llm, self.threshold = method, env, llm, threshold
        self.cue, self.explain_cue = cue, explain_cue
        self.report = dict(report or {})
        llm.backbone.eval()

    # -- serving -------------------------------------------------------------------------------------------------------

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        chance_NC, judged_N = self._judge(requests, candidates)
        relevance = _filled(self.expected(chance_NC), judged_N, candidates)
        tier = np.where(judged_N, tiers(self.grades(chance_NC), chance_NC.shape[1]), -1)
        return {"relevance": relevance, "tier": tier.astype(np.int8)}

    def chances(self, queries: Sequence[str], lists: ItemLists) -> Array:
        """float32[N, C] of every row, whatever time it takes: for students, evaluation and ``aisle judge``."""
        rows = [lists.item[a:b] for a, b in zip(lists.splits[:-1], lists.splits[1:], strict=True)]
        return self.llm.chances(queries, rows, self.env.engine.items, chunk=64, cue=self.cue)

    def grades(self, chance_NC: Array) -> Array:
        """int64[N]: places on the scale, by CumPT."""
        return cumulative_grade(chance_NC, self.threshold)

    @staticmethod
    def expected(chance_NC: Array) -> Array:
        """float32[N]: the mean grade, 0 the worst and 1 the best."""
        place_C = np.arange(chance_NC.shape[1], dtype=np.float32) / (chance_NC.shape[1] - 1)
        mean: Array = chance_NC @ place_C
        return mean.astype(np.float32)

    def _judge(self, requests: Requests, candidates: ItemLists) -> tuple[Array, Array]:
        """Chances [N, C], and which rows were judged bool[N]."""
        out = np.zeros((len(candidates.item), len(self.llm.scale)), np.float32)
        judged_N = np.zeros(len(candidates.item), bool)
        heads, items, owner = self.llm.heads(requests.query), self.env.engine.items, candidates.owner
        ends_s = min(requests.deadline_s, monotonic() + self.method.budget_ms / 1e3)
        longest_s = 0.0
        for part in _chunks(requests, candidates, self.method.top, self.method.chunk):
            start_s = monotonic()
            if ends_s != inf and start_s + longest_s > ends_s:
                break
            tails = self.llm.tails(items, candidates.item[part], cue=self.cue)
            out[part] = self.llm.chances_of([heads[q] for q in owner[part]], tails)
            judged_N[part] = True
            longest_s = max(longest_s, monotonic() - start_s)
        return out, judged_N

    # -- reasons -------------------------------------------------------------------------------------------------------

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """The grade of each shown row and the model's reasoning for it, written now; for the first rows of a page."""
        asked = np.array([bool(query) for query in requests.query], bool)
        rows = np.flatnonzero(asked[page.owner]) if len(page.item) else np.zeros(0, np.int64)
        rows = rows[:EXPLAINED]
        out: list[list[Reason]] = [[] for _ in page.item]
        if not len(rows):
            return out
        shown, heads = page.take(rows), self.llm.heads(requests.query)
        chance_NC = self.chances(requests.query, shown)
        place_N, relevance_N = self.grades(chance_NC), self.expected(chance_NC)
        said = self._reasoning([heads[q] for q in shown.owner], shown.item)
        name, scale = registry.name_of(self.method), self.llm.scale
        for n, row in enumerate(rows.tolist()):
            sure = f"judged {scale.names[place_N[n]]} ({100 * chance_NC[n, place_N[n]]:.0f}% sure)"
            out[row] = [Reason(name, f"{sure}{in_words(*said[n])}", float(relevance_N[n]))]
        return out

    def _reasoning(self, heads: Sequence[Array], item: Array) -> list[tuple[Parsed, str]]:
        """What the model writes for each pair: as parsed, and as text."""
        llm = self.llm
        if llm.grammar.order == "label_only":
            return [(Parsed(), "")] * len(item)
        tails = llm.tails(self.env.engine.items, item, cue=self.explain_cue)
        prompts = [np.concatenate(pair) for pair in zip(heads, tails, strict=True)]
        answers = llm.backbone.sample(prompts, 1, Sampling(max_new=MAX_REASONING, temperature=0.0))
        texts = llm.words.decode(answers.lists())
        return [(llm.grammar.read(text), text) for text in texts]

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        own = self.llm.state()
        values = {"threshold": self.threshold, "cue": self.cue, "explain_cue": self.explain_cue, "report": self.report}
        return State(own.tensors, {**own.values, **values})

    @classmethod
    def restored(cls, method: LlmMethod, state: State, env: Env) -> JudgeStage:
        values = state.values
        return cls(
            method, env, Llm.restored(method, state, env), float(values["threshold"]),
            cue=values["cue"], explain_cue=values["explain_cue"], report=values["report"],
        )  # fmt: skip


def tiers(place_N: Array, num_grades: int) -> Array:
    """int64[N]: GOOD for the upper half of the grades, MID for the one below it, BAD for the rest (TaoSR1's four grades: two,
    one, one)."""
    good = (num_grades + 1) // 2
    middle = good - 1 if num_grades > 2 else good
    return np.where(place_N >= good, GOOD, np.where(place_N >= middle, MID, BAD))


def in_words(parsed: Parsed, text: str) -> str:
    """The reasoning for a person: verdicts, and the words of its steps where it wrote any; "" where it cannot be read."""
    parts = []
    if parsed.category is not None:
        parts.append(f"kind of product: {CATEGORY[parsed.category]}")
    if parsed.attribute is not None:
        parts.append(f"what was asked of it: {ATTRIBUTE[parsed.attribute]}")
    if "<query>" in text:
        for step in ("query", "item"):
            found = text.partition(f"<{step}>")[2].partition(f"</{step}>")[0].strip()
            parts += [f"{'search' if step == 'query' else 'product'} {found}"] if found else []
    return f": {'; '.join(parts)}" if parts else ""


def _chunks(requests: Requests, candidates: ItemLists, top: int, chunk: int) -> Iterator[Array]:
    """Rows to judge, ``chunk`` of a request at a time, the best-ranked first and requests in turn."""
    asked = np.array([bool(query.strip()) for query in requests.query], bool)
    place_N, owner = _places(candidates), candidates.owner
    chosen = np.flatnonzero((place_N < top) & asked[owner]) if len(owner) else np.zeros(0, np.int64)
    turn = place_N[chosen] // chunk
    order = chosen[np.lexsort((place_N[chosen], owner[chosen], turn))]
    for start in range(0, len(order), chunk):
        yield order[start : start + chunk]


def _places(candidates: ItemLists) -> Array:
    """int64[N]: 0 for the row of a request that some retriever ranked best, then 1, ...; ties go to the lower catalogue row.

    It does not depend on the order of the candidates.
    """
    best_N = np.full(len(candidates.item), np.iinfo(np.int64).max)
    for name, column in candidates.columns.items():
        if name.startswith("rank_"):
            best_N = np.minimum(best_N, np.where(column >= 0, column, best_N))
    order = np.lexsort((candidates.item, best_N, candidates.owner))
    place_N = np.empty(len(order), np.int64)
    place_N[order] = candidates.position
    return place_N


def _filled(value_N: Array, judged_N: Array, candidates: ItemLists) -> Array:
    """The values, with the lowest judged one of the request where a row was not judged."""
    lowest_Q = np.full(len(candidates), inf, np.float32)
    np.minimum.at(lowest_Q, candidates.owner[judged_N], value_N[judged_N])
    lowest_Q[np.isinf(lowest_Q)] = 0.0
    filled: Array = np.where(judged_N, value_N, lowest_Q[candidates.owner] if len(candidates) else value_N)
    return filled.astype(np.float32)
