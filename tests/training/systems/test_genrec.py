"""GenRec on the core: pages of semantic ids as answers, histories read through a merger, and an on-policy step tied to positives.

An item is two code tokens.  The prompt is a history of whole items, numbers from the vocabulary's size on.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from tests.training.words_world import END, V, model
from torch import Tensor, nn

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.packed import pack
from aisle.nn.backbones.tiny import Tiny
from aisle.nn.backbones.trie import Trie
from aisle.training.advantages import group_advantage
from aisle.training.lessons import Ask, PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import GroupLoss, on_policy
from aisle.training.rollouts import TextRollout, sample_freely
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, batch_of, example_batches, supervised_loss

G, SEPARATOR, ALPHA = 8, 3, 0.1
CODE_IL = np.array([[a, b] for a in (10, 11, 12, 13) for b in (16, 17, 18)])
"""int64[I, 2]: a first token for the shelf, a second one within it."""
USERS = np.arange(4)
POSITIVE = USERS * 3
"""Each user bought the first item of its own shelf."""

TRIE = Trie.of(CODE_IL, vocab_size=V, end_id=END)
ITEM_OF_CODE = np.argsort(TRIE.number)


class Merger(nn.Module):
    """W [e(s1); e(s2)] + b for numbers that stand for items; tokens as they are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(width).repeat(1, 2) / 2)
            self.linear.bias.zero_()

    def forward(self, embedding: nn.Module, token: Tensor) -> Tensor:
        is_item = token >= V
        codes = torch.from_numpy(CODE_IL)[(token - V).clamp(min=0)]
        merged = self.linear(embedding(codes).flatten(-2))
        return torch.where(is_item[..., None], merged, embedding(token.clamp(max=V - 1)))


def recommender(seed: int = 0) -> Tiny:
    module = model(seed)
    module.merger = Merger(module.width)
    return module


def prompts(users: Array) -> list[Array]:
    """Histories of two items of the user's shelf."""
    return [np.array([V + 3 * u + 1, V + 3 * u + 2]) for u in users]


def sample(module: Tiny, ask: Ask) -> TextRollout:
    """Free, so that ids that no item has are met and earn nothing."""
    rollout = sample_freely(module, ask.index, prompts(ask.index), G, Sampling(max_new=2), ask.generator)
    code_S = TRIE.read(rollout.packed().answer).numpy()
    item_S = np.where(code_S >= 0, ITEM_OF_CODE[code_S], -1)
    return rollout.noted(item=torch.from_numpy(item_S))


