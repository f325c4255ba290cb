"""DyKnow-RAG on the core: the same questions with and without a retrieved text, and answers of one group learned under the other.

The text names an answer.  It is right for half of the prompts, about which the policy knows nothing, and wrong for the others,
which it knows by itself.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, model, right
from torch import Tensor

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.tiny import Tiny
from aisle.training.advantages import CLAMP, group_advantage, over_tokens
from aisle.training.lessons import Ask, PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import GroupLoss, mean_over_answers
from aisle.training.rollouts import TextRollout, Together, sample_freely
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, example_batches, supervised_loss

G = 8
EPS = 1e-4
KNOWN = ASKED[ASKED % 2 == 0]


def named(t: int) -> int:
    """The answer that the text names: a wrong one where the policy knows better."""
    return right(t) + (t in KNOWN)


def plain(index_Q: Array) -> list[Array]:
    return [np.array([t]) for t in index_Q]


def informed(index_Q: Array) -> list[Array]:
    return [np.array([t, named(int(t))]) for t in index_Q]


def sample(module: Tiny, ask: Ask) -> Together:
    both = (
        sample_freely(module, ask.index, prompts, G, Sampling(max_new=2), ask.generator)
        for prompts in (plain(ask.index), informed(ask.index))
    )
    return Together(tuple(both))


def reward(rollout: Together) -> Tensor:
    """float[Q, 2, G]."""
    return torch.stack([_right(part) for part in rollout.parts], 1)


def _right(part: TextRollout) -> Tensor:
    pairs = zip(part.index.tolist(), part.answers, strict=True)
    return torch.tensor([[float(a[0] == right(t)) for a in of] for t, of in pairs])


def scaled(reward_Q2G: Tensor) -> Tensor:
    """float[Q, G]: the answers without the text against all, scaled by how much the text helped."""
    joint_Q1 = reward_Q2G.flatten(1).mean(1, keepdim=True)
    spread_Q1 = reward_Q2G.flatten(1).std(1, correction=0, keepdim=True) + EPS
    between_QG = (reward_Q2G[:, 0] - joint_Q1) / spread_Q1
    without_Q, given_Q = reward_Q2G.mean(2).T
    beta_Q1 = 4 * torch.sigmoid(4 * (given_Q - without_Q))[:, None]
    return torch.where(between_QG > 0, 0.1 / beta_Q1, beta_Q1) * between_QG


def advantage(reward_Q2G: Tensor, rollout: Together) -> Tensor:
    """float[Q, 3, G]: within either group, and between them."""
    own = group_advantage(reward_Q2G.flatten(0, 1), ddof=0).view_as(reward_Q2G)
    return torch.cat([own, scaled(reward_Q2G)[:, None]], 1).clamp(-CLAMP, CLAMP)


POLICY = GroupLoss(kl=0.0)


def loss(module: Tiny, rollout: Together, advantage_Q3G: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
    without, given = rollout.parts
    alone, _ = POLICY(module, without, advantage_Q3G[:, 0])
    with_text, figures = POLICY(module, given, advantage_Q3G[:, 1])
    return {
        "without": alone["policy"],
        "with": with_text["policy"],
        "between": replayed(module, without, given, advantage_Q3G[:, 2]),
    }, dict(figures)


def replayed(module: Tiny, without: TextRollout, given: TextRollout, advantage_QG: Tensor) -> Tensor:
    """- the mean of pi(token | with the text) T, of the answers that were drawn without it."""
    moved = TextRollout(without.index, given.prompts, without.answers, without.old_logp).packed(module.device)
    chance_SR = module.logp(moved).exp()
    return mean_over_answers(-chance_SR * over_tokens(advantage_QG, moved.is_token), moved.is_token)


def accuracy(module: Tiny, prompts: list[Array], index_Q: Array) -> float:
    with torch.inference_mode():
        first_Q = module.eval().decoding(prompts, 1, 1).first().argmax(1)
    return float((first_Q.numpy() == index_Q + 8).mean())


def test_the_scale_follows_the_gap_between_the_groups():
    gaps = {(0, G): (1.390, 0.072), (G // 2, G // 2): (0.05, 2.0), (G, 0): (0.025, 3.928)}
    for (given, without), (alpha, beta) in gaps.items():
        reward_Q2G = torch.zeros(1, 2, G)
        reward_Q2G[0, 0, :without], reward_Q2G[0, 1, :given] = 1, 1
        spread = reward_Q2G.std(correction=0) + EPS
        scale_G = scaled(reward_Q2G)[0] * spread / (reward_Q2G[0, 0] - reward_Q2G.mean())
        want = torch.where(reward_Q2G[0, 0] > 0, alpha, beta)
        torch.testing.assert_close(scale_G, want, rtol=2e-2, atol=1e-3)
    assert (scaled(torch.ones(1, 2, G)) == 0).all()


def test_answers_drawn_without_the_text_are_learned_under_it_by_their_probability():
    module = model()
    rollout = sample(module, Ask(ASKED[:2], np.zeros(2, np.int64), 0, torch.Generator().manual_seed(0)))
    without, given = rollout.parts
    weight_QG = torch.randn(2, G, generator=torch.Generator().manual_seed(1))
    learned = list(module.parameters())
    ours = torch.autograd.grad(replayed(module, without, given, weight_QG), learned)
    # By hand: - mean of pi T grad log pi, each answer alone behind its prompt with the text.
    total = torch.zeros(())
    for q in range(2):
        for g, answer in enumerate(without.answers[q]):
            row_1T = torch.from_numpy(np.concatenate([given.prompts[q], answer]))[None]
            logp_TV = module.logits(module._run(row_1T, torch.arange(row_1T.shape[1])[None], None)[0][0]).log_softmax(
                -1
            )
            logp_R = logp_TV[1:-1].gather(1, torch.from_numpy(answer)[:, None])[:, 0]
            total = total - (logp_R.exp().detach() * logp_R).mean() * weight_QG[q, g] / (2 * G)
    for one, other in zip(ours, torch.autograd.grad(total, learned), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_without_the_term_between_groups_it_is_two_grpos():
    module = model()
    rollout = sample(module, Ask(ASKED, np.zeros(8, np.int64), 0, torch.Generator().manual_seed(0)))
    advantage_Q3G = advantage(reward(rollout), rollout)
    advantage_Q3G[:, 2] = 0
    losses, _ = loss(module, rollout, advantage_Q3G)
    assert losses["between"].item() == 0.0
    for name, part in zip(("without", "with"), rollout.parts, strict=True):
        own = group_advantage(_right(part), ddof=0).clamp(-CLAMP, CLAMP)
        torch.testing.assert_close(losses[name], POLICY(module, part, own)[0]["policy"])


def test_the_policy_learns_when_to_believe_the_text():
    module = model()
    # Fine-tuning on the text's answers: it is believed three times in four, whatever the prompt.
    told = [*[named(int(t)) for t in ASKED] * 3, *[right(int(t)) for t in ASKED]]
    answers = [np.array([a, END]) for a in [*told, *[right(int(t)) for t in KNOWN] * 4]]
    examples = Examples([*informed(ASKED) * 4, *plain(KNOWN) * 4], answers)
    train(module, example_batches(examples, 48), supervised_loss, TrainSettings(epochs=60, lr=6e-3, warmup=0.0))
    assert accuracy(module, informed(ASKED), ASKED) == 0.5

    functions = PolicySteps(
        sample=sample, reward=reward, advantage=advantage, loss=loss,
        pick=lambda reward_Q2G, rollout: reward_Q2G.flatten(1).amax(1) > reward_Q2G.flatten(1).amin(1),
    )  # fmt: skip
    batches = RolloutBatches(module, ASKED, functions, prompts=8, steps=30, seed=3)
    train(module, batches, lesson_loss(functions), TrainSettings(lr=3e-3, warmup=0.0, weight_decay=0.0))
    assert accuracy(module, informed(ASKED), ASKED) == pytest.approx(1.0)
    assert accuracy(module, plain(KNOWN), KNOWN) == pytest.approx(1.0)
