"""Sampling on a vLLM engine (extra ``vllm``): the same answers as ``Backbone.sample`` gives, drawn by a server made for it.

    engine = vllm_sampler("Qwen/Qwen3-4B", end_id=words.end_id, adapters=folder)
    answers = engine.sample(prompts, 16, Sampling(max_new=256, temperature=1.0), seed=0)

It draws and does not learn: log-probabilities of a policy that trains come from the model that trains.  vLLM shares the cache of
a prompt among its answers and of a prefix among prompts.  Weights that changed are handed over as adapters (a folder that
``peft`` saved), under a new number each time, as the engine keeps what it knows by number.

Legend: Q prompts, G answers a prompt, S = Q G answers, R answer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aisle.core.errors import AisleError, ContractError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Answers, Sampling


class VllmSampler:
    """
    engine    a ``vllm.LLM``
    end_id    the token that closes an answer
    library   the module that brings SamplingParams, TokensPrompt and LoRARequest
    """

    def __init__(self, engine: Any, end_id: int, library: Any) -> None:
        self.engine, self.end_id, self._library = engine, end_id, library
        self._adapters: Any = None
        self._handed_over = 0

    def use_adapters(self, folder: Path) -> None:
        """Draw with these adapters from now on."""
        self._handed_over += 1
        name = f"{folder.name}-{self._handed_over}"
        self._adapters = self._library.LoRARequest(name, self._handed_over, str(folder))

    def sample(self, prompts: Sequence[Array], group: int, sampling: Sampling, *, seed: int = 0) -> Answers:
        """G answers to each prompt.  An answer that ended holds its end token, as everywhere here.

        ``logp`` is of the distribution that was drawn from (``processed_logprobs``): at its temperature and, unlike
        ``Backbone.sample``, behind ``top_k``.

        Raises ContractError when the engine gives fewer answers than were asked for.
        """
        how = self._library.SamplingParams(
            n=group,
            temperature=sampling.temperature,
            top_k=sampling.top_k or -1,
            max_tokens=sampling.max_new,
            stop_token_ids=[self.end_id],
            logprobs=0,
            seed=seed,
            detokenize=False,
        )
        asked = [self._library.TokensPrompt(prompt_token_ids=[int(t) for t in prompt]) for prompt in prompts]
        found = self.engine.generate(asked, how, lora_request=self._adapters, use_tqdm=False)
        drawn = [answer for of in found for answer in sorted(of.outputs, key=lambda answer: answer.index)]
        if len(drawn) != len(prompts) * group:
            raise ContractError(
                f"the engine gave {len(drawn)} answers to {len(prompts)} prompts; {group} each were asked"
            )
        return self._answers(drawn)

    def _answers(self, drawn: Sequence[Any]) -> Answers:
        counts = np.array([len(answer.token_ids) for answer in drawn], np.int64)
        token_SR = np.full((len(drawn), int(counts.max(initial=0))), self.end_id, np.int64)
        logp_SR = np.zeros(token_SR.shape, np.float32)
        for s, answer in enumerate(drawn):
            own = list(answer.token_ids)
            token_SR[s, : len(own)] = own
            logp_SR[s, : len(own)] = [at[token].logprob for at, token in zip(answer.logprobs, own, strict=True)]
        return Answers(torch.from_numpy(token_SR), torch.from_numpy(counts), torch.from_numpy(logp_SR))


def vllm_sampler(model: str, *, end_id: int, adapters: Path | None = None, **engine: Any) -> VllmSampler:
    """A sampler over a new engine.

    engine  further settings of ``vllm.LLM``, such as ``tensor_parallel_size=4`` or ``gpu_memory_utilization=0.5``

    Raises AisleError where vLLM is not installed.
    """
    try:
        library = _Library(import_module("vllm"), import_module("vllm.lora.request"))
    except ImportError:
        raise AisleError(
            "sampling on vLLM needs the library 'vllm' and a GPU: pip install 'aisle[vllm]'; without, leave the sampler out "
            "and the model samples itself"
        ) from None
    settings = {"enable_prefix_caching": True, "logprobs_mode": "processed_logprobs", "skip_tokenizer_init": True}
    made = library.LLM(model=model, enable_lora=adapters is not None, **{**settings, **engine})
    sampler = VllmSampler(made, end_id, library)
    if adapters is not None:
        sampler.use_adapters(adapters)
    return sampler


class _Library:
    """The four names of vLLM that are used."""

    def __init__(self, vllm: Any, lora: Any) -> None:
        self.LLM, self.SamplingParams, self.TokensPrompt = vllm.LLM, vllm.SamplingParams, vllm.inputs.TokensPrompt
        self.LoRARequest = lora.LoRARequest
