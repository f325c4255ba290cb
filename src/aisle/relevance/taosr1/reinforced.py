"""The reinforcement stage: what an answer earns, which groups are learned from, and how much of the gradient the label gets.

Legend: Q prompts, G answers a prompt, S = Q G answers, R answer tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone, Sampling
from aisle.relevance._verdicts import Parsed, RuleTable
from aisle.training.advantages import between, group_advantage
from aisle.training.lessons import Ask, PolicySteps
from aisle.training.policy import GroupLoss, mean_over_answers
from aisle.training.rollouts import TextRollout, sample_freely

Reward = Literal["outcome", "gated"]
Read = Callable[[Sequence[Array]], Sequence[Parsed]]
"""Answers as tokens -> what they say."""


def label_reward(parsed: Parsed, gold: int, table: RuleTable, kind: Reward = "outcome") -> float:
    """1 for the right label, else 0.  ``gated``: only where the reasoning is whole and its verdicts lead to that label."""
    if parsed.label != gold:
        return 0.0
    if kind == "outcome":
        return 1.0
    return float(parsed.complete and not table.contradicts(parsed))


def rewards(rollout: TextRollout, gold_I: Array, read: Read, table: RuleTable, kind: Reward = "outcome") -> Tensor:
    """float32[Q, G]; ``gold_I``: the label of every prompt of the pool, by its number."""
    parsed = read(rollout.flat)
    gold_S = np.repeat(gold_I[rollout.index], rollout.group)
    earned = [label_reward(p, int(g), table, kind) for p, g in zip(parsed, gold_S, strict=True)]
    return torch.tensor(earned).view(len(rollout), rollout.group)


class LabelGradient:
    """How far the label's token and the rest of an answer move the parameters: the norms of their gradients, on every
    ``every``-th step (each costs two more backward passes).

    In label-first training one advantage is shared by all tokens and the reasoning has most of them; this shows what is left
    for the token that decides.
    """

    def __init__(self, every: int = 25) -> None:
        self.every, self._seen = every, 0

    def __call__(self, module: nn.Module, value_SR: Tensor, is_token_SR: Tensor) -> Mapping[str, float]:
        self._seen += 1
        if not self.every or (self._seen - 1) % self.every:
            return {}
        is_label_SR = torch.zeros_like(is_token_SR)
        is_label_SR[:, 0] = is_token_SR[:, 0]
        learned = [p for p in module.parameters() if p.requires_grad]
        label, rest = (
            self._norm(mean_over_answers(value_SR * part, is_token_SR), learned) for part in (is_label_SR, ~is_label_SR)
        )
        return {"gradient/label": label, "gradient/reasoning": rest}

    @staticmethod
    def _norm(loss: Tensor, learned: Sequence[Tensor]) -> float:
        grads = torch.autograd.grad(loss, learned, retain_graph=True, allow_unused=True)
        return float(torch.stack([g.norm() for g in grads if g is not None]).norm())


def grpo_steps(
    prompts: Sequence[Array],
    gold_I: Array,
    read: Read,
    table: RuleTable,
    loss: GroupLoss,
    *,
    group: int,
    sampling: Sampling,
    most_right: float = 1.0,
    kind: Reward = "outcome",
    clamp: float | None = 2.0,
) -> PolicySteps[TextRollout]:
    """GRPO with difficulty-based sampling: only groups with 0 < right answers < gamma are learned from.

    most_right  gamma as a share of the group: 1 drops only groups that are all right or all wrong
    """
    gamma = most_right * group

    def sample(module: Backbone, ask: Ask) -> TextRollout:
        return sample_freely(module, ask.index, [prompts[i] for i in ask.index], group, sampling, ask.generator)

    return PolicySteps(
        sample=sample,
        reward=lambda rollout: rewards(rollout, gold_I, read, table, kind),
        advantage=lambda reward, rollout: group_advantage(reward, clamp=clamp),
        loss=loss,
        pick=lambda reward, rollout: between(reward, gamma),
    )
