"""Supervised fine-tuning: only answers count, packing changes nothing, weights do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.words_world import accuracy, answers, model, prompts

from aisle.core.errors import ContractError
from aisle.training.loop import train
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, batch_of, example_batches, supervised_loss


def examples(**more: object) -> Examples:
    return Examples(prompts(), answers(), **more)


def test_learns_the_answers():
    module = model()
    train(module, example_batches(examples(), 8), supervised_loss, TrainSettings(epochs=60, lr=3e-3, warmup=0.0))
    assert accuracy(module) == 1.0
    assert supervised_loss(module, batch_of(examples()))["supervised"] < 0.7


def test_packed_into_shared_rows_the_loss_is_the_same():
    module = model()
    alone, packed = (supervised_loss(module, batch_of(examples(), row_tokens=n))["supervised"] for n in (0, 64))
    torch.testing.assert_close(alone, packed)


def test_only_the_answers_count():
    module, longer = model(), [np.concatenate([p, p, p]) for p in prompts()]
    batch = batch_of(Examples(longer, answers()), row_tokens=0)
    by_hand = []
    for prompt, answer in zip(longer, answers(), strict=True):
        token_1T = torch.from_numpy(np.concatenate([prompt, answer]))[None]
        place_1T = torch.arange(token_1T.shape[1])[None]
        logp_TV = module.logits(module._run(token_1T, place_1T, None)[0][0]).log_softmax(-1)
        by_hand += [logp_TV[len(prompt) - 1 + i, token] for i, token in enumerate(answer.tolist())]
    torch.testing.assert_close(supervised_loss(module, batch)["supervised"], -torch.stack(by_hand).mean())


def test_a_weight_of_0_takes_a_token_out():
    module = model()
    first_only = examples(weights=[np.array([1.0, 0.0])] * 8)
    short = Examples(prompts(), [a[:1] for a in answers()])
    torch.testing.assert_close(
        supervised_loss(module, batch_of(first_only))["supervised"],
        supervised_loss(module, batch_of(short))["supervised"],
    )


def test_counts_must_agree():
    with pytest.raises(ContractError, match="one of each"):
        Examples(prompts(), answers()[:-1])
