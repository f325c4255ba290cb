"""A judge that reasons first: it writes its reasoning, then the chances of the labels are read behind it.

It pays for every item what reading by prefill saves: the reasoning is generated token by token.

Legend: N pairs, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Sampling
from aisle.relevance._judge.grammar import Form, Order
from aisle.relevance._judge.llm import Llm

LONGEST: dict[Form, int] = {"short": 6, "steps": 160}
"""Tokens of an answer at most."""


@dataclass(frozen=True, eq=False)
class ReasonFirst(Llm):
    """``chances_of`` behind the likeliest reasoning; all else is as of every judge."""

    def chances_of(self, heads: Sequence[Array], tails: Sequence[Array]) -> Array:
        prompts = [np.concatenate(pair) for pair in zip(heads, tails, strict=True)]
        sampling = Sampling(max_new=LONGEST[self.grammar.form], temperature=0.0)
        reasoned = [self._reasoning(answer) for answer in self.backbone.sample(prompts, 1, sampling).lists()]
        branches = [[np.concatenate([p[-1:], r])] for p, r in zip(prompts, reasoned, strict=True)]
        with torch.inference_mode():
            chance_NC = self.backbone.label_probabilities([p[:-1] for p in prompts], branches, self.label_ids)
        found: Array = chance_NC.float().cpu().numpy()
        return found

    def _reasoning(self, answer: Array) -> Array:
        """What stands before the label; all but the end where no label comes last."""
        body = answer[answer != self.words.end_id]
        before: Array = body[:-1] if len(body) and body[-1] in self.label_ids else body
        return before


def judge_of(order: Order) -> type[Llm]:
    """The class that reads the grades of answers in this order."""
    return ReasonFirst if order == "reason_first" else Llm
