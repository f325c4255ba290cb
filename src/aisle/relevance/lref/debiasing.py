"""DPO against optimistic bias: pairs from the judge's own beams, and a report of which way it errs.

Where the likeliest answer is wrong, the right grade mostly stands right behind it: the knowledge is there, the order is off.  So
the preferred answer is the best beam with the right grade, the rejected one the first beam.

A judge that mostly rates too low, as a small one may, is turned the other way by the same means.

Such pairs alone show the judge nothing but its mistakes, three of four of them too high, and the shortest way to please them is to
grade everything lower.  So pairs that hold stand beside them: prompts whose first beam is right, preferred to the second.

Legend: N pairs, G beams, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Constraint
from aisle.relevance._judge.llm import Llm
from aisle.relevance._tiers import confusion, optimism
from aisle.training.preference import Preferences

CHUNK = 64
"""Prompts of one beam search."""


@dataclass(frozen=True, eq=False)
class Beams:
    """
    answers  G token lists of each prompt, the likeliest first
    label    int64[N, G]  the grade that each says, -1 where it says none
    """

    answers: Sequence[Sequence[Array]]
    label: Array


@dataclass(frozen=True)
class Bias:
    """
    too_high, too_low  shares of all pairs that are rated above and below their grade
    index              their difference: above 0 the judge is optimistic
    second             share of the wrong first beams behind which the second one is right; NaN without beams
    """

    too_high: float
    too_low: float
    index: float
    second: float = float("nan")

    def as_dict(self) -> dict[str, float | None]:
        return {name: None if value != value else round(value, 5) for name, value in asdict(self).items()}


def beams_of(llm: Llm, prompts: Sequence[Array], width: int, longest: int, *, only_labels: bool) -> Beams:
    """The likeliest answers to each prompt.

    only_labels  an answer is a grade and its end: the beams are the grades in the order of their chances
    """
    answers: list[list[Array]] = []
    constraint = _label_then_end(llm) if only_labels else None
    width = min(width, len(llm.scale)) if only_labels else width
    for start in range(0, len(prompts), CHUNK):
        part = prompts[start : start + CHUNK]
        found, _ = llm.backbone.beams(part, width, longest, constraint=constraint)
        lists = found.lists()
        answers += [lists[n * width : (n + 1) * width] for n in range(len(part))]
    place = {int(token): c for c, token in enumerate(llm.label_ids)}
    label = np.array([[_label(answer, place, llm.grammar.order == "label_first") for answer in of] for of in answers])
    return Beams(answers, label.reshape(len(prompts), -1))


def preferences(
    prompts: Sequence[Array], beams: Beams, gold_N: Array, *, other_share: float, held: float = 0.0, seed: int,
    optimist: bool = True,
) -> tuple[Preferences, dict[str, int]]:  # fmt: skip
    """Pairs for DPO, and how many came of over-rated, under-rated and rightly rated prompts.

    optimist     whether all over-rated prompts are used, or all under-rated ones
    other_share  of the wrong ones: how many prompts of the other kind, or an optimist would turn into a pessimist
    held         rightly rated prompts for each wrong one
    """
    first_N, right_NG = beams.label[:, 0], beams.label == gold_N[:, None]
    random = np.random.default_rng((seed, 0xD0))
    usable = np.flatnonzero((first_N >= 0) & (first_N != gold_N) & right_NG.any(1))
    over, under = usable[first_N[usable] > gold_N[usable]], usable[first_N[usable] < gold_N[usable]]
    share = other_share / (1 - other_share)
    if optimist:
        under = random.permutation(under)[: round(share * len(over))]
    else:
        over = random.permutation(over)[: round(share * len(under))]
    right = np.flatnonzero((first_N == gold_N) & (beams.label[:, 1] >= 0))
    right = random.permutation(right)[: round(held * (len(over) + len(under)))]
    wrong = np.sort(np.concatenate([over, under]))
    picked = [(n, int(right_NG[n].argmax()), 0) for n in wrong] + [(n, 0, 1) for n in np.sort(right)]
    pairs = Preferences(
        [prompts[n] for n, _, _ in picked],
        [[beams.answers[n][better]] for n, better, _ in picked],
        [[beams.answers[n][worse]] for n, _, worse in picked],
    )
    return pairs, {"over": len(over), "under": len(under), "held": len(right)}


def bias(gold_N: Array, said_N: Array, num_grades: int, beams: Beams | None = None) -> Bias:
    """Which way the grades err."""
    counts = confusion(gold_N, said_N, num_grades)
    total = max(int(counts.sum()), 1)
    second = float("nan")
    if beams is not None and beams.label.shape[1] > 1:
        wrong = beams.label[:, 0] != gold_N
        if wrong.any():
            second = float((beams.label[wrong, 1] == gold_N[wrong]).mean())
    high, low = float(np.triu(counts, 1).sum() / total), float(np.tril(counts, -1).sum() / total)
    return Bias(high, low, optimism(counts), second)


def _label(answer: Array, place: dict[int, int], first: bool) -> int:
    """The grade of an answer: its first token, or its last before the end."""
    said = [place[int(token)] for token in answer if int(token) in place]
    return (said[0] if first else said[-1]) if said else -1


def _label_then_end(llm: Llm) -> Constraint:
    """A grade as first token, the end as second."""
    masks = torch.zeros(2, llm.backbone.vocab_size, dtype=torch.bool, device=llm.backbone.device)
    masks[0, torch.from_numpy(llm.label_ids)] = True
    masks[1, llm.words.end_id] = True
    return lambda token_St: masks[min(token_St.shape[1], 1)].expand(len(token_St), -1)
