"""Preference losses in their limits, and training that turns an order around."""

from __future__ import annotations

from copy import deepcopy
from math import log

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, accuracy, model, prompts, right
from torch import Tensor

from aisle.core.errors import ContractError
from aisle.training.loop import train
from aisle.training.preference import (
    PreferenceLoss,
    Preferences,
    answer_reward,
    as_lists,
    batch_of,
    common_prefix,
    listwise,
    opponents,
    pairwise,
    preference_batches,
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
        value_S: Tensor = torch.arange(5.0)
        chosen_N, rejected_NJ, there_NJ = as_lists(value_S, prompt_S, preferred_S)
        assert chosen_N.tolist() == [0.0, 3.0]
        assert rejected_NJ[there_NJ].tolist() == [1.0, 2.0, 4.0]

    def test_common_prefix(self):
        assert common_prefix(np.array([1, 2, 3]), np.array([1, 2, 4, 5])) == 2
        assert common_prefix(np.array([1, 2]), np.array([1, 2, 3])) == 2


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
