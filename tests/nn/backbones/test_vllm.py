"""The mapping to and from a vLLM engine, on an object with its surface; the engine itself needs a GPU and is not run here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aisle.core.errors import AisleError, ContractError
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.vllm import VllmSampler, vllm_sampler

END = 9


class Engine:
    """Answers prompt p with [p0, p0 + index, ..., END], in an order that is not the asked one."""

    def __init__(self, lose: int = 0) -> None:
        self.asked: list = []
        self.lose = lose

    def generate(self, prompts, how, *, lora_request, use_tqdm):
        self.asked.append((prompts, how, lora_request))
        return [SimpleNamespace(outputs=self._outputs(p["prompt_token_ids"], how)) for p in prompts]

    def _outputs(self, prompt, how):
        made = []
        for index in reversed(range(how.n - self.lose)):
            tokens = [prompt[0], *([5] * index), END][: how.max_tokens]
            logprobs = [{token: SimpleNamespace(logprob=-0.1 * (at + 1))} for at, token in enumerate(tokens)]
            made.append(SimpleNamespace(index=index, token_ids=tokens, logprobs=logprobs))
        return made


LIBRARY = SimpleNamespace(
    SamplingParams=lambda **values: SimpleNamespace(**values),
    TokensPrompt=lambda **values: values,
    LoRARequest=lambda name, number, path: (name, number, path),
)
PROMPTS = [np.array([3, 4]), np.array([7])]


def test_answers_stand_by_prompt_in_their_order():
    answers = VllmSampler(Engine(), END, LIBRARY).sample(PROMPTS, 3, Sampling(max_new=8))
    assert [row.tolist() for row in answers.lists()] == [
        [3, 9], [3, 5, 9], [3, 5, 5, 9], [7, 9], [7, 5, 9], [7, 5, 5, 9],
    ]  # fmt: skip
    assert answers.counts.tolist() == [2, 3, 4, 2, 3, 4]
    assert answers.token[0].tolist() == [3, 9, 9, 9]
    torch.testing.assert_close(answers.logp[1], torch.tensor([-0.1, -0.2, -0.3, 0.0]))


def test_settings_are_handed_over():
    engine = Engine()
    sampler = VllmSampler(engine, END, LIBRARY)
    sampler.sample(PROMPTS, 2, Sampling(max_new=3, temperature=0.7, top_k=40), seed=5)
    sampler.use_adapters(Path("/runs/step-10"))
    sampler.use_adapters(Path("/runs/step-20"))
    sampler.sample(PROMPTS, 2, Sampling(max_new=3), seed=5)
    (prompts, how, adapters), (_, plain, later) = engine.asked
    assert prompts[0] == {"prompt_token_ids": [3, 4]}
    assert (how.n, how.temperature, how.top_k, how.max_tokens, how.stop_token_ids, how.seed) == (
        2,
        0.7,
        40,
        3,
        [END],
        5,
    )
    assert plain.top_k == -1
    assert adapters is None
    assert later == ("step-20-2", 2, "/runs/step-20")


def test_an_answer_that_was_cut_has_no_end():
    answers = VllmSampler(Engine(), END, LIBRARY).sample(PROMPTS, 3, Sampling(max_new=2))
    assert answers.lists()[2].tolist() == [3, 5]


def test_missing_answers_are_refused():
    with pytest.raises(ContractError, match="3 each were asked"):
        VllmSampler(Engine(lose=1), END, LIBRARY).sample(PROMPTS, 3, Sampling())


def test_without_the_library_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(AisleError, match=r"aisle\[vllm\]"):
        vllm_sampler("some/model", end_id=END)
