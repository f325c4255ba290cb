"""TaoSR-SHE on the core: a verdict for every step, advantages by step and outcome, a loss averaged by step.

The task is a chain: two tokens of understanding, a category, and a label that follows from both.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, V, model
from torch import Tensor

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Sampling
from aisle.training.advantages import (
    CLAMP,
    group_advantage,
    over_tokens,
    spread_over_steps,
    step_advantage,
    until_first_error,
)
from aisle.training.lessons import Ask, PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import GroupLoss
from aisle.training.rollouts import TextRollout, by_token, sample_freely
from aisle.training.settings import TrainSettings

OPEN, CATEGORY, LABEL = 20, 12, 16
STEP_OF = np.full(V, -1)
STEP_OF[[OPEN, OPEN + 1]], STEP_OF[[CATEGORY, CATEGORY + 1]], STEP_OF[[LABEL, LABEL + 1]] = 0, 1, 2


def grammar(token_St: Tensor) -> Tensor:
    """Understanding twice, category, label, end."""
    may = torch.zeros(len(token_St), V, dtype=torch.bool)
    may[
        :, [[OPEN, OPEN + 1], [OPEN, OPEN + 1], [CATEGORY, CATEGORY + 1], [LABEL, LABEL + 1], [END]][token_St.shape[1]]
    ] = True
    return may


def truth(prompt: int) -> Array:
    """The four right tokens."""
    one, other = prompt & 1, prompt >> 1 & 1
    return np.array([OPEN + one, OPEN + one, CATEGORY + other, LABEL + (one & other)])


def by_step(rollout: TextRollout) -> TextRollout:
    return rollout.noted(step=by_token([STEP_OF[answer] for answer in rollout.flat]))


def sample(module: torch.nn.Module, ask: Ask) -> TextRollout:
    prompts = [np.array([t]) for t in ask.index]
    return by_step(sample_freely(module, ask.index, prompts, 8, Sampling(max_new=5), ask.generator, grammar))


def verdicts(rollout: TextRollout) -> Tensor:
    """float[Q, G, 3]: 1 for a right step, -1 for a wrong one; the last is the label."""
    right = np.array(
        [[a[:4] == truth(int(t)) for a in of] for t, of in zip(rollout.index, rollout.answers, strict=True)]
    )
    steps = np.stack([right[..., :2].all(2), right[..., 2], right[..., 3]], 2)
    return torch.from_numpy(np.where(steps, 1.0, -1.0)).float()


def srpo(reward_QGK: Tensor, rollout: TextRollout, share: float = 0.5, critical_only: bool = True) -> Tensor:
    """float[S, R]: ``share`` of the advantage from the step, the rest from the label; critical steps first, none after an error."""
    outcome_QG1 = group_advantage(reward_QGK[..., -1], ddof=0)[..., None]
    value_QGK = share * step_advantage(reward_QGK, ddof=0) + (1 - share) * outcome_QG1
    if critical_only:
        right_QGK = reward_QGK > 0
        lasting_QGK = until_first_error(right_QGK.flatten(0, 1)).view_as(right_QGK)
        separates_Q1K = ~right_QGK.all(1, keepdim=True)
        critical_QGK = torch.where(right_QGK, separates_Q1K, lasting_QGK)
        weight_QGK = torch.where(critical_QGK, 1.0, 0.2) * lasting_QGK
        weight_QGK[..., -1] = 1.0
        value_QGK = value_QGK * weight_QGK
    return spread_over_steps(value_QGK.clamp(-CLAMP, CLAMP).flatten(0, 1), rollout.columns["step"])


def two_answers() -> TextRollout:
    """Both have the right label; the second misunderstood."""
    answers = [[np.append(truth(7), END), np.array([OPEN, OPEN, CATEGORY + 1, LABEL + 1, END])]]
    return by_step(TextRollout(np.array([7]), [np.array([7])], answers, torch.zeros(2, 5)))


def test_answers_with_one_label_differ_where_their_steps_do():
    rollout = two_answers()
    whole = group_advantage(verdicts(rollout)[..., -1])
    assert (whole == 0).all()
    credit_SR = srpo(verdicts(rollout), rollout)
    assert credit_SR.tolist() == [
        pytest.approx([0.5, 0.5, 0, 0, 0], abs=1e-3),
        pytest.approx([-0.5, -0.5, 0, 0, 0], abs=1e-3),
    ]


def test_each_step_weighs_the_same_however_long_it_is():
    rollout = two_answers()
    packed = rollout.packed()
    logp_SR = torch.zeros(2, 5, requires_grad=True)
    losses, _ = GroupLoss(kl=0.0, per="step").of(model(), rollout, packed, logp_SR, torch.tensor([[1.0, -2.0]]))
    losses["policy"].backward()
    # 1 / (2 answers * 3 steps * tokens of the step) of each answer's advantage.
    share_R = torch.tensor([1 / 12, 1 / 12, 1 / 6, 1 / 6, 0])
    torch.testing.assert_close(logp_SR.grad, torch.stack([-share_R, 2 * share_R]))


def test_with_one_step_and_only_the_outcome_it_is_grpo():
    rollout = sample(model(), Ask(ASKED, np.zeros(8, np.int64), 0, torch.Generator().manual_seed(0)))
    single = rollout.noted(step=rollout.packed().is_token.long() - 1)
    reward_QG1 = verdicts(rollout)[..., -1:]
    module, loss = model(), GroupLoss(kl=0.0, per="step", constraint=grammar)
    ours, _ = loss(module, single, srpo(reward_QG1, single, share=0.0, critical_only=False))
    advantage_QG = group_advantage(reward_QG1[..., 0], ddof=0).clamp(-CLAMP, CLAMP)
    grpo, _ = GroupLoss(kl=0.0, constraint=grammar)(module, rollout, advantage_QG)
    torch.testing.assert_close(ours["policy"], grpo["policy"])


def test_verdicts_of_steps_teach_the_whole_chain():
    module = model()
    functions = PolicySteps(
        sample=sample, reward=verdicts, advantage=srpo, loss=GroupLoss(kl=0.0, per="step", constraint=grammar),
        note=lambda reward, rollout: {f"right/{k}": float((reward[..., k] > 0).float().mean()) for k in range(3)},
    )  # fmt: skip
    batches = RolloutBatches(module, ASKED, functions, prompts=8, steps=60, seed=1)
    train(module, batches, lesson_loss(functions), TrainSettings(lr=5e-3, warmup=0.0, weight_decay=0.0))
    lesson = batches._draw()
    assert min(lesson.figures[f"right/{k}"] for k in range(3)) > 0.9
    assert over_tokens(lesson.advantage, lesson.rollout.packed().is_token).shape[1] == 5
