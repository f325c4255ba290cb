"""Learning from preferences: of answers to one prompt, some should become likelier than others.

One batch holds documents with their preferred answers first.  Methods differ in pure functions: how likely an answer is
(``answer_reward``), how rewards become a loss (``pairwise``, ``listwise``), which tokens count (weights), and how much of an
answer learns (``without_prefix_gradient``, ``gradient_times``).

Legend: S answers in all, R answer tokens, N pairs or preferred answers, J rejected answers of one prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone
from aisle.nn.backbones.packed import Packed, pack
from aisle.training.batches import RowBatches

Figures = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Preferences:
    """
    prompts   token lists
    chosen    for each prompt its preferred answers, one or more
    rejected  for each prompt its rejected answers, one or more
    """

    prompts: Sequence[Array]
    chosen: Sequence[Sequence[Array]]
    rejected: Sequence[Sequence[Array]]

    def __post_init__(self) -> None:
        complete = all(len(c) and len(r) for c, r in zip(self.chosen, self.rejected, strict=True))
        if len(self.prompts) != len(self.chosen) or not complete:
            raise ContractError(
                f"{len(self.prompts)} prompts with {len(self.chosen)} lists of preferred answers; each prompt needs a preferred "
                "and a rejected answer"
            )

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Array) -> Preferences:
        return Preferences(*([of[r] for r in rows] for of in (self.prompts, self.chosen, self.rejected)))


@dataclass(frozen=True, eq=False)
class PreferenceBatch:
    """
    packed     all answers, prompt by prompt, preferred ones first; a prompt is computed once
    prompt     int64[S]  number of the prompt in the batch
    preferred  bool[S]
    weight     float32[S, R] of each answer token; 0 beyond an answer's end
    reference  float32[S, R] log-probabilities under the frozen model, where a loss uses one
    """

    packed: Packed
    prompt: Tensor
    preferred: Tensor
    weight: Tensor
    reference: Tensor | None = None


def batch_of(
    preferences: Preferences,
    reference: Backbone | None = None,
    device: torch.device | str = "cpu",
    row_tokens: int = 512,
) -> PreferenceBatch:
    groups = [[*c, *r] for c, r in zip(preferences.chosen, preferences.rejected, strict=True)]
    packed = pack(preferences.prompts, groups, row_tokens=row_tokens).to(device)
    counts = np.array([len(g) for g in groups])
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.repeat([len(c) for c in preferences.chosen], counts)
    logp = None
    if reference is not None:
        with torch.no_grad():
            logp = reference.logp(packed)
    return PreferenceBatch(
        packed,
        torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device),
        torch.from_numpy(place < chosen).to(device),
        packed.is_token.float(),
        logp,
    )


def preference_batches(
    preferences: Preferences, size: int, *, reference: Backbone | None = None, seed: int = 0,
    device: torch.device | str = "cpu", rank: int = 0, of: int = 1,
) -> RowBatches:  # fmt: skip
    """``size`` prompts a batch."""
    return RowBatches.of_data(
        preferences, size, lambda taken: batch_of(taken, reference, device), seed=seed, rank=rank, of=of
    )


# -- how likely an answer is -------------------------------------------------------------------------------------------


def answer_reward(
    logp_SR: Tensor, weight_SR: Tensor, *, beta: float, reference_SR: Tensor | None = None, per_token: bool = False
) -> Tensor:
    """float[S], or float[N, J] of tokens [N, J, R]: beta * sum_t w_t (log pi_t - log pi_ref,t); without a reference log pi alone
    (SimPO's reward, with ``per_token``, its mean over the answer)."""
    gain_SR = logp_SR if reference_SR is None else logp_SR - reference_SR
    reward_S = beta * (gain_SR * weight_SR).sum(-1)
    return reward_S / (weight_SR > 0).sum(-1).clamp(min=1) if per_token else reward_S


# -- how rewards become a loss -----------------------------------------------------------------------------------------


def pairwise(chosen_N: Tensor, rejected_N: Tensor, *, smoothing: float = 0.0, margin: float = 0.0) -> Tensor:
    """float[N]: - log sigmoid(r+ - r- - margin) (DPO, arXiv:2305.18290); ``smoothing``: the chance that a pair is the wrong
    way round (conservative DPO)."""
    gap_N = chosen_N - rejected_N - margin
    return -(1 - smoothing) * functional.logsigmoid(gap_N) - smoothing * functional.logsigmoid(-gap_N)


def listwise(
    chosen_N: Tensor,
    rejected_NJ: Tensor,
    there_NJ: Tensor,
    *,
    mode: Literal["hardest", "easiest"] = "hardest",
    centred: bool = False,
) -> Tensor:
    """float[N]: one preferred answer against all rejected ones.

    ``hardest``   - log sigmoid(- log sum_j exp(r_j - r+)): S-DPO (arXiv:2406.09215), led by the likeliest rejected answer
    ``easiest``   - log sigmoid(log sum_j exp(r+ - r_j)): the form that RAD-DPO is quoted with, led by the least likely one
    ``centred``   shift the argument by log J, so that a tie of all costs log 2 however many there are
    """
    gap_NJ = chosen_N[:, None] - rejected_NJ
    masked = -gap_NJ if mode == "hardest" else gap_NJ
    soft_N = masked.masked_fill(~there_NJ, -torch.inf).logsumexp(1)
    count_N = there_NJ.sum(1).clamp(min=1).to(soft_N.dtype).log()
    if centred:
        soft_N = soft_N - count_N
    return -functional.logsigmoid(-soft_N if mode == "hardest" else soft_N)


def mean_over_prompts(value_N: Tensor, prompt_N: Tensor) -> Tensor:
    """The mean over each prompt's values, then over prompts: a prompt with many preferred answers counts as one with few."""
    _, place_N, count_P = torch.unique(prompt_N, return_inverse=True, return_counts=True)
    mean: Tensor = (value_N / count_P[place_N]).sum() / len(count_P)
    return mean


# -- how much of an answer learns --------------------------------------------------------------------------------------


def shared_prefix(token_SR: Tensor, one_N: Tensor, other_NJ: Tensor) -> Tensor:
    """int64[N, J]: in how many tokens answers begin alike.  ``token_SR``: ``Packed.answer``, -1 beyond an answer's end."""
    one_N1R, other_NJR = token_SR[one_N][:, None], token_SR[other_NJ]
    alike_NJR = (one_N1R == other_NJR) & (one_N1R >= 0)
    return alike_NJR.cumprod(2).sum(2)


def without_prefix_gradient(logp_NJR: Tensor, prefix_NJ: Tensor) -> Tensor:
    """The same values; the first ``prefix`` tokens of each answer get no gradient (RAD-DPO's detached prefixes): what a
    rejected answer shares with the preferred one is not pushed down with it."""
    is_prefix_NJR = torch.arange(logp_NJR.shape[2], device=logp_NJR.device) < prefix_NJ[..., None]
    return torch.where(is_prefix_NJR, logp_NJR.detach(), logp_NJR)


def gradient_times(value: Tensor, weight: Tensor) -> Tensor:
    """The same values with ``weight`` times their gradient: an answer counts less without its margin moving."""
    return weight * value + (1 - weight) * value.detach()


# -- the usual loss ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class PreferenceLoss:
    """The usual loss: every preferred answer against every rejected one of its prompt, plus an anchor.

    beta       how sharply rewards follow log-probabilities
    form       ``pairs``: DPO over all pairs; ``lists``: S-DPO, one term for each preferred answer
    nll        weight of - log pi a token of the preferred answers: keeps their likelihood from falling with the others'
    per_token  rewards are means over an answer's tokens
    """

    beta: float = 0.1
    form: Literal["pairs", "lists"] = "pairs"
    nll: float = 0.0
    per_token: bool = False
    smoothing: float = 0.0

    def __call__(self, module: Backbone, batch: PreferenceBatch) -> tuple[Mapping[str, Tensor], Figures]:
        logp_SR = module.logp(batch.packed)
        reward_S = answer_reward(
            logp_SR, batch.weight, beta=self.beta, reference_SR=batch.reference, per_token=self.per_token
        )
        if self.form == "pairs":
            better_N, worse_N = opponents(batch.prompt, batch.preferred)
            loss = pairwise(reward_S[better_N], reward_S[worse_N], smoothing=self.smoothing).mean()
        else:
            chosen_N, rejected_NJ, there_NJ = lists(batch.prompt, batch.preferred)
            loss = listwise(reward_S[chosen_N], reward_S[rejected_NJ], there_NJ).mean()
        losses = {"preference": loss}
        if self.nll:
            losses["nll"] = self.nll * preferred_nll(logp_SR, batch)
        return losses, monitors(logp_SR, reward_S, batch)


def preferred_nll(logp_SR: Tensor, batch: PreferenceBatch) -> Tensor:
    """The mean over all preferred answers of - log pi a token."""
    return -_per_token(logp_SR, batch)[batch.preferred].mean()


def monitors(logp_SR: Tensor, reward_S: Tensor, batch: PreferenceBatch) -> dict[str, float]:
    """What shows a run going wrong: rewards of the wrong order, and both sides losing likelihood."""
    with torch.no_grad():
        better_N, worse_N = opponents(batch.prompt, batch.preferred)
        gap_N, per_token_S = reward_S[better_N] - reward_S[worse_N], _per_token(logp_SR, batch)
        return {
            "margin": float(gap_N.mean()),
            "right": float((gap_N > 0).float().mean()),
            "logp_chosen": float(per_token_S[batch.preferred].mean()),
            "logp_rejected": float(per_token_S[~batch.preferred].mean()),
        }


def _per_token(logp_SR: Tensor, batch: PreferenceBatch) -> Tensor:
    """float[S]: the mean weighted log-probability of an answer's tokens."""
    return (logp_SR * batch.weight).sum(1) / (batch.weight > 0).sum(1).clamp(min=1)


# -- who stands against whom -------------------------------------------------------------------------------------------


def opponents(prompt_S: Tensor, preferred_S: Tensor) -> tuple[Tensor, Tensor]:
    """(better, worse), int64[N] each: every pair of a preferred and a rejected answer of one prompt."""
    same_SS = prompt_S[:, None] == prompt_S[None, :]
    pairs = same_SS & preferred_S[:, None] & ~preferred_S[None, :]
    better_N, worse_N = pairs.nonzero(as_tuple=True)
    return better_N, worse_N


def lists(prompt_S: Tensor, preferred_S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places among the S answers: of each preferred one int64[N], of its prompt's rejected ones int64[N, J], and which of these
    are there, bool[N, J]."""
    chosen_N = preferred_S.nonzero().squeeze(1)
    other_NS = (prompt_S[chosen_N][:, None] == prompt_S[None, :]) & ~preferred_S[None, :]
    most = int(other_NS.sum(1).max())
    # Present ones first, in their order: a stable sort by absence.
    rejected_NJ = torch.sort((~other_NS).long(), dim=1, stable=True).indices[:, :most]
    return chosen_N, rejected_NJ, other_NS.gather(1, rejected_NJ)
