"""What every language model here can do, and what it gives back.

Legend: B rows, T tokens, S branches or sampled answers, R answer tokens, N branch tokens, Q prompts, G answers a prompt,
V vocabulary, D width, C label tokens.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.lists import Array
from aisle.nn.backbones.packed import Packed, pack

Constraint = Callable[[Tensor], Tensor]
"""int64[S, t] tokens so far -> bool[S, V]: which may come next (a grammar, a trie of item ids, ``trie.py``)."""

HEAD_ROWS = 4096
"""Rows of logits that are made at a time; a vocabulary of 150,000 words times all tokens would not fit."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """
    max_new      answer tokens at most
    temperature  of the distribution sampled from; 0 takes the likeliest token
    top_k        only the k likeliest tokens; 0 for all
    """

    max_new: int = 64
    temperature: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, eq=False)
class Answers:
    """Q x G answers, those of one prompt together.

    token   int64[S, R]    the end token closes an answer; what follows is filled with it
    counts  int64[S]       tokens of each answer, its end token included
    logp    float32[S, R]  of each token, at the temperature it was drawn with and before ``top_k``; 0 beyond the end
    """

    token: Tensor
    counts: Tensor
    logp: Tensor

    def __len__(self) -> int:
        return len(self.token)

    def lists(self) -> list[Array]:
        """Each answer's tokens."""
        token = self.token.cpu().numpy()
        return [token[s, :n] for s, n in enumerate(self.counts.tolist())]


class Decoding(ABC):
    """Answers in the making: S = Q G of them, each knowing its prompt and its own tokens so far."""

    @abstractmethod
    def first(self) -> Tensor:
        """float32[Q, V]: scores of the first token of each prompt's answers."""

    @abstractmethod
    def next(self, token_S: Tensor) -> Tensor:
        """float32[S, V]: scores of the token after this one."""

    @abstractmethod
    def keep(self, row_S: Tensor) -> None:
        """Go on with these answers in the place of all (beams); a row stays with its prompt."""


class Backbone(nn.Module, ABC):
    """A causal language model.  ``end_id`` closes an answer.

    merger  a module of one's own, (the embedding, int64[...] tokens) -> float[..., D], through which prompts are read: numbers from
            ``vocab_size`` on may then stand for whole items of a history, or for vectors of another model.  It learns with
            the rest.  Answers are ordinary tokens
    """

    vocab_size: int
    width: int
    end_id: int

    def __init__(self) -> None:
        super().__init__()
        self.merger: nn.Module | None = None

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @property
    @abstractmethod
    def embedding(self) -> nn.Module:
        """int64[...] tokens of the vocabulary -> float[..., D]."""

    def embedded(self, token: Tensor) -> Tensor:
        """float[..., D]: tokens as the first layer reads them."""
        read: Tensor = self.embedding(token) if self.merger is None else self.merger(self.embedding, token)
        return read

    @abstractmethod
    def hidden(self, packed: Packed) -> Tensor:
        """float[B, T, D]: the last layer's output at every token."""

    @abstractmethod
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """float[N, V]: scores of the next token."""

    @abstractmethod
    def decoding(self, prompts: Sequence[Array], group: int, max_new: int) -> Decoding:
        """Ready for G answers to each prompt: a prompt is computed once and its cache shared by the group."""

    def sample(
        self,
        prompts: Sequence[Array],
        group: int,
        sampling: Sampling,
        *,
        generator: torch.Generator | None = None,
        constraint: Constraint | None = None,
    ) -> Answers:
        """G answers to each prompt, drawn from the tempered distribution."""
        with torch.inference_mode():
            answers = _sample(self, prompts, group, sampling, generator, constraint)
        # What was made in inference mode cannot be saved for a backward; a copy can.
        return Answers(answers.token.clone(), answers.counts.clone(), answers.logp.clone())

    def beams(
        self, prompts: Sequence[Array], width: int, max_new: int, *, constraint: Constraint | None = None
    ) -> tuple[Answers, Tensor]:
        """The ``width`` likeliest answers of a beam search to each prompt, the likeliest first, and their log-probabilities
        float32[Q, G] in all."""
        with torch.inference_mode():
            answers, total_QG = _beams(self, prompts, width, max_new, constraint)
        return Answers(answers.token.clone(), answers.counts.clone(), answers.logp.clone()), total_QG.clone()

    def logp(self, packed: Packed, temperature: float = 1.0, constraint: Constraint | None = None) -> Tensor:
        """float32[S, R]: log-probability of each branch token, 0 beyond a branch's end (``packed.is_token``).

        constraint  as answers were drawn with: among the tokens that may stand there; -inf for one that may not
        """
        return self.logp_of(self.hidden(packed), packed, temperature, constraint)

    def logp_of(
        self, hidden_BTD: Tensor, packed: Packed, temperature: float = 1.0, constraint: Constraint | None = None
    ) -> Tensor:
        """``logp`` from ``hidden(packed)``, where a loss reads both and pays for one forward."""
        source_ND, target_N = hidden_BTD[packed.row, packed.source], packed.target
        so_far_SR = packed.by_branch(target_N) if constraint is not None else None
        pieces = []
        for start in range(0, len(source_ND), HEAD_ROWS):
            part = slice(start, start + HEAD_ROWS)
            logits_NV = self.logits(source_ND[part]).float() / temperature
            if constraint is not None and so_far_SR is not None:
                allowed_NV = _allowed(constraint, so_far_SR, packed.owner[part], packed.step[part], self.vocab_size)
                logits_NV = logits_NV.masked_fill(~allowed_NV, -torch.inf)
            picked_N = logits_NV.gather(1, target_N[part, None]).squeeze(1)
            pieces.append(picked_N - logits_NV.logsumexp(1))
        return packed.by_branch(torch.cat(pieces))

    def ends(self, packed: Packed) -> Tensor:
        """float[S, D]: the last layer's output at the last token of each branch; the vector of a text that ends in a mark."""
        row_S, place_S = packed.last
        return self.hidden(packed)[row_S, place_S]

    def next_logits(self, packed: Packed) -> Tensor:
        """float32[S, V]: scores of the token after each branch."""
        return self.logits(self.ends(packed)).float()

    def label_probabilities(
        self, prefixes: Sequence[Array], suffixes: Sequence[Sequence[Array]], labels: Array
    ) -> Tensor:
        """float32[S, C]: the chances of C label tokens as the answer's first token, without generating one.

        A prefix (instructions and query) is computed once for all its suffixes (items).
        """
        logits_SV = self.next_logits(pack(prefixes, suffixes).to(self.device))
        return logits_SV[:, torch.as_tensor(np.asarray(labels, np.int64), device=logits_SV.device)].softmax(1)

    def learned(self) -> dict[str, Tensor]:
        """The tensors that must be kept to have this model again; of a pre-trained one with adapters, these alone."""
        return self.state_dict()

    def frozen(self) -> Self:
        """This model as it is now, to measure from while it goes on learning: the reference of KL and DPO.

        What does not learn is shared and not copied, so beside adapters the weights stand in memory once.
        """
        fixed = {id(parameter): parameter for parameter in self.parameters() if not parameter.requires_grad}
        return copy.deepcopy(self, fixed).eval().requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        """What makes the same model again, without its weights, as JSON values."""
        raise TypeError(f"{type(self).__name__} cannot be described; it has no settings()")


