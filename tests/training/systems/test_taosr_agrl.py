"""TaoSR-AGRL on the core: gated rewards of several parts, and guided replay of prompts that the policy never answers.

An answer is a label and a verdict that must lead to it.  The policy starts out sure of a wrong answer to half of the prompts, and
right about all of them under a hint.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, accuracy, model, right
from torch import Tensor

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.tiny import Tiny
from aisle.training.advantages import CLAMP, group_advantage
from aisle.training.lessons import Ask, PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import GroupLoss, clipped
from aisle.training.rollouts import TextRollout, sample_freely, with_old_logp
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, example_batches, supervised_loss

G, HINT, STEPS = 8, 3, 45
HARD = ASKED[ASKED % 2 == 0]
TRIGGER = 1 / 8
"""A group with no larger share of right answers gets help."""

WEIGHT = torch.tensor([0.7, 0.3])
"""Of the label and of the verdict."""


def parts(rollout: TextRollout) -> Tensor:
    """float[Q, G, 3]: right label, right verdict, and whether label and verdict agree (the gate)."""
    said = [[[a[0] == right(t), a[1:2] == right(t), a[0] == a[1:2]] for a in of] for t, of in _by_prompt(rollout)]
    return torch.tensor([[[bool(np.all(p) and np.size(p)) for p in a] for a in of] for of in said]).float()


def _by_prompt(rollout: TextRollout) -> zip:
    return zip(rollout.index.tolist(), rollout.answers, strict=True)


def reward(rollout: TextRollout) -> Tensor:
    part_QGC = parts(rollout)
    return (part_QGC[..., :2] @ WEIGHT) * part_QGC[..., 2]


def hinted(t: int, level: int) -> Array:
    """The prompt with nothing, with a rule's mark, or with the label itself."""
    return np.array([t, HINT, right(t)][: 1 + level])


def answered(module: Tiny, ask: Ask, group: int, level: int = 0) -> TextRollout:
    prompts = [hinted(int(t), level) for t in ask.index]
    rollout = sample_freely(module, ask.index, prompts, group, Sampling(max_new=3), ask.generator)
    return rollout.noted(guided=torch.full((len(ask.index) * group,), level > 0))


