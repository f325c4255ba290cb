"""Preference losses in their limits, and training that turns an order around."""

from __future__ import annotations

from copy import deepcopy
from math import log

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, accuracy, model, prompts, right

from aisle.core.errors import ContractError
from aisle.training.loop import train
from aisle.training.preference import (
    PreferenceLoss,
    Preferences,
    answer_reward,
    batch_of,
    gradient_times,
    lists,
    listwise,
    mean_over_prompts,
    opponents,
    pairwise,
    preference_batches,
    shared_prefix,
    without_prefix_gradient,
)
from aisle.training.settings import TrainSettings


def preferences() -> Preferences:
    wrong = [[np.array([right(int(t)) + d, END]) for d in (1, 2)] for t in ASKED]
    return Preferences(prompts(), [[np.array([right(int(t)), END])] for t in ASKED], wrong)


class TestLosses:
    def test_where_policy_and_reference_agree_a_pair_costs_log_2(self):
        module = model()
        losses, figures = PreferenceLoss()(module, batch_of(preferences(), module))
        assert losses["preference"].item() == pytest.approx(log(2), abs=1e-6)
        assert figures["margin"] == pytest.approx(0.0, abs=1e-6)

    def test_pairwise_smoothing_mixes_both_ways_round(self):
        one = pairwise(torch.tensor([1.0]), torch.tensor([0.0]))
        other = pairwise(torch.tensor([0.0]), torch.tensor([1.0]))
        torch.testing.assert_close(
            pairwise(torch.tensor([1.0]), torch.tensor([0.0]), smoothing=0.2), 0.8 * one + 0.2 * other
        )

    def test_a_list_of_one_is_a_pair(self):
        chosen_N, rejected_N1, there = (
            torch.tensor([0.3, -1.0]),
            torch.tensor([[0.1], [2.0]]),
            torch.ones(2, 1, dtype=torch.bool),
        )
        for mode in ("hardest", "easiest"):
            torch.testing.assert_close(
                listwise(chosen_N, rejected_N1, there, mode=mode), pairwise(chosen_N, rejected_N1[:, 0])
            )

    def test_the_hardest_rejected_answer_leads_or_the_easiest(self):
        chosen_N, there = torch.tensor([0.0]), torch.ones(1, 2, dtype=torch.bool)
        for mode, leads in (("hardest", 0), ("easiest", 1)):
            rejected_NJ = torch.tensor([[-1.0, -6.0]], requires_grad=True)
            listwise(chosen_N, rejected_NJ, there, mode=mode).sum().backward()
            assert rejected_NJ.grad.abs().argmax().item() == leads

    @pytest.mark.parametrize("mode", ["hardest", "easiest"])
    def test_centred_a_tie_of_all_costs_log_2(self, mode):
        loss_N = listwise(
            torch.zeros(1), torch.zeros(1, 5), torch.ones(1, 5, dtype=torch.bool), mode=mode, centred=True
        )
        assert loss_N.item() == pytest.approx(log(2))

    def test_token_weights_and_reference(self):
        logp_SR = torch.tensor([[-1.0, -2.0, 0.0]])
        weight_SR = torch.tensor([[1.0, 0.5, 0.0]])
        assert answer_reward(logp_SR, weight_SR, beta=2.0).item() == pytest.approx(-4.0)
        assert answer_reward(logp_SR, weight_SR, beta=2.0, per_token=True).item() == pytest.approx(-2.0)
        assert answer_reward(logp_SR, weight_SR, beta=2.0, reference_SR=logp_SR).item() == 0.0

    def test_opponents_and_lists_stay_within_their_prompt(self):
        prompt_S = torch.tensor([0, 0, 0, 1, 1])
        preferred_S = torch.tensor([True, False, False, True, False])
        better_N, worse_N = opponents(prompt_S, preferred_S)
        assert list(zip(better_N.tolist(), worse_N.tolist(), strict=True)) == [(0, 1), (0, 2), (3, 4)]
        chosen_N, rejected_NJ, there_NJ = lists(prompt_S, preferred_S)
        assert chosen_N.tolist() == [0, 3]
        assert rejected_NJ[there_NJ].tolist() == [1, 2, 4]

    def test_shared_prefixes_end_where_the_shorter_answer_does(self):
        token_SR = torch.tensor([[1, 2, 3, -1], [1, 2, 4, 5], [1, 2, -1, -1], [9, 2, 3, -1], [1, 2, 3, -1]])
        prefix_NJ = shared_prefix(token_SR, torch.tensor([0]), torch.tensor([[1, 2, 3, 4]]))
        assert prefix_NJ.tolist() == [[2, 2, 0, 3]]

    def test_a_shared_prefix_keeps_its_value_and_loses_its_gradient(self):
        logp_NJR = torch.tensor([[[-1.0, -2.0, -3.0]]], requires_grad=True)
        held = without_prefix_gradient(logp_NJR, torch.tensor([[2]]))
        assert torch.equal(held, logp_NJR)
        held.sum().backward()
        assert logp_NJR.grad.tolist() == [[[0.0, 0.0, 1.0]]]

    def test_a_weighted_gradient_leaves_the_value(self):
        value = torch.tensor([2.0, 3.0], requires_grad=True)
        weighted = gradient_times(value, torch.tensor([1.0, 0.5]))
        torch.testing.assert_close(weighted, value)
        weighted.sum().backward()
        assert value.grad.tolist() == [1.0, 0.5]

    def test_a_prompt_counts_once_however_many_preferred_answers_it_has(self):
        mean = mean_over_prompts(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([4, 4, 7]))
        assert mean.item() == pytest.approx((2 + 8) / 2)


class TestTraining:
    @pytest.mark.parametrize("form", ["pairs", "lists"])
    def test_preferred_answers_become_the_likelier_ones(self, form):
        module = model()
        reference = deepcopy(module)
        batches = preference_batches(preferences(), 8, reference=reference)
        loss = PreferenceLoss(beta=0.5, form=form, nll=0.2)
        train(module, batches, loss, TrainSettings(epochs=60, lr=3e-3, warmup=0.0))
        _, figures = loss(module, batch_of(preferences(), reference))
        assert figures["right"] == 1.0
        assert figures["margin"] > 0.5
        assert accuracy(module) == 1.0

    def test_the_anchor_keeps_the_preferred_answers_likely(self):
        """Off-policy pairs can push both answers down; the NLL term holds the preferred one."""
        likely = {}
        for nll in (0.0, 1.0):
            module = model()
            loss = PreferenceLoss(beta=0.5, nll=nll)
            train(
                module,
                preference_batches(preferences(), 8, reference=deepcopy(module)),
                loss,
                TrainSettings(epochs=40, lr=3e-3),
            )
            likely[nll] = loss(module, batch_of(preferences()))[1]["logp_chosen"]
        assert likely[1.0] > likely[0.0]


def test_a_prompt_without_a_rejected_answer_is_refused():
    with pytest.raises(ContractError, match="preferred and"):
        Preferences(prompts()[:1], [[np.array([3])]], [[]])