def draw(
    logits_SV: Tensor, sampling: Sampling, generator: torch.Generator | None, allowed_SV: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The next token int64[S] and its log-probability float32[S] under the tempered distribution over what is allowed."""
    greedy = sampling.temperature == 0
    if logits_SV.device.type == "cpu" and logits_SV.dtype == torch.float32:
        return _drawn_compiled(logits_SV, sampling, generator, allowed_SV)
    if allowed_SV is not None:
        logits_SV = logits_SV.masked_fill(~allowed_SV, -torch.inf)
    logp_SV = (logits_SV if greedy else logits_SV / sampling.temperature).log_softmax(1)
    kept_SV = logp_SV
    if 0 < sampling.top_k < logp_SV.shape[1]:
        least_S = logp_SV.topk(sampling.top_k, 1).values[:, -1:]
        kept_SV = logp_SV.masked_fill(logp_SV < least_S, -torch.inf)
    if greedy:
        token_S = kept_SV.argmax(1)
    else:
        # One uniform number a row and a search in the running sum; a draw may not land on what has no mass.
        sum_SV = kept_SV.exp().cumsum(1)
        drawn_S1 = torch.rand(len(sum_SV), 1, generator=generator, device=sum_SV.device).clamp_max_(1 - 2.0**-20)
        token_S = torch.searchsorted(sum_SV, drawn_S1 * sum_SV[:, -1:], right=True).squeeze(1)
    return token_S, logp_SV.gather(1, token_S[:, None]).squeeze(1)


def _allowed(constraint: Constraint, so_far_SR: Tensor, owner_N: Tensor, step_N: Tensor, vocab_size: int) -> Tensor:
    """bool[N, V]: what may stand in the place of each branch token; asked once for all tokens of the same place."""
    allowed_NV = torch.zeros(len(owner_N), vocab_size, dtype=torch.bool, device=owner_N.device)
    for step in torch.unique(step_N).tolist():
        there = (step_N == step).nonzero().squeeze(1)
        allowed_NV[there] = constraint(so_far_SR[owner_N[there], :step])
    return allowed_NV


def _drawn_compiled(
    logits_SV: Tensor, sampling: Sampling, generator: torch.Generator | None, allowed_SV: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``draw`` in one pass over the scores."""
    from aisle.nn.backbones.draw_kernels import drawn

    greedy = sampling.temperature == 0
    token_S = torch.empty(len(logits_SV), dtype=torch.int64)
    logp_S = torch.empty(len(logits_SV))
    uniform_S = torch.zeros(len(logits_SV)) if greedy else torch.rand(len(logits_SV), generator=generator)
    allowed = np.zeros((0, 0), np.bool_) if allowed_SV is None else allowed_SV.contiguous().numpy()
    scale, top_k = (1.0, -1) if greedy else (1 / sampling.temperature, sampling.top_k)
    drawn(
        logits_SV.detach().contiguous().numpy(),
        allowed,
        scale,
        top_k,
        uniform_S.numpy(),
        token_S.numpy(),
        logp_S.numpy(),
    )
    return token_S, logp_S


def _sample(
    model: Backbone,
    prompts: Sequence[Array],
    group: int,
    sampling: Sampling,
    generator: torch.Generator | None,
    constraint: Constraint | None,
) -> Answers:
    decoding = model.decoding(prompts, group, sampling.max_new)
    logits_SV = decoding.first().repeat_interleave(group, 0)
    token_SR, logp_SR = _blank(model, len(logits_SV), sampling.max_new)
    going_S = torch.ones(len(token_SR), dtype=torch.bool, device=token_SR.device)
    counts_S = torch.zeros(len(token_SR), dtype=torch.int64, device=token_SR.device)
    for step in range(sampling.max_new):
        allowed_SV = None if constraint is None else constraint(token_SR[:, :step])
        drawn_S, logp_S = draw(logits_SV, sampling, generator, allowed_SV)
        token_SR[:, step] = torch.where(going_S, drawn_S, model.end_id)
        logp_SR[:, step] = torch.where(going_S, logp_S, 0.0)
        counts_S += going_S
        going_S &= drawn_S != model.end_id
        if step + 1 == sampling.max_new or not bool(going_S.any()):
            break
        logits_SV = decoding.next(token_SR[:, step])
    longest = int(counts_S.max()) if len(counts_S) else 0
    return Answers(token_SR[:, :longest], counts_S, logp_SR[:, :longest])


def _beams(
    model: Backbone, prompts: Sequence[Array], width: int, max_new: int, constraint: Constraint | None
) -> tuple[Answers, Tensor]:
    """All beams of a prompt start as one: the others enter with no chance and are replaced at the first step."""
    num_prompts, vocabulary = len(prompts), model.vocab_size
    decoding = model.decoding(prompts, width, max_new)
    logits_SV = decoding.first().repeat_interleave(width, 0)
    token_SR, logp_SR = _blank(model, num_prompts * width, max_new)
    total_QG = torch.full((num_prompts, width), -torch.inf, device=token_SR.device)
    total_QG[:, 0] = 0.0
    ended_S = torch.zeros(num_prompts * width, dtype=torch.bool, device=token_SR.device)
    counts_S = torch.zeros(num_prompts * width, dtype=torch.int64, device=token_SR.device)
    base_Q1 = torch.arange(num_prompts, device=token_SR.device)[:, None] * width
    for step in range(max_new):
        if constraint is not None:
            logits_SV = logits_SV.masked_fill(~constraint(token_SR[:, :step]), -torch.inf)
        step_logp_SV = logits_SV.log_softmax(1)
        # An answer that has ended goes on as itself only, at no further cost.
        step_logp_SV[ended_S] = -torch.inf
        step_logp_SV[ended_S, model.end_id] = 0.0
        score_QN = (total_QG.reshape(-1, 1) + step_logp_SV).view(num_prompts, -1)
        total_QG, choice_QG = score_QN.topk(width, 1)
        row_S = (base_Q1 + choice_QG // vocabulary).view(-1)
        drawn_S = (choice_QG % vocabulary).view(-1)
        token_SR, logp_SR, counts_S, was_over_S = token_SR[row_S], logp_SR[row_S], counts_S[row_S], ended_S[row_S]
        token_SR[:, step] = drawn_S
        logp_SR[:, step] = step_logp_SV[row_S, drawn_S]
        counts_S = counts_S + ~was_over_S
        ended_S = was_over_S | (drawn_S == model.end_id)
        if step + 1 == max_new or bool(ended_S.all()):
            break
        decoding.keep(row_S)
        logits_SV = decoding.next(drawn_S)
    longest = int(counts_S.max()) if len(counts_S) else 0
    return Answers(token_SR[:, :longest], counts_S, logp_SR[:, :longest]), total_QG


def _blank(model: Backbone, rows: int, max_new: int) -> tuple[Tensor, Tensor]:
    token_SR = torch.full((rows, max_new), model.end_id, dtype=torch.int64, device=model.device)
    return token_SR, torch.zeros(rows, max_new, device=model.device)
