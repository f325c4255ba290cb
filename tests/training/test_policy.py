"""Group-relative RL: losses in their limits, and a loop that learns, resumes and draws anew."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.together import LIMIT_S, run_together
from tests.training.words_world import ASKED, END, accuracy, model, prompts, right
from torch import Tensor

from aisle.core.errors import ContractError, SettingError
from aisle.nn.backbones.backbone import Sampling
from aisle.training.advantages import group_advantage, spread_over_tokens
from aisle.training.distributed import Workers, workers
from aisle.training.lessons import PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import (
    GroupLoss,
    clipped,
    k3,
    mean_over_answers,
    mean_over_budget,
    mean_over_steps,
    mean_over_tokens,
    on_policy,
    ratio,
)
from aisle.training.rollouts import TextRollout, sample_freely, with_old_logp
from aisle.training.settings import TrainSettings

G = 8


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestLosses:
    def test_unclipped_at_the_old_policy_it_is_reinforce_with_a_group_baseline(self):
        logp_SR = random(4, 3).requires_grad_()
        advantage_SR, everywhere = random(4, 3, seed=1), torch.ones(4, 3, dtype=torch.bool)
        surrogate = clipped(ratio(logp_SR, logp_SR.detach(), everywhere), advantage_SR, low=1e9, high=1e9)
        (ours,) = torch.autograd.grad(surrogate.mean(), logp_SR)
        (reinforce,) = torch.autograd.grad(-(logp_SR * advantage_SR).mean(), logp_SR)
        torch.testing.assert_close(ours, reinforce)
        (unclipped,) = torch.autograd.grad(on_policy(logp_SR, advantage_SR).mean(), logp_SR)
        torch.testing.assert_close(unclipped, reinforce)

    def test_a_ratio_beyond_the_clip_learns_nothing_further_in_that_direction(self):
        logp_SR = torch.tensor([[0.5, -0.5, 0.5, -0.5]], requires_grad=True)
        advantage_SR, everywhere = torch.tensor([[1.0, 1.0, -1.0, -1.0]]), torch.ones(1, 4, dtype=torch.bool)
        clipped(ratio(logp_SR, torch.zeros(1, 4), everywhere), advantage_SR).sum().backward()
        assert (logp_SR.grad != 0).tolist() == [[False, True, True, False]]

    def test_the_ratio_of_a_sequence_is_the_mean_over_its_tokens(self):
        logp_SR = torch.tensor([[0.4, 0.0, 9.0]])
        is_token_SR = torch.tensor([[True, True, False]])
        torch.testing.assert_close(
            ratio(logp_SR, torch.zeros(1, 3), is_token_SR, "sequence"), torch.full((1, 3), 0.2).exp()
        )

    def test_k3_is_never_negative_and_0_where_policies_agree(self):
        assert (k3(random(5, 5), random(5, 5, seed=1)) >= 0).all()
        assert (k3(random(5, 5), random(5, 5)) == 0).all()

    def test_means_differ_by_what_counts_as_one(self):
        value_SR = torch.tensor([[1.0, 1.0, 1.0, 4.0], [5.0, 0.0, 0.0, 0.0]])
        is_token_SR = torch.tensor([[True] * 4, [True, False, False, False]])
        assert mean_over_tokens(value_SR, is_token_SR) == pytest.approx(12 / 5)
        assert mean_over_answers(value_SR, is_token_SR) == pytest.approx((7 / 4 + 5) / 2)
        assert mean_over_budget(value_SR, is_token_SR, 10) == pytest.approx((7 + 5) / 10 / 2)
        step_SR = torch.tensor([[0, 0, 0, 1], [0, -1, -1, -1]])
        assert mean_over_steps(value_SR, step_SR) == pytest.approx(((1 + 4) / 2 + 5) / 2)


def reward(rollout: TextRollout) -> Tensor:
    return torch.tensor(
        [[float(a[0] == right(int(p[0]))) for a in of] for p, of in zip(rollout.prompts, rollout.answers, strict=True)]
    )


def steps(**loss: object) -> PolicySteps[TextRollout]:
    return PolicySteps(
        sample=lambda m, ask: sample_freely(
            m, ask.index, [np.array([t]) for t in ask.index], G, Sampling(max_new=2), ask.generator
        ),
        reward=reward,
        loss=GroupLoss(**{"kl": 0.0, **loss}),
    )


def stream(module: torch.nn.Module, functions: PolicySteps[TextRollout], **how: object) -> RolloutBatches[TextRollout]:
    return RolloutBatches(module, ASKED, functions, **{"prompts": 8, "steps": 60, "seed": 5, **how})


SETTINGS = TrainSettings(lr=3e-3, warmup=0.0, weight_decay=0.0)


class TestGroupLoss:
    def answers(self) -> TextRollout:
        return TextRollout(np.array([4]), prompts()[:1], [[np.array([12, 13, END]), np.array([14])]], torch.zeros(2, 3))

    def gradient(self, **loss: object) -> Tensor:
        """d loss / d logp at the old policy, advantages 1 and -1."""
        rollout, logp_SR = self.answers(), torch.zeros(2, 3, requires_grad=True)
        losses, _ = GroupLoss(kl=0.0, **loss).of(
            model(), rollout, rollout.packed(), logp_SR, torch.tensor([[1.0, -1.0]])
        )
        losses["policy"].backward()
        return logp_SR.grad

    def test_means_weigh_tokens_as_they_say(self):
        assert self.gradient().tolist() == [pytest.approx([-1 / 6] * 3), [0.5, 0.0, 0.0]]
        assert self.gradient(per="token").tolist() == [pytest.approx([-1 / 4] * 3), [0.25, 0.0, 0.0]]
        assert self.gradient(per="budget", budget=10).tolist() == [
            pytest.approx([-1 / 20] * 3),
            pytest.approx([0.05, 0, 0]),
        ]

    def test_another_surrogate_takes_the_place_of_the_clipped_one(self):
        squared = self.gradient(
            surrogate=lambda logp_SR, ratio_SR, advantage_SR, rollout: -(ratio_SR**2) * advantage_SR
        )
        torch.testing.assert_close(squared, 2 * self.gradient())

    def test_a_mean_by_step_needs_the_steps(self):
        with pytest.raises(ContractError, match="column 'step'"):
            self.gradient(per="step")

    @pytest.mark.parametrize("how", [{"per": "budget"}, {"budget": 5}])
    def test_a_budget_belongs_to_its_mean(self, how):
        with pytest.raises(SettingError, match="per='budget'"):
            GroupLoss(**how)


class TestLoop:
    def test_reward_alone_teaches_the_right_answers(self):
        module = model()
        functions = steps()
        before = accuracy(module)
        train(module, stream(module, functions), lesson_loss(functions), SETTINGS)
        assert before < 0.5
        assert accuracy(module) == 1.0

    def test_kl_holds_the_policy_near_its_reference(self):
        moved = {}
        for kl in (0.0, 10.0):
            module = model()
            reference = deepcopy(module)
            functions = steps(kl=kl, reference=reference)
            train(module, stream(module, functions, steps=15), lesson_loss(functions), SETTINGS)
            packed = TextRollout(
                ASKED, prompts(), [[np.array([right(int(t))])] for t in ASKED], torch.zeros(8, 1)
            ).packed()
            with torch.no_grad():
                moved[kl] = float((module.logp(packed) - reference.logp(packed)).abs().mean())
        assert moved[10.0] < moved[0.0] / 3

    def test_stopped_and_resumed_it_takes_the_very_same_steps(self, tmp_path):
        settings = SETTINGS.model_copy(update={"save_every": 5})

        def run(steps_in_all: int, folder) -> torch.nn.Module:
            module = model()
            functions = steps()
            short = settings.model_copy(update={"max_steps": steps_in_all, "schedule": "constant"})
            train(module, stream(module, functions, steps=20), lesson_loss(functions), short, folder=folder)
            return module

        whole = run(10, None)
        run(5, tmp_path)
        resumed = run(10, tmp_path)
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_groups_that_teach_nothing_are_replaced_by_fresh_prompts(self):
        module = model()
        functions = steps()
        easy = PolicySteps(
            sample=functions.sample,
            reward=lambda rollout: reward(rollout) * torch.from_numpy(rollout.index % 2 == 0)[:, None],
            loss=functions.loss,
        )
        batches = stream(module, easy, prompts=4, tries=20)
        lesson = next(iter(batches))
        assert batches.asked > 4
        assert (lesson.rollout.index % 2 == 0).all()
        assert len(lesson.rollout) == 4
        assert 0 < lesson.figures["live"] < 1
        assert lesson.rollout.old_logp.shape[0] == 4 * G

    def test_where_no_group_ever_teaches_the_step_is_empty_and_the_run_goes_on(self):
        module = model()
        hopeless = PolicySteps(
            sample=steps().sample, reward=lambda rollout: torch.zeros(len(rollout), G), loss=steps().loss
        )
        before = [p.clone() for p in module.parameters()]
        train(module, stream(module, hopeless, steps=2), lesson_loss(hopeless), SETTINGS)
        for one, other in zip(before, module.parameters(), strict=True):
            torch.testing.assert_close(one, other)

    def test_figures_are_means_over_all_that_was_drawn(self):
        module = model()
        functions = replace(steps(), note=lambda reward_QG, rollout: {"asked": float(rollout.index.mean()), "one": 1.0})
        batches = stream(module, functions, prompts=8, tries=0)
        figures = next(iter(batches)).figures
        assert figures["asked"] == ASKED.mean()
        assert figures["one"] == 1.0

    def test_half_of_a_lesson_at_most_are_prompts_that_came_back(self):
        module = model()
        every = replace(
            steps(), again=lambda reward_QG, rollout, times_Q: np.ones(len(rollout), np.int64),
            pick=lambda reward_QG, rollout: torch.ones(len(rollout), dtype=torch.bool),
        )  # fmt: skip
        batches = stream(module, every, prompts=4)
        lessons = iter(batches)
        asked = [next(lessons).rollout.index.tolist() for _ in range(3)]
        assert asked[0] == [4, 5, 6, 7]
        assert asked[1] == [4, 5, 8, 9]
        assert asked[2] == [6, 7, 10, 11]
        assert sorted(batches.due[:, 1].tolist()) == list(range(4, 12))

    def test_a_lesson_in_the_middle_cannot_be_saved(self):
        module = model()
        batches = stream(module, steps(), inner=2)
        lessons = iter(batches)
        first = next(lessons)
        with pytest.raises(ContractError, match="multiple of 2"):
            batches.state()
        assert next(lessons) is first
        assert batches.state() == {"asked": [batches.asked], "given": 2, "due": [[]]}

    def test_answers_sampled_under_a_hint_are_learned_under_the_plain_prompt(self):
        """Guided replay: the old policy is re-scored without the hint, so the ratio starts at 1."""
        module = model()
        hinted = sample_freely(
            module,
            ASKED,
            [np.array([t, right(int(t))]) for t in ASKED],
            G,
            Sampling(max_new=2),
            torch.Generator().manual_seed(0),
        )
        plain = with_old_logp(module, TextRollout(ASKED, prompts(), hinted.answers, hinted.old_logp))
        assert not torch.allclose(plain.old_logp, hinted.old_logp)
        _, figures = GroupLoss(kl=0.0)(module, plain, group_advantage(reward(plain)))
        assert figures["moved"] == 0.0

    def test_token_advantages_pass_through_to_the_loss(self):
        module = model()
        rollout = sample_freely(module, ASKED, prompts(), G, Sampling(max_new=2), torch.Generator().manual_seed(0))
        advantage_QG = group_advantage(reward(rollout))
        is_token_SR = rollout.packed().is_token
        whole, _ = GroupLoss(kl=0.0)(module, rollout, advantage_QG)
        by_token, _ = GroupLoss(kl=0.0)(module, rollout, spread_over_tokens(advantage_QG, is_token_SR))
        assert torch.equal(whole["policy"], by_token["policy"])

    def test_rollouts_are_taken_apart_and_joined(self):
        module = model()
        rollout = sample_freely(module, ASKED, prompts(), G, Sampling(max_new=3), torch.Generator().manual_seed(0))
        joined = rollout.take(np.array([3, 1])).join(rollout.take(np.array([0])))
        assert joined.index.tolist() == [ASKED[3], ASKED[1], ASKED[0]]
        assert torch.equal(joined.old_logp[:G], rollout.old_logp[3 * G : 4 * G])
        assert all(a[-1] == END or len(a) == 3 for of in joined.answers for a in of)


def learn_together(folder: str) -> list[float]:
    """Five steps, and 55 more from the checkpoint; the weights' sum, the prompts that were asked, the accuracy, how many wait."""
    with workers() as group:
        module = model(seed=group.rank)
        # The first process alone waits for a prompt: states of different sizes are gathered, and found again.
        functions = replace(
            steps(), again=lambda reward_QG, rollout, times_Q: 99 * ((rollout.index == 4) & (times_Q == 0))
        )
        for in_all in (5, 60):
            batches = stream(module, functions, prompts=4, workers=group)
            settings = SETTINGS.model_copy(update={"save_every": 5, "max_steps": in_all, "schedule": "constant"})
            train(module, batches, lesson_loss(functions), settings, folder=Path(folder), workers=group)
        weights = float(sum(p.detach().double().abs().sum() for p in module.parameters()))
        return [weights, batches.asked, accuracy(module), len(batches.due)]


