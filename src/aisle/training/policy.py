"""The losses of group-relative reinforcement learning: what answers that did better than their siblings teach.

    samples and rewards: ``rollouts.py``; advantages: ``advantages.py``; the stream of lessons that ``train`` reads: ``lessons.py``

Legend: Q prompts, G answers a prompt, S = Q G answers, R answer tokens, K items a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone, Constraint
from aisle.nn.backbones.packed import Packed
from aisle.training.advantages import over_tokens
from aisle.training.rollouts import ItemRollout, TextRollout

Figures = Mapping[str, float]

Surrogate = Callable[[Tensor, Tensor, Tensor, TextRollout], Tensor]
"""(log pi, its ratio to the old policy, advantage: float[S, R] each, rollout) -> float[S, R], to be made small."""

MOVED = 0.1
"""A log ratio beyond which a token counts as moved away from the old policy."""


def ratio(logp_SR: Tensor, old_SR: Tensor, is_token_SR: Tensor, by: Literal["token", "sequence"] = "token") -> Tensor:
    """float[S, R]: pi / pi_old of each token, or for ``sequence`` the exponential of the answer's mean log ratio, the same for
    all its tokens (GSPO, arXiv:2507.18071)."""
    log_ratio_SR = logp_SR - old_SR
    if by == "sequence":
        mean_S1 = (log_ratio_SR * is_token_SR).sum(1, keepdim=True) / is_token_SR.sum(1, keepdim=True).clamp(min=1)
        log_ratio_SR = mean_S1.expand_as(log_ratio_SR)
    return log_ratio_SR.exp()


def clipped(ratio_SR: Tensor, advantage_SR: Tensor, *, low: float = 0.2, high: float = 0.2) -> Tensor:
    """float[S, R]: - min(rho A, clip(rho, 1 - low, 1 + high) A)."""
    return -torch.minimum(ratio_SR * advantage_SR, ratio_SR.clamp(1 - low, 1 + high) * advantage_SR)


def on_policy(logp_SR: Tensor, advantage_SR: Tensor) -> Tensor:
    """float[S, R]: - (pi / stop(pi)) A.  The ratio is 1 in value, so nothing is clipped (GenRec's GRPO-SR)."""
    return -(logp_SR - logp_SR.detach()).exp() * advantage_SR


def k3(logp_SR: Tensor, reference_SR: Tensor) -> Tensor:
    """float[S, R]: exp(d) - d - 1, d = log pi_ref - log pi: an estimate of KL(pi || pi_ref) that is never negative."""
    difference_SR = reference_SR - logp_SR
    return difference_SR.exp() - difference_SR - 1


def exact_kl(logp_QK: Tensor, reference_QK: Tensor) -> Tensor:
    """float[Q]: KL(pi || pi_ref) over all K choices, where there are few enough to need no estimate."""
    return (logp_QK.exp() * (logp_QK - reference_QK)).sum(1)


def mean_over_answers(value_SR: Tensor, is_token_SR: Tensor) -> Tensor:
    """The mean over each answer's tokens, then over answers (GRPO as published, TRL's ``loss_type="grpo"``)."""
    return ((value_SR * is_token_SR).sum(1) / is_token_SR.sum(1).clamp(min=1)).mean()


def mean_over_tokens(value_SR: Tensor, is_token_SR: Tensor) -> Tensor:
    """The mean over all tokens of the batch: long answers count more (DAPO, arXiv:2503.14476)."""
    return (value_SR * is_token_SR).sum() / is_token_SR.sum().clamp(min=1)


def mean_over_budget(value_SR: Tensor, is_token_SR: Tensor, budget: int) -> Tensor:
    """The sum over each answer's tokens by a fixed number, then the mean over answers: a token counts the same in a short
    answer and in a long one, in this batch and in the next (Dr. GRPO, arXiv:2503.20783)."""
    return (value_SR * is_token_SR).sum(1).mean() / budget


def mean_over_steps(value_SR: Tensor, step_SR: Tensor) -> Tensor:
    """The mean over each step's tokens, then an answer's steps, then answers: long open steps do not drown short decisive ones.

    ``step_SR``: int64, the token's step, -1 for none.
    """
    num_steps = int(step_SR.max()) + 1 if step_SR.numel() else 0
    if num_steps == 0:
        return (value_SR * 0).sum()
    place_SR, has_SR = step_SR.clamp(min=0), (step_SR >= 0).to(value_SR.dtype)
    sums_SK = value_SR.new_zeros(len(value_SR), num_steps).scatter_add(1, place_SR, value_SR * has_SR)
    counts_SK = value_SR.new_zeros(len(value_SR), num_steps).scatter_add(1, place_SR, has_SR)
    present_SK = counts_SK > 0
    means_SK = sums_SK / counts_SK.clamp(min=1)
    return (means_SK.sum(1) / present_SK.sum(1).clamp(min=1)).mean()


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupLoss:
    """The usual ``loss``: clipped surrogate plus ``kl`` times k3 against a frozen reference, averaged by answer.

    per         how the mean is taken: by ``answer``, ``token`` or ``step`` (the rollout's column ``step``, int64[S, R], -1 for
                none), or by a fixed ``budget`` of tokens an answer
    by          whose ratio is clipped: each ``token``'s or the whole ``sequence``'s
    surrogate   in the place of the clipped one
    constraint  that held the answers when they were drawn
    reference   the frozen model that KL is measured from; None for no KL
    corrected   weight the KL of each token by its ratio, since the token was drawn from the older policy (arXiv:2512.02556)
    watch       (module, surrogate of each token, where there are tokens) -> more figures, before the backward
    """

    low: float = 0.2
    high: float = 0.2
    kl: float = 0.02
    per: Literal["answer", "token", "step", "budget"] = "answer"
    budget: int = 0
    by: Literal["token", "sequence"] = "token"
    surrogate: Surrogate | None = None
    temperature: float = 1.0
    constraint: Constraint | None = None
    reference: Backbone | None = None
    corrected: bool = False
    watch: Callable[[Backbone, Tensor, Tensor], Figures] | None = None

    def __post_init__(self) -> None:
        if (self.per == "budget") != (self.budget > 0):
            raise SettingError(
                f"per={self.per!r} with a budget of {self.budget} tokens; give a budget with per='budget' alone"
            )

    def __call__(
        self, module: Backbone, rollout: TextRollout, advantage: Tensor
    ) -> tuple[Mapping[str, Tensor], Figures]:
        packed = rollout.packed(module.device)
        return self.of(module, rollout, packed, module.logp(packed, self.temperature, self.constraint), advantage)

    def of(
        self, module: Backbone, rollout: TextRollout, packed: Packed, logp_SR: Tensor, advantage: Tensor
    ) -> tuple[Mapping[str, Tensor], Figures]:
        """The loss where log-probabilities are there already, because another loss reads the same forward."""
        is_token_SR = packed.is_token
        advantage_SR = over_tokens(advantage.to(logp_SR.device), is_token_SR)
        old_SR = rollout.old_logp[:, : logp_SR.shape[1]]
        ratio_SR = ratio(logp_SR, old_SR, is_token_SR, self.by)
        if self.surrogate is None:
            value_SR = clipped(ratio_SR, advantage_SR, low=self.low, high=self.high)
        else:
            value_SR = self.surrogate(logp_SR, ratio_SR, advantage_SR, rollout)
        losses = {"policy": self._mean(value_SR, is_token_SR, rollout)}
        figures = monitors(logp_SR, old_SR, is_token_SR)
        if self.watch is not None:
            figures |= self.watch(module, value_SR, is_token_SR)
        if self.reference is not None and self.kl:
            with torch.no_grad():
                reference_SR = self.reference.logp(packed, self.temperature, self.constraint)
            divergence_SR = k3(logp_SR, reference_SR)
            divergence_SR = divergence_SR * ratio_SR if self.corrected else divergence_SR
            divergence = self._mean(divergence_SR, is_token_SR, rollout)
            losses["kl"] = self.kl * divergence
            figures["kl"] = float(divergence.detach())
        return losses, figures

    def _mean(self, value_SR: Tensor, is_token_SR: Tensor, rollout: TextRollout) -> Tensor:
        if self.per == "answer":
            return mean_over_answers(value_SR, is_token_SR)
        if self.per == "token":
            return mean_over_tokens(value_SR, is_token_SR)
        if self.per == "budget":
            return mean_over_budget(value_SR, is_token_SR, self.budget)
        if "step" not in rollout.columns:
            raise ContractError(
                "a mean by step of a rollout without the column 'step'; note it in sample (rollout.noted)"
            )
        return mean_over_steps(value_SR, rollout.columns["step"][:, : value_SR.shape[1]])


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemLoss:
    """The same for a policy whose action is an item: a softmax over the scores of the K items that it drew.  The advantage is
    float[Q, K], an item's; KL is exact, over the K.

    score        (module, int64[Q] requests, int64[Q, K] items) -> float[Q, K], with gradients
    temperature  of the softmax
    """

    score: Callable[[Any, Array, Tensor], Tensor]
    temperature: float = 1.0
    low: float = 0.2
    high: float = 0.2
    kl: float = 0.04
    reference: Any = None

    def __call__(self, module: Any, rollout: ItemRollout, advantage_QK: Tensor) -> tuple[Mapping[str, Tensor], Figures]:
        logp_QK = self._logp(module, rollout)
        drawn_QK = torch.ones_like(logp_QK, dtype=torch.bool)
        ratio_QK = ratio(logp_QK, rollout.old_logp, drawn_QK)
        value_QK = clipped(ratio_QK, advantage_QK.to(logp_QK.device), low=self.low, high=self.high)
        losses = {"policy": value_QK.mean()}
        with torch.no_grad():
            figures = {
                "entropy": float(-(logp_QK.exp() * logp_QK).sum(1).mean()),
                "moved": float(((logp_QK - rollout.old_logp).abs() > MOVED).float().mean()),
            }
        if self.reference is not None and self.kl:
            with torch.no_grad():
                reference_QK = self._logp(self.reference, rollout)
            divergence = exact_kl(logp_QK, reference_QK).mean()
            losses["kl"] = self.kl * divergence
            figures["kl"] = float(divergence.detach())
        return losses, figures

    def _logp(self, module: Any, rollout: ItemRollout) -> Tensor:
        return (self.score(module, rollout.index, rollout.item) / self.temperature).log_softmax(1)


def monitors(logp_SR: Tensor, old_SR: Tensor, is_token_SR: Tensor) -> dict[str, float]:
    """What shows a run going wrong: surprise of the policy at its own tokens (an estimate of its entropy), answer length, and
    the share of tokens whose ratio has left 1 by more than a tenth."""
    with torch.no_grad():
        tokens = is_token_SR.sum().clamp(min=1)
        moved = ((logp_SR - old_SR).abs() > MOVED) & is_token_SR
        return {
            "entropy": float(-(logp_SR * is_token_SR).sum() / tokens),
            "length": float(is_token_SR.sum(1).float().mean()),
            "moved": float(moved.sum() / tokens),
        }