def guided(module: Tiny, ask: Ask) -> TextRollout:
    """Where a group failed, its worst half gives way to answers drawn under the least hint that helps, scored as if without."""
    rollout = answered(module, ask, G)
    for level in (1, 2) if ask.lesson < STEPS * 2 / 3 else ():
        reward_QG = reward(rollout)
        failed = np.flatnonzero(reward_QG.eq(1).float().mean(1).numpy() <= TRIGGER)
        if len(failed):
            worst = reward_QG[failed].argsort(dim=1, stable=True)[:, : G // 2].numpy()
            helped = answered(module, replace(ask, index=ask.index[failed]), G // 2, level)
            plain = replace(helped, prompts=[rollout.prompts[q] for q in failed])
            rollout = rollout.exchanged(failed, worst, with_old_logp(module, plain))
    return rollout


def again(reward_QG: Tensor, rollout: TextRollout, times_Q: Array) -> Array:
    """Back after 2, 4 and 8 lessons, until more than half of the answers are right."""
    solved_Q = reward_QG.eq(1).float().mean(1).numpy() > 0.5
    return np.where(solved_Q | (times_Q > 2), 0, 2 * 2 ** np.minimum(times_Q, 2))


def shaped(logp_SR: Tensor, ratio_SR: Tensor, advantage_SR: Tensor, rollout: TextRollout) -> Tensor:
    """LUFFY's p / (p + .1) in the place of the ratio where an answer was guided, not clipped."""
    chance_SR = logp_SR.exp()
    free = clipped(ratio_SR, advantage_SR)
    return torch.where(rollout.columns["guided"][:, None], -chance_SR / (chance_SR + 0.1) * advantage_SR, free)


def steps(sample: object) -> PolicySteps[TextRollout]:
    return PolicySteps(
        sample=sample, reward=reward, loss=GroupLoss(kl=0.0), again=again,
        advantage=lambda reward_QG, rollout: group_advantage(reward_QG, clamp=CLAMP),
        note=lambda reward_QG, rollout: {"adherence": float(parts(rollout)[..., 2].mean())},
    )  # fmt: skip


@pytest.fixture(scope="module")
def started() -> Tiny:
    module = model()
    wrong = {int(t): right(int(t)) + (1 if t in HARD else 0) for t in ASKED}
    lessons = [(hinted(int(t), level), right(int(t)) if level else wrong[int(t)]) for t in ASKED for level in range(3)]
    examples = Examples([p for p, _ in lessons], [np.array([a, a, END]) for _, a in lessons])
    train(module, example_batches(examples, 24), supervised_loss, TrainSettings(epochs=100, lr=6e-3, warmup=0.0))
    return module.eval()


def test_a_right_label_that_its_verdict_contradicts_earns_nothing():
    answers = [[np.array([12, 12, END]), np.array([12, 13, END]), np.array([13, 13, END]), np.array([12])]]
    rollout = TextRollout(np.array([4]), [np.array([4])], answers, torch.zeros(4, 3))
    assert reward(rollout).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_guided_answers_are_learned_without_the_hint(started):
    ask = Ask(HARD, np.zeros(len(HARD), np.int64), 0, torch.Generator().manual_seed(0))
    rollout = guided(started, ask)
    assert rollout.columns["guided"].view(len(HARD), G).sum(1).tolist() == [G // 2] * len(HARD)
    assert all(HINT not in prompt for prompt in rollout.prompts)
    packed = rollout.packed()
    torch.testing.assert_close(rollout.old_logp[:, : packed.is_token.shape[1]], started.logp(packed).detach())
    _, figures = GroupLoss(kl=0.0)(started, rollout, group_advantage(reward(rollout)))
    assert figures["moved"] == 0.0


def test_the_shaped_weight_stands_only_where_an_answer_was_guided():
    rollout = TextRollout(np.array([4]), [np.array([4])], [[np.array([12]), np.array([13])]], torch.full((2, 1), -3.0))
    rollout = rollout.noted(guided=torch.tensor([True, False]))
    logp_SR = torch.full((2, 1), -3.0, requires_grad=True)
    loss = GroupLoss(kl=0.0, surrogate=shaped)
    loss.of(model(), rollout, rollout.packed(), logp_SR, torch.tensor([[1.0, 1.0]]))[0]["policy"].backward()
    p = np.exp(-3.0)
    assert logp_SR.grad[:, 0].tolist() == pytest.approx([-0.5 * p * 0.1 / (p + 0.1) ** 2, -0.5])


def test_guidance_recovers_what_the_policy_never_tries(started):
    module = deepcopy(started)
    assert accuracy(module) == 0.5
    live = {
        sample: next(iter(RolloutBatches(module, HARD, steps(sample), prompts=4, steps=1, tries=0))).figures["live"]
        for sample in (lambda m, ask: answered(m, ask, G), guided)
    }
    assert list(live.values()) == [pytest.approx(0.0, abs=0.25), 1.0]

    functions = steps(guided)
    batches = RolloutBatches(module, ASKED, functions, prompts=8, steps=STEPS, tries=0, seed=2)
    train(module, batches, lesson_loss(functions), TrainSettings(lr=3e-3, warmup=0.0, weight_decay=0.0))
    assert accuracy(module) == 1.0
    assert batches.given == STEPS


def test_failed_prompts_come_back_in_turn_and_after_a_stop(started):
    functions = steps(lambda m, ask: answered(m, ask, G))
    batches = RolloutBatches(deepcopy(started), HARD, functions, prompts=4, steps=20, tries=0)
    lessons = iter(batches)
    next(lessons)
    assert sorted(batches.due.tolist()) == [[2, t, 1] for t in HARD.tolist()]
    next(lessons)
    resumed = RolloutBatches(deepcopy(started), HARD, functions, prompts=4, steps=20, tries=0)
    resumed.load(batches.state())
    third = next(lessons).rollout.index
    assert set(third[:2]) == set(HARD[:2])
    assert next(iter(resumed)).rollout.index.tolist() == third.tolist()
    assert resumed.due.tolist() == batches.due.tolist()
