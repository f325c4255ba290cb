"""LREM on the core: a thought is written, the vector is read behind it; both learn in one step, then the thought by its rank.

A query asks for the item whose token is 8 above its own; nothing in the words says so.  The end token closes a thought, and the
last layer's output there is the vector of queries and items alike.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, model, right
from torch import Tensor
from torch.nn import functional

from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.packed import pack
from aisle.nn.backbones.tiny import Tiny
from aisle.training.batches import RowBatches
from aisle.training.contrastive import cosines, info_nce
from aisle.training.lessons import Ask, PolicySteps, RolloutBatches, lesson_loss
from aisle.training.loop import train
from aisle.training.policy import GroupLoss
from aisle.training.rollouts import TextRollout, sample_freely
from aisle.training.settings import TrainSettings
from aisle.training.supervised import ExampleBatch, Examples, batch_of, nll

G, THINK, LONGEST, TEMPERATURE = 8, 2, 2, 0.1
ITEMS = np.array([right(int(t)) for t in ASKED])
WEIGHTS = {"format": 0.5, "length": 0.2, "rank": 1.0}


def queries(index_Q: Array) -> list[Array]:
    return [np.array([t, THINK]) for t in index_Q]


def item_vectors(module: Tiny, item_M: Array = ITEMS) -> Tensor:
    """float[M, D]: ``<item> <end>``, the same end as behind a thought."""
    return module.ends(pack([np.array([i]) for i in item_M], [[np.array([END])]] * len(item_M)))


def triplets(asked: Array, thoughts: list[Array], size: int) -> RowBatches:
    """Batches of (queries with their thoughts, the place of each one's item)."""
    examples = Examples(queries(asked), thoughts)
    return RowBatches(
        len(asked), size, lambda rows: (batch_of(examples.take(rows)), torch.from_numpy(asked[rows] - ASKED[0]))
    )


def started(module: Tiny, batch: tuple[ExampleBatch, Tensor]) -> dict[str, Tensor]:
    """Cold start: one forward gives the chances of the thought and the vector behind it."""
    written, positive_S = batch
    hidden_BTD = module.hidden(written.packed)
    row_S, place_S = written.packed.last
    cosine_SM = cosines(hidden_BTD[row_S, place_S], item_vectors(module))
    contrast_S = info_nce(cosine_SM, positive_S, temperature=TEMPERATURE)
    thought = nll(module.logp_of(hidden_BTD, written.packed), written.weight)
    return {"thought": 0.1 * thought, "contrast": contrast_S.mean()}


def sample(module: Tiny, ask: Ask) -> TextRollout:
    """Thoughts, and the vector that each leads to: a reward is read from it without another look at the module."""
    rollout = sample_freely(module, ask.index, queries(ask.index), G, Sampling(max_new=4), ask.generator)
    cosine_SM = cosines(module.ends(rollout.packed()), item_vectors(module))
    place_S = torch.from_numpy(rollout.index - ASKED[0]).repeat_interleave(G)
    rank_S = 1 + (cosine_SM > cosine_SM.gather(1, place_S[:, None])).sum(1)
    ended_S = torch.tensor([a[-1] == END for a in rollout.flat])
    return rollout.noted(rank=rank_S, ended=ended_S, length=torch.tensor([len(a) - 1 for a in rollout.flat]))


def parts(rollout: TextRollout) -> dict[str, Tensor]:
    """Each float[Q, G]; without its end a thought has no vector."""
    ended, rank, length = (rollout.columns[name].view(len(rollout), -1) for name in ("ended", "rank", "length"))
    by_rank = 1 - rank.float().log() / np.log(len(ITEMS))
    return {"format": ended.float(), "length": (length <= LONGEST).float(), "rank": by_rank * ended}


def reward(rollout: TextRollout) -> Tensor:
    return sum((WEIGHTS[name] * part for name, part in parts(rollout).items()), torch.zeros(()))


POLICY = GroupLoss(kl=0.0, by="sequence")


def loss(module: Tiny, rollout: TextRollout, advantage: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
    packed = rollout.packed()
    hidden_BTD = module.hidden(packed)
    losses, figures = POLICY.of(module, rollout, packed, module.logp_of(hidden_BTD, packed), advantage)
    row_S, place_S = packed.last
    positive_S = torch.from_numpy(rollout.index - ASKED[0]).repeat_interleave(G)
    contrast_S = info_nce(
        cosines(hidden_BTD[row_S, place_S], item_vectors(module)), positive_S, temperature=TEMPERATURE
    )
    return {**losses, "contrast": 0.1 * contrast_S[rollout.columns["ended"]].mean()}, dict(figures)


def functions() -> PolicySteps[TextRollout]:
    return PolicySteps(
        sample=sample, reward=reward, loss=loss, pick=lambda reward, rollout: torch.ones(len(rollout), dtype=torch.bool),
        note=lambda reward, rollout: {f"reward/{n}": float(part.mean()) for n, part in parts(rollout).items()},
    )  # fmt: skip


def test_without_a_thought_it_is_contrastive_training_at_the_last_token():
    module = model()
    contrast = started(module, next(iter(triplets(ASKED, [np.array([END])] * 8, 8))))["contrast"]
    last = torch.cat(
        [module._run(torch.tensor([[t, THINK, END]]), torch.arange(3)[None], None)[0][:, -1] for t in ASKED]
    )
    items = torch.cat([module._run(torch.tensor([[i, END]]), torch.arange(2)[None], None)[0][:, -1] for i in ITEMS])
    score = functional.cosine_similarity(last[:, None], items[None], dim=2) / TEMPERATURE
    torch.testing.assert_close(contrast, functional.cross_entropy(score, torch.arange(8)), atol=1e-6, rtol=1e-6)


def test_the_best_rank_earns_all_and_the_last_nothing():
    rank = torch.tensor([1, 2, 8, 1])
    columns = {"rank": rank, "ended": torch.tensor([True, True, True, False]), "length": torch.tensor([1, 1, 3, 4])}
    rollout = TextRollout(np.array([4]), queries(np.array([4])), [[np.array([12])] * 4], torch.zeros(4, 1), columns)
    assert parts(rollout)["rank"][0].tolist() == pytest.approx([1.0, 2 / 3, 0.0, 0.0])
    assert reward(rollout)[0].tolist() == pytest.approx([1.7, 0.7 + 2 / 3, 0.5, 0.0])


def test_policy_and_vectors_learn_from_one_forward_as_from_two():
    module = model()
    rollout = sample(module, Ask(ASKED, np.zeros(8, np.int64), 0, torch.Generator().manual_seed(0)))
    advantage = torch.randn(8, G, generator=torch.Generator().manual_seed(1))
    losses, _ = loss(module, rollout, advantage)
    apart, _ = POLICY(module, rollout, advantage)
    torch.testing.assert_close(losses["policy"], apart["policy"])
    learned = [p for p in module.parameters() if p.requires_grad]
    ours = torch.autograd.grad(losses["policy"], learned, retain_graph=True)
    for one, other in zip(ours, torch.autograd.grad(apart["policy"], learned), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_ranks_correct_the_thoughts_of_an_erring_teacher():
    module = model()
    random = np.random.default_rng(0)
    asked = np.repeat(ASKED, 8)
    # Four thoughts in ten name another item than the one that the query leads to.
    wrong = random.random(len(asked)) < 0.4
    thought = np.where(wrong, random.choice(ITEMS, len(asked)), asked + 8)
    batches = triplets(asked, [np.array([c, END]) for c in thought], 32)
    train(module, batches, started, TrainSettings(epochs=30, lr=5e-3, warmup=0.0))
    ask = Ask(np.repeat(ASKED, 8), np.zeros(64, np.int64), 0, torch.Generator().manual_seed(0))
    before = sample(deepcopy(module), ask)

    steps = functions()
    batches = RolloutBatches(module, ASKED, steps, prompts=8, steps=30, seed=1)
    train(module, batches, lesson_loss(steps), TrainSettings(lr=3e-3, warmup=0.0, weight_decay=0.0))
    module.eval()
    ask.generator.manual_seed(0)
    after = sample(module, ask)
    first = [float((r.columns["rank"] == 1).float().mean()) for r in (before, after)]
    assert first[0] < 0.9 < 0.95 < first[1]
    figures = next(iter(batches)).figures
    assert figures["reward/format"] > 0.95
    assert figures["reward/length"] > 0.95
