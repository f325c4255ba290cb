"""The supervised stage: pairs with a rationale each as examples, in any order of label and reasoning.

Legend: N pairs, C grades.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aisle.core.env import Progress, silent
from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.relevance._judge.llm import Llm
from aisle.relevance._pairs import Pairs
from aisle.relevance._verdicts import Rationale
from aisle.relevance._writers import Writer
from aisle.training.supervised import Examples


def written_answers(llm: Llm, pairs: Pairs, rationales: Sequence[Rationale | None]) -> list[Array | None]:
    """The answer of each pair as tokens.

    Without a rationale: a label-first judge learns the label alone, and that more would follow; one that reasons first has
    nothing to learn (None).
    """
    order = llm.grammar.order
    if order == "label_only":
        return list(llm.answers_of([llm.grammar.labels[label] for label in pairs.label]))
    texts = ["" if r is None else llm.grammar.write(r) for r in rationales]
    whole = llm.answers_of(texts)
    label_ids = llm.label_ids
    alone = [label_ids[label : label + 1] if order == "label_first" else None for label in pairs.label]
    return [short if r is None else long for r, long, short in zip(rationales, whole, alone, strict=True)]


def examples_of(
    llm: Llm,
    pairs: Pairs,
    items: Items,
    rationales: Sequence[Rationale | None],
    *,
    label_weight: float = 1.0,
    weight_C: Array | None = None,
) -> Examples:
    """Prompts with their answers.

    label_weight  of the label's token beside 1 for each token of reasoning
    weight_C      of the answers of each grade; None for 1

    Raises ContractError where no pair has an answer to learn.
    """
    answers = written_answers(llm, pairs, rationales)
    kept = np.flatnonzero([a is not None for a in answers])
    if not len(kept):
        raise ContractError(
            f"none of {len(pairs)} pairs has a rationale, and a judge that reasons first learns from nothing else; let the "
            "teacher see the label, or set order=label_first"
        )
    prompts = llm.prompts_of(pairs, items)
    lists = [answers[n] for n in kept]
    weights = None
    if label_weight != 1.0 or weight_C is not None:
        of_pair = np.ones(len(pairs)) if weight_C is None else weight_C[pairs.label]
        place = [label_place(llm, a) for a in lists]  # type: ignore[arg-type]
        weights = [
            of_pair[n] * np.where(np.arange(len(a)) == p, label_weight, 1.0).astype(np.float32)  # type: ignore[arg-type]
            for n, a, p in zip(kept, lists, place, strict=True)
        ]
    return Examples([prompts[n] for n in kept], lists, weights)  # type: ignore[arg-type]


def label_place(llm: Llm, answer: Array) -> int:
    """Which token of an answer is its label: the first, or the last grade before the end for a judge that reasons first."""
    if llm.grammar.order != "reason_first":
        return 0
    found = np.flatnonzero(np.isin(answer, llm.label_ids))
    return int(found[-1]) if len(found) else len(answer) - 1


def rationales_of(
    writer: Writer, pairs: Pairs, progress: Progress = silent, task: str = "rationales"
) -> list[Rationale | None]:
    """A rationale for each pair, query by query; None where the writer has none."""
    out: list[Rationale | None] = [None] * len(pairs)
    queries = pairs.by_query()
    for done, (query, places) in enumerate(queries, 1):
        for place, rationale in zip(
            places.tolist(), writer.write(query, pairs.row[places].tolist(), pairs.label[places]), strict=True
        ):
            out[place] = rationale
        progress(task, done, len(queries))
    return out
