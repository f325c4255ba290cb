"""How well a judge does, and whether it believes its own reasoning.

Legend: N pairs, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.nn.backbones.backbone import Sampling
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.reasoned import LONGEST
from aisle.relevance._pairs import Pairs
from aisle.relevance._tiers import confusion, cumulative_grade, f1_by_grade, optimism
from aisle.relevance._verdicts import Parsed, RuleTable

CHUNK = 128


@dataclass(frozen=True)
class Measured:
    """
    macro_f1, accuracy, f1  of the grades by CumPT; f1 is each grade's, the worst first (None: none there)
    argmax_macro_f1         of the likeliest grades
    optimism                P(too high) - P(too low)
    hallucination           share of whole answers whose label is not the one that their own verdicts lead to; None where no
                            reasoning can be read
    whole                   share of answers that keep the grammar; None where none were written
    """

    macro_f1: float
    accuracy: float
    f1: list[float | None]
    argmax_macro_f1: float
    optimism: float
    hallucination: float | None
    whole: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def said_of_pairs(
    llm: Llm, pairs: Pairs, items: Items, *, temperature: float = 0.0, group: int = 1, seed: int = 0
) -> list[Parsed]:
    """What the judge writes of each pair: the likeliest token each time, or drawn at a temperature above 0; ``group`` answers to
    each, pair by pair."""
    prompts = llm.prompts_of(pairs, items)
    sampling = Sampling(max_new=LONGEST[llm.grammar.form], temperature=temperature)
    generator = torch.Generator(llm.backbone.device).manual_seed(seed)
    out: list[Parsed] = []
    for start in range(0, len(prompts), CHUNK):
        out += llm.read(llm.backbone.sample(prompts[start : start + CHUNK], group, sampling, generator=generator))
    return out


def hallucination_rate(said: Sequence[Parsed], table: RuleTable) -> float | None:
    """Discriminative hallucination among answers whose reasoning can be read; None where none can."""
    readable = [p for p in said if None not in (p.label, p.category, p.attribute)]
    return float(np.mean([table.contradicts(p) for p in readable])) if readable else None


def measured(chance_NC: Array, gold_N: Array, threshold: float, said: Sequence[Parsed] = ()) -> Measured:
    """Figures of chances against labels; ``said``: of the answers that were written, where there are any."""
    num_grades = chance_NC.shape[1]
    table = RuleTable(num_grades)
    graded = confusion(gold_N, cumulative_grade(chance_NC, threshold), num_grades)
    likeliest = confusion(gold_N, chance_NC.argmax(1), num_grades)
    f1_C = f1_by_grade(graded)
    return Measured(
        float(np.nanmean(f1_C)),
        float(np.trace(graded) / max(graded.sum(), 1)),
        [None if np.isnan(f) else float(f) for f in f1_C],
        float(np.nanmean(f1_by_grade(likeliest))),
        optimism(graded),
        hallucination_rate(said, table),
        float(np.mean([p.complete for p in said])) if said else None,
    )
