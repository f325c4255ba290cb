"""Advantages: limits and hand-made groups."""

from __future__ import annotations

import pytest
import torch

from aisle.core.errors import ContractError
from aisle.training.advantages import (
    between,
    group_advantage,
    live_groups,
    over_tokens,
    spread_over_steps,
    spread_over_tokens,
    step_advantage,
    until_first_error,
)


def test_a_group_that_agrees_teaches_nothing():
    reward_QG = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    advantage_QG = group_advantage(reward_QG)
    assert (advantage_QG[:2] == 0).all()
    assert live_groups(reward_QG).tolist() == [False, False, True]


def test_answers_of_equal_sums_teach_where_their_steps_differ():
    reward_QGK = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]], [[1.0, -1.0], [1.0, -1.0]]])
    assert live_groups(reward_QGK).tolist() == [True, False]


@pytest.mark.parametrize(("ddof", "deviation"), [(0, (2 / 9) ** 0.5), (1, (1 / 3) ** 0.5)])
def test_the_deviation_is_of_a_sample_or_of_the_group(ddof, deviation):
    advantage_QG = group_advantage(torch.tensor([[1.0, 0.0, 0.0]]), ddof=ddof, eps=0.0)
    torch.testing.assert_close(advantage_QG, torch.tensor([[2 / 3, -1 / 3, -1 / 3]]) / deviation)


def test_clamped():
    reward_QG = torch.zeros(1, 16)
    reward_QG[0, 0] = 1.0
    assert group_advantage(reward_QG).max() > 3
    assert group_advantage(reward_QG, clamp=2.0).max() == 2.0


def test_with_one_step_the_step_advantage_is_the_group_advantage():
    reward_QG = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(step_advantage(reward_QG[:, :, None])[:, :, 0], group_advantage(reward_QG))


def test_a_step_that_an_answer_lacks_neither_counts_nor_learns():
    reward_QGK = torch.tensor([[[1.0], [0.0], [9.0]]])
    seen_QGK = torch.tensor([[[True], [True], [False]]])
    advantage = step_advantage(reward_QGK, seen_QGK=seen_QGK, eps=0.0)
    torch.testing.assert_close(advantage[0, :2, 0], group_advantage(torch.tensor([[1.0, 0.0]]), eps=0.0)[0])
    assert advantage[0, 2, 0] == 0


def test_until_first_error():
    right_SK = torch.tensor([[True, False, True], [True, True, True], [False, False, True]])
    assert until_first_error(right_SK).tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_values_of_steps_reach_their_tokens():
    step_SR = torch.tensor([[0, 0, 1, -1]])
    assert spread_over_steps(torch.tensor([[5.0, 7.0]]), step_SR).tolist() == [[5.0, 5.0, 7.0, 0.0]]
    is_token_SR = torch.tensor([[True, False], [True, True]])
    assert spread_over_tokens(torch.tensor([[2.0, 3.0]]), is_token_SR).tolist() == [[2.0, 0.0], [3.0, 3.0]]


def test_difficulty_keeps_what_is_neither_hopeless_nor_easy():
    right_QG = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    assert between(right_QG, 4).tolist() == [False, True, True, False]
    assert between(right_QG, 3).tolist() == [False, True, False, False]


def test_an_advantage_reaches_tokens_from_answers_or_from_tokens_and_nothing_else():
    is_token_SR = torch.tensor([[True, False], [True, True]])
    assert over_tokens(torch.tensor([[2.0, 3.0]]), is_token_SR).tolist() == [[2.0, 0.0], [3.0, 3.0]]
    wider_SR = torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]])
    assert over_tokens(wider_SR, is_token_SR).tolist() == [[1.0, 0.0], [3.0, 4.0]]
    for shape in ((3, 2), (2, 1, 2), (4,)):
        with pytest.raises(ContractError, match="one for each token"):
            over_tokens(torch.zeros(shape), is_token_SR)