@pytest.mark.timeout(LIMIT_S)
def test_two_processes_reinforce_one_policy(tmp_path):
    """Each samples its own half of the prompts, gradients are averaged."""
    (first, asked, right_share, waiting), (second, other_asked, _, others) = run_together(learn_together, str(tmp_path))
    assert first == second
    assert right_share == 1.0
    assert min(asked, other_asked) >= 4 * 55
    assert (waiting, others) == (1, 0)


def test_a_place_saved_by_two_processes_is_found_again_by_each():
    both = [stream(model(), steps(), prompts=2, workers=Workers(rank, 2)) for rank in range(2)]
    for rank, batches in enumerate(both):
        batches.load({"asked": [6, 9], "given": 3})
        assert batches.asked == (6, 9)[rank]
    alone = stream(model(), steps(), prompts=2)
    alone.load({"asked": [6, 9], "given": 3})
    assert alone.asked == 9
    shares = [next(iter(batches)).rollout.index for batches in both]
    assert not set(shares[0]) & set(shares[1])


def test_prompts_that_come_back_are_shared_among_another_number_of_processes():
    saved = {"asked": [6, 9], "given": 3, "due": [[5, 4, 1, 6, 8, 2], [5, 5, 1]]}
    alone = stream(model(), steps(), prompts=2)
    alone.load(saved)
    assert alone.due.tolist() == [[5, 4, 1], [6, 8, 2], [5, 5, 1]]
    second = stream(model(), steps(), prompts=2, workers=Workers(1, 2))
    second.load(saved)
    assert second.due.tolist() == [[5, 5, 1]]
    thirds = [stream(model(), steps(), prompts=2, workers=Workers(rank, 3)) for rank in range(3)]
    for batches in thirds:
        batches.load(saved)
    assert [batches.due[:, 1].tolist() for batches in thirds] == [[4], [8], [5]]


def test_what_watches_the_loss_sees_the_surrogate_of_each_token():
    module = model()
    rollout = sample_freely(module, ASKED, prompts(), G, Sampling(max_new=2), torch.Generator().manual_seed(0))
    loss = GroupLoss(kl=0.0, watch=lambda m, value_SR, is_token_SR: {"seen": float(is_token_SR.sum())})
    _, figures = loss(module, rollout, group_advantage(reward(rollout)))
    assert figures["seen"] == float(rollout.packed().is_token.sum())
