"""Retrieval-GRPO on the core: a dense retriever is the policy, an item its action, and a sum of rewards its judge.

Queries and items are texts of the same small model.  An item is relevant to a query of its own colour; some sell better.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from tests.training.words_world import END, V
from torch import Tensor

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.nn.backbones.packed import pack
from aisle.nn.backbones.tiny import Tiny, TinyShape
from aisle.training.advantages import group_advantage
from aisle.training.contrastive import cosines, info_nce
from aisle.training.lessons import Ask, PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import ItemLoss, exact_kl
from aisle.training.rollouts import ItemRollout, top_items
from aisle.training.settings import TrainSettings

K, TEMPERATURE = 6, 0.1
QUERIES = np.arange(4, 10)
ITEMS = np.arange(10, 22)
COLOURS = 3


def relevance(index_Q: Array, item: Tensor) -> Tensor:
    return (item % COLOURS == torch.from_numpy(index_Q)[:, None] % COLOURS).float()


def sells(item: Tensor) -> Tensor:
    return (item >= 16).float()


def found_by_words(index_Q: Array, item: Tensor) -> Tensor:
    """What another route returns already."""
    return (item == torch.from_numpy(index_Q)[:, None] + 6).float()


def tower() -> Tiny:
    return Tiny(TinyShape(width=32, layers=1, heads=2, key_heads=1, head_dim=16, hidden=48), V, END, 1)


def vectors(module: Tiny, tokens: Array) -> Tensor:
    return module.ends(pack([np.array([t]) for t in tokens], [[np.array([END])]] * len(tokens)))


def score(module: Tiny, index_Q: Array, item_QK: Tensor) -> Tensor:
    """float[Q, K] with gradients into both towers; each item is encoded once for all queries that drew it."""
    different, place = item_QK.unique(return_inverse=True)
    return cosines(vectors(module, index_Q), vectors(module, different.numpy())).gather(1, place)


def sample(module: Tiny, ask: Ask) -> ItemRollout:
    pool = torch.from_numpy(ITEMS)
    return top_items(ask.index, cosines(vectors(module, ask.index), vectors(module, ITEMS)), pool, K, TEMPERATURE)


def reward(rollout: ItemRollout) -> Tensor:
    """float[Q, K]: relevance; what sells and what no other route found only where relevant."""
    item, relevant = rollout.item, relevance(rollout.index, rollout.item)
    return relevant + relevant * (0.3 * sells(item) + 0.2 * (1 - found_by_words(rollout.index, item)))


def test_the_gradient_of_a_score_is_its_advantage():
    """d J / d s_k = A_k / (K tau) a request, at the old policy."""
    score_QM = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    rollout = top_items(QUERIES[:2], score_QM, torch.arange(9), K, TEMPERATURE)
    score_QK = score_QM.gather(1, rollout.item).requires_grad_()
    advantage_QK = group_advantage(torch.randn(2, K, generator=torch.Generator().manual_seed(1)))
    losses, figures = ItemLoss(score=lambda module, index, item: score_QK, temperature=TEMPERATURE)(
        None, rollout, advantage_QK
    )
    losses["policy"].backward()
    torch.testing.assert_close(score_QK.grad, -advantage_QK / (K * TEMPERATURE) / 2, atol=1e-5, rtol=1e-4)
    assert figures["moved"] == 0.0


def test_equal_rewards_teach_nothing_and_kl_is_exact():
    module, other = tower(), tower()
    with torch.no_grad():
        other.tokens.weight.mul_(3)
    rollout = sample(module, Ask(QUERIES, np.zeros(6, np.int64), 0, torch.Generator()))
    losses, _ = ItemLoss(score=score, temperature=TEMPERATURE, reference=other, kl=0.5)(
        module, rollout, group_advantage(torch.ones(6, K))
    )
    assert losses["policy"].item() == 0.0
    own, reference = ((score(m, rollout.index, rollout.item) / TEMPERATURE).log_softmax(1) for m in (module, other))
    by_hand = sum(p.exp() * (p - r) for p, r in zip(own.flatten(), reference.flatten(), strict=True)) / 6
    torch.testing.assert_close(losses["kl"], 0.5 * by_hand)
    assert (exact_kl(own, own) == 0).all()


def test_requests_are_taken_apart_and_joined():
    rollout = sample(tower(), Ask(QUERIES, np.zeros(6, np.int64), 0, torch.Generator()))
    joined = rollout.take(np.array([4])).join(rollout.take(np.array([1, 0])))
    assert joined.index.tolist() == [8, 5, 4]
    assert torch.equal(joined.item, rollout.item[[4, 1, 0]])
    assert torch.equal(joined.old_logp, rollout.old_logp[[4, 1, 0]])


def test_an_item_that_stands_twice_in_the_pool_is_refused():
    with pytest.raises(ContractError, match="each item once"):
        top_items(QUERIES[:1], torch.zeros(1, 3), torch.tensor([1, 1, 2]), 2, TEMPERATURE)


def test_global_negatives_reach_items_that_are_nobodys_own():
    module = tower()
    pool, positive_Q = vectors(module, ITEMS).detach().requires_grad_(), torch.arange(2)
    info_nce(cosines(vectors(module, QUERIES[:2]), pool), positive_Q, temperature=TEMPERATURE).sum().backward()
    assert (pool.grad.abs().sum(1) > 0).all()
    pool.grad = None
    allowed_QM = torch.ones(2, len(ITEMS), dtype=torch.bool)
    allowed_QM[:, 5] = False
    contrast = info_nce(
        cosines(vectors(module, QUERIES[:2]), pool), positive_Q, temperature=TEMPERATURE, allowed_NM=allowed_QM
    )
    contrast.sum().backward()
    assert (pool.grad.abs().sum(1) == 0).nonzero()[:, 0].tolist() == [5]


def test_what_sells_earns_nothing_where_it_answers_nothing():
    item = torch.tensor([[10, 13, 16, 19, 17, 12]])
    rollout = ItemRollout(np.array([4]), item, torch.zeros(1, 6))
    assert reward(rollout)[0].tolist() == pytest.approx([1.0, 1.2, 1.5, 1.5, 0.0, 0.0])


def test_rewards_bring_the_relevant_items_to_the_top():
    module = tower()
    ask = Ask(QUERIES, np.zeros(6, np.int64), 0, torch.Generator())
    policy = ItemLoss(score=score, temperature=TEMPERATURE, kl=0.01, reference=deepcopy(module).requires_grad_(False))
    functions = PolicySteps(sample=sample, reward=reward, loss=policy)
    batches = RolloutBatches(module, QUERIES, functions, prompts=6, steps=40, seed=1)
    before = sample(module, ask).item[:, :4]
    train(module, batches, lesson_loss(functions), TrainSettings(lr=6e-3, warmup=0.0, weight_decay=0.0))
    after = sample(module.eval(), ask).item[:, :4]
    found = [float(relevance(QUERIES, item).mean()) for item in (before, after)]
    assert found[0] < 0.5
    assert found[1] > 0.9
