"""Rewards, the constraint on groups, and the gradient that the label gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.words_world import END, model

from aisle.nn.backbones.backbone import Sampling
from aisle.relevance._judge.grammar import Grammar
from aisle.relevance._verdicts import Parsed, Rationale, RuleTable
from aisle.relevance.taosr1.reinforced import LabelGradient, grpo_steps, label_reward
from aisle.training.policy import GroupLoss
from aisle.training.rollouts import TextRollout

TABLE = RuleTable(4)
GRAMMAR = Grammar(("irrelevant", "mismatch", "related", "excellent"))
SAID = {
    "right and consistent": Parsed(3, 2, 2, 3, True),
    "right, its own verdicts say otherwise": Parsed(3, 0, 2, 0, True),
    "right, without its reasoning": Parsed(3),
    "wrong": Parsed(1, 2, 0, 1, True),
    "no answer": Parsed(),
}


@pytest.mark.parametrize(("kind", "earned"), [("outcome", [1, 1, 1, 0, 0]), ("gated", [1, 0, 0, 0, 0])])
def test_what_an_answer_earns(kind, earned):
    assert [label_reward(parsed, 3, TABLE, kind) for parsed in SAID.values()] == earned


def test_what_the_grammar_writes_from_the_rule_table_is_no_hallucination():
    for label in range(4):
        for category, attribute in TABLE.verdicts(label):
            said = GRAMMAR.read(GRAMMAR.write(Rationale(label, category, attribute, label)))
            assert label_reward(said, label, TABLE, "gated") == 1.0


def functions(right: dict[int, list[int]], most_right: float = 1.0):
    """Steps whose reader calls token t right where the prompt's list says so."""
    prompts = [np.array([4 + q]) for q in right]
    gold_I = np.full(len(right), 2)

    def read(answers):
        flat = [is_right for group in right.values() for is_right in group]
        return [Parsed(2 if is_right else 0) for is_right in flat[: len(answers)]]

    return grpo_steps(
        prompts, gold_I, read, TABLE, GroupLoss(kl=0.0), group=4, sampling=Sampling(max_new=2), most_right=most_right
    )


def rollout(num_prompts: int) -> TextRollout:
    prompts = [np.array([4 + q]) for q in range(num_prompts)]
    answers = [[np.array([12 + g, END]) for g in range(4)] for _ in range(num_prompts)]
    return TextRollout(np.arange(num_prompts), prompts, answers, torch.zeros(num_prompts * 4, 2))


GROUPS = {0: [0, 0, 0, 0], 1: [1, 0, 0, 0], 2: [1, 1, 1, 0], 3: [1, 1, 1, 1]}


def test_the_constraint_drops_groups_that_are_all_right_or_all_wrong():
    steps, roll = functions(GROUPS), rollout(4)
    reward = steps.reward(roll)
    assert steps.pick(reward, roll).tolist() == [False, True, True, False]
    advantage = steps.advantage(reward, roll)
    assert (advantage[[0, 3]] == 0).all()
    assert (advantage[[1, 2]] != 0).all()


def test_a_smaller_gamma_drops_easy_groups_too():
    steps, roll = functions(GROUPS, most_right=0.75), rollout(4)
    assert steps.pick(steps.reward(roll), roll).tolist() == [False, True, False, False]


def test_a_group_that_agrees_moves_no_parameter():
    steps, roll, module = functions({0: [1, 1, 1, 1]}), rollout(1), model()
    losses, _ = steps.loss(module, roll, steps.advantage(steps.reward(roll), roll))
    losses["policy"].backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in module.parameters())


def test_the_gradients_of_label_and_reasoning_are_logged_apart():
    module, roll = model(), rollout(4)
    steps = functions(GROUPS)
    loss = GroupLoss(kl=0.0, watch=LabelGradient(every=2))
    advantage = steps.advantage(steps.reward(roll), roll)
    _, first = loss(module, roll, advantage)
    _, second = loss(module, roll, advantage)
    assert first["gradient/label"] > 0
    assert first["gradient/reasoning"] > 0
    assert "gradient/label" not in second