def reward(rollout: TextRollout) -> Tensor:
    """Preference where relevant (of the user's shelf); a true positive earns what the best of its group does."""
    item_QG = rollout.columns["item"].view(len(rollout), -1)
    user_Q1 = torch.from_numpy(rollout.index)[:, None]
    preferred_QG = (item_QG % 3 + 1) / 3
    earned_QG = torch.where((item_QG >= 0) & (item_QG // 3 == user_Q1), preferred_QG, 0.0)
    return torch.where(item_QG == user_Q1 * 3, earned_QG.amax(1, keepdim=True), earned_QG)


POLICY = GroupLoss(kl=0.0, surrogate=lambda logp_SR, ratio_SR, advantage_SR, rollout: on_policy(logp_SR, advantage_SR))


def loss(module: Tiny, rollout: TextRollout, advantage: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
    losses, figures = POLICY(module, rollout, advantage)
    bought = Examples(rollout.prompts, [CODE_IL[POSITIVE[u]] for u in rollout.index])
    return {**losses, "positives": ALPHA * supervised_loss(module, batch_of(bought))["supervised"]}, dict(figures)


def page(items: list[int]) -> Array:
    """Items by strength, each behind the other, then the end."""
    return np.concatenate([*(np.append(CODE_IL[i], SEPARATOR) for i in items), [END]])


def test_a_page_of_one_item_is_next_item_prediction_and_merging_leaves_answers_whole():
    module = recommender()
    losses = supervised_loss(module, batch_of(Examples(prompts(USERS), [page([int(i)]) for i in POSITIVE])))
    by_hand = torch.cat(
        [module.logp(pack([p], [[page([int(i)])]]))[0] for p, i in zip(prompts(USERS), POSITIVE, strict=True)]
    )
    torch.testing.assert_close(losses["supervised"], -by_hand.mean())
    unmerged = [np.concatenate([CODE_IL[3 * u + 1], CODE_IL[3 * u + 2]]) for u in USERS]
    assert [len(p) for p in prompts(USERS)] == [2] * 4
    assert [len(p) for p in unmerged] == [4] * 4
    assert module.logp(pack(prompts(USERS), [[page([0, 1])]] * 4)).shape == (4, 7)


def test_merged_by_the_first_token_alone_a_history_reads_as_those_tokens():
    module = recommender()
    with torch.no_grad():
        module.merger.linear.weight.copy_(torch.eye(module.width, 2 * module.width))
    firsts = [CODE_IL[[3 * u + 1, 3 * u + 2], 0] for u in USERS]
    answers = [[CODE_IL[i]] for i in POSITIVE]
    torch.testing.assert_close(module.logp(pack(prompts(USERS), answers)), module.logp(pack(firsts, answers)))
    drawn = [
        module.sample(p, 3, Sampling(2), generator=torch.Generator().manual_seed(0)) for p in (prompts(USERS), firsts)
    ]
    assert torch.equal(drawn[0].token, drawn[1].token)


def test_a_step_is_reinforce_and_the_likelihood_of_positives():
    module = recommender()
    rollout = sample(module, Ask(USERS, np.zeros(4, np.int64), 0, torch.Generator().manual_seed(0)))
    advantage_QG = torch.randn(4, G, generator=torch.Generator().manual_seed(1))
    learned = list(module.parameters())
    losses, _ = loss(module, rollout, advantage_QG)
    assert losses["policy"].item() == pytest.approx(-float(advantage_QG.mean()), abs=1e-6)
    ours = torch.autograd.grad(sum(losses.values()), learned)
    packed = rollout.packed()
    per_answer_S = module.logp(packed).sum(1) / packed.counts
    bought = module.logp(pack(prompts(USERS), [[CODE_IL[i]] for i in POSITIVE]))
    by_hand = -(per_answer_S * advantage_QG.flatten()).mean() - ALPHA * bought.mean()
    for one, other in zip(ours, torch.autograd.grad(by_hand, learned), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_positive_of_low_preference_has_its_groups_largest_advantage():
    answers = [[CODE_IL[i] for i in (0, 2, 1, 5)]]
    rollout = TextRollout(np.array([0]), prompts(USERS[:1]), answers, torch.zeros(4, 2)).noted(
        item=torch.tensor([0, 2, 1, 5])
    )
    assert reward(rollout)[0].tolist() == pytest.approx([1.0, 1.0, 2 / 3, 0.0])
    assert group_advantage(reward(rollout))[0].argmax() == 0


def test_held_to_the_trie_a_rollout_is_scored_as_it_was_drawn():
    module = recommender()
    held = sample_freely(module, USERS, prompts(USERS), G, Sampling(2), torch.Generator().manual_seed(0), TRIE)
    assert (TRIE.read(held.packed().answer) >= 0).all()
    advantage = torch.ones(4, G)
    _, figures = GroupLoss(kl=0.0, constraint=TRIE)(module, held, advantage)
    _, unheld = GroupLoss(kl=0.0)(module, held, advantage)
    assert figures["moved"] == 0.0
    assert unheld["moved"] > 0.5


def test_pages_then_rewards_bring_items_that_exist_and_were_bought():
    module = recommender()
    pages = Examples(prompts(USERS), [page([3 * int(u), 3 * int(u) + 1, 3 * int(u) + 2]) for u in USERS])
    train(module, example_batches(pages, 4), supervised_loss, TrainSettings(epochs=60, lr=6e-3, warmup=0.0))
    untrained = deepcopy(module.merger.linear.weight)
    functions = PolicySteps(
        sample=sample, reward=reward, loss=loss, pick=lambda reward, rollout: torch.ones(len(rollout), dtype=torch.bool),
        note=lambda reward, rollout: {"invalid": float((rollout.columns["item"] < 0).float().mean())},
    )  # fmt: skip
    batches = RolloutBatches(module, USERS, functions, prompts=4, steps=50, seed=1)
    invalid = next(iter(batches)).figures["invalid"]
    train(module, batches, lesson_loss(functions), TrainSettings(lr=4e-3, warmup=0.0, weight_decay=0.0))
    rollout = sample(
        module.eval(), Ask(np.repeat(USERS, 8), np.zeros(32, np.int64), 0, torch.Generator().manual_seed(0))
    )
    item_QG = rollout.columns["item"].view(-1, G).numpy()
    assert (item_QG < 0).mean() < 0.05 < invalid
    assert (item_QG == rollout.index[:, None] * 3).mean() > 0.9
    assert not torch.equal(untrained, module.merger.linear.weight)
