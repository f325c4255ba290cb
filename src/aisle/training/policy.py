"""Group-relative reinforcement learning: sample a group of answers, reward them, learn from their differences.

The loop is ``train``; what it reads is ``Rollouts``, a stream that samples from the very module that learns.  A method brings
five functions and nothing else:

    sample     (module, prompts, generator) -> rollouts          free answers, guided ones, items of the current tower, ...
    reward     (rollouts) -> float[Q, G] or float[Q, G, K]       right or wrong, step by step, gated, ...
    advantage  (reward, rollouts) -> Tensor                      by group, by step, between groups, ...
    loss       (module, rollouts, advantage) -> losses, figures  clipped, unclipped, at sequence level, beside another loss
    pick       (reward, rollouts) -> bool[Q]                     which groups are learned from; the rest is drawn anew

Legend: Q prompts, G answers a prompt, S = Q G answers, R answer tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Answers, Backbone, Sampling
from aisle.nn.backbones.packed import Packed, pack
from aisle.training.advantages import group_advantage, live_groups, spread_over_tokens
from aisle.training.distributed import ALONE, Workers

SALT = 0x6790


class Rollout(Protocol):
    """What a method's ``sample`` gives: Q groups that can be taken apart and put together."""

    def __len__(self) -> int:
        """Q."""
        ...

    def take(self, groups_Q: Array) -> Self: ...

    def join(self, other: Self) -> Self: ...


Roll = TypeVar("Roll", bound=Rollout)
Figures = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class TextRollout:
    """G answers to each of Q prompts.

    index    int64[Q]      the prompt's number in its pool
    prompts  token lists that the answers are scored under (not always those they were sampled under)
    answers  Q lists of G token lists
    old_logp float32[S, R] of the policy that sampled, 0 beyond an answer's end
    """

    index: Array
    prompts: Sequence[Array]
    answers: Sequence[Sequence[Array]]
    old_logp: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def group(self) -> int:
        return len(self.answers[0])

    def packed(self, device: torch.device | str = "cpu") -> Packed:
        return pack(self.prompts, self.answers).to(device)

    def take(self, groups_Q: Array) -> TextRollout:
        rows = (groups_Q[:, None] * self.group + np.arange(self.group)).ravel()
        return TextRollout(
            self.index[groups_Q],
            [self.prompts[q] for q in groups_Q],
            [self.answers[q] for q in groups_Q],
            self.old_logp[torch.from_numpy(rows)],
        )

    def join(self, other: TextRollout) -> TextRollout:
        longest = max(self.old_logp.shape[1], other.old_logp.shape[1])
        padded = [nn.functional.pad(r.old_logp, (0, longest - r.old_logp.shape[1])) for r in (self, other)]
        return TextRollout(
            np.concatenate([self.index, other.index]),
            [*self.prompts, *other.prompts],
            [*self.answers, *other.answers],
            torch.cat(padded),
        )


def sample_freely(
    module: Backbone,
    index_Q: Array,
    prompts: Sequence[Array],
    group: int,
    sampling: Sampling,
    generator: torch.Generator,
) -> TextRollout:
    """The usual ``sample``: G answers to each prompt as it stands."""
    answers: Answers = module.sample(prompts, group, sampling, generator=generator)
    lists = answers.lists()
    grouped = [lists[q * group : (q + 1) * group] for q in range(len(prompts))]
    return TextRollout(index_Q, prompts, grouped, answers.logp)


# -- losses ------------------------------------------------------------------------------------------------------------


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


def mean_over_answers(value_SR: Tensor, is_token_SR: Tensor) -> Tensor:
    """The mean over each answer's tokens, then over answers (GRPO as published, TRL's ``loss_type="grpo"``)."""
    return ((value_SR * is_token_SR).sum(1) / is_token_SR.sum(1).clamp(min=1)).mean()


def mean_over_tokens(value_SR: Tensor, is_token_SR: Tensor) -> Tensor:
    """The mean over all tokens of the batch: long answers count more (DAPO, arXiv:2503.14476)."""
    return (value_SR * is_token_SR).sum() / is_token_SR.sum().clamp(min=1)


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

    per        ``answer`` or ``token``: how the mean is taken
    by         whose ratio is clipped: each ``token``'s or the whole ``sequence``'s
    reference  the frozen model that KL is measured from; None for no KL
    corrected  weight the KL of each token by its ratio, since the token was drawn from the older policy (arXiv:2512.02556)
    watch      (module, surrogate of each token, where there are tokens) -> more figures, before the backward
    """

    low: float = 0.2
    high: float = 0.2
    kl: float = 0.02
    per: Literal["answer", "token"] = "answer"
    by: Literal["token", "sequence"] = "token"
    temperature: float = 1.0
    reference: Backbone | None = None
    corrected: bool = False
    watch: Callable[[Backbone, Tensor, Tensor], Figures] | None = None

    def __call__(
        self, module: Backbone, rollout: TextRollout, advantage: Tensor
    ) -> tuple[Mapping[str, Tensor], Figures]:
        packed = rollout.packed(module.device)
        is_token_SR = packed.is_token
        logp_SR = module.logp(packed, self.temperature)
        advantage_SR = advantage if advantage.shape == logp_SR.shape else spread_over_tokens(advantage, is_token_SR)
        old_SR = rollout.old_logp[:, : logp_SR.shape[1]]
        ratio_SR = ratio(logp_SR, old_SR, is_token_SR, self.by)
        value_SR = clipped(ratio_SR, advantage_SR, low=self.low, high=self.high)
        mean = mean_over_answers if self.per == "answer" else mean_over_tokens
        losses = {"policy": mean(value_SR, is_token_SR)}
        figures = monitors(logp_SR, old_SR, is_token_SR)
        if self.watch is not None:
            figures |= self.watch(module, value_SR, is_token_SR)
        if self.reference is not None and self.kl:
            with torch.no_grad():
                reference_SR = self.reference.logp(packed, self.temperature)
            divergence_SR = k3(logp_SR, reference_SR)
            divergence = mean(divergence_SR * ratio_SR if self.corrected else divergence_SR, is_token_SR)
            losses["kl"] = self.kl * divergence
            figures["kl"] = float(divergence.detach())
        return losses, figures


def monitors(logp_SR: Tensor, old_SR: Tensor, is_token_SR: Tensor) -> dict[str, float]:
    """What shows a run going wrong: surprise of the policy at its own tokens (an estimate of its entropy), answer length, and
    the share of tokens whose ratio has left 1 by more than a tenth."""
    with torch.no_grad():
        tokens = is_token_SR.sum().clamp(min=1)
        moved = ((logp_SR - old_SR).abs() > 0.1) & is_token_SR
        return {
            "entropy": float(-(logp_SR * is_token_SR).sum() / tokens),
            "length": float(is_token_SR.sum(1).float().mean()),
            "moved": float(moved.sum() / tokens),
        }


# -- the stream of rollouts --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicySteps(Generic[Roll]):
    """The functions in which methods differ.  ``advantage`` and ``pick`` have the usual defaults: the group's z-score, and
    every group whose rewards differ."""

    sample: Callable[[Any, Array, torch.Generator], Roll]
    reward: Callable[[Roll], Tensor]
    loss: Callable[[Any, Roll, Tensor], tuple[Mapping[str, Tensor], Figures]]
    advantage: Callable[[Tensor, Roll], Tensor] = lambda reward, rollout: group_advantage(reward)
    pick: Callable[[Tensor, Roll], Tensor] = lambda reward, rollout: live_groups(
        reward if reward.dim() == 2 else reward.flatten(2).sum(2)
    )


@dataclass(frozen=True, eq=False)
class Lesson(Generic[Roll]):
    """One step's data: the groups that were picked, their advantages, and what the sampling looked like."""

    rollout: Roll
    advantage: Tensor
    figures: dict[str, float] = field(default_factory=dict)


class RolloutBatches(Generic[Roll]):
    """Lessons sampled from ``module`` as it stands when the lesson is asked for; a ``Batches`` of ``train``.

    order     int64[...] pool numbers in the order in which they are asked (repeat, balance or sort it to taste)
    prompts   prompts a step
    tries     how often groups that were not picked are replaced by fresh prompts, before the step goes on with fewer
    inner     optimiser steps on one lesson; above 1 clipping begins to matter
    steps     lessons of an epoch
    workers   processes that train together: each draws ``prompts`` of its own share of ``order``

    Every draw follows from the seed, the step's number and the process, so a run that was stopped goes on identically.
    """

    def __init__(
        self,
        module: nn.Module,
        order: Array,
        functions: PolicySteps[Roll],
        *,
        prompts: int,
        steps: int,
        tries: int = 3,
        inner: int = 1,
        seed: int = 0,
        workers: Workers = ALONE,
    ) -> None:
        if len(order) < workers.size or min(prompts, steps, inner) < 1:
            raise SettingError(
                f"{len(order)} prompts in the pool of {workers.size} processes, {prompts} a step, {steps} steps, {inner} inner "
                "ones; each must be 1 or more, and each process needs a prompt"
            )
        self._module, self._order, self._functions = module, order[workers.rank :: workers.size], functions
        self._prompts, self._steps, self._tries, self._inner, self._seed = prompts, steps, tries, inner, seed
        self._workers = workers
        self.asked = 0
        self.given = 0
        self._lesson: Lesson[Roll] | None = None

    def __len__(self) -> int:
        return self._steps * self._inner

    def __iter__(self) -> Iterator[Lesson[Roll]]:
        while True:
            if self.given % self._inner == 0 or self._lesson is None:
                self._lesson = self._draw()
            self.given += 1
            yield self._lesson
            if self.given % len(self) == 0:
                return

    def state(self) -> Mapping[str, Any]:
        """Raises ContractError in the middle of a lesson, whose rollouts are not kept: save every ``inner`` steps."""
        if self.given % self._inner:
            raise ContractError(
                f"{self.given} steps were taken, {self._inner} on each lesson; set save_every to a multiple of {self._inner}"
            )
        return {"asked": self._workers.gather(self.asked), "given": self.given}

    def load(self, state: Mapping[str, Any]) -> None:
        """With another number of processes than before, each goes on after the last prompt that any of them had asked."""
        asked = [int(n) for n in state["asked"]]
        self.asked = asked[self._workers.rank] if len(asked) == self._workers.size else max(asked)
        self.given, self._lesson = int(state["given"]), None

    def _draw(self) -> Lesson[Roll]:
        """Sample until enough groups are picked.  Where none ever is, the last ones stand in, with advantages near 0."""
        device = next(self._module.parameters()).device
        drawn_from = np.random.SeedSequence((self._seed, SALT, self._workers.rank, self.given))
        generator = torch.Generator(device).manual_seed(int(drawn_from.generate_state(1, np.uint64)[0] >> 1))
        kept: Roll | None = None
        rewards: list[Tensor] = []
        drawn, picked, mean_reward = 0, 0, 0.0
        was_training = self._module.training
        self._module.eval()
        for _ in range(1 + self._tries):
            wanted = self._prompts - (len(kept) if kept is not None else 0)
            rollout, reward, keep_Q = self._try(wanted, generator)
            drawn, picked = drawn + len(rollout), picked + len(keep_Q)
            mean_reward += float(reward.float().flatten(1).mean(1).sum())
            if len(keep_Q):
                part = rollout.take(keep_Q)
                kept = part if kept is None else kept.join(part)
                rewards.append(reward[torch.from_numpy(keep_Q)])
            if kept is not None and len(kept) == self._prompts:
                break
        self._module.train(was_training)
        if kept is None:
            kept, rewards = rollout, [reward]
        all_rewards = torch.cat(rewards)
        figures = {"reward": mean_reward / drawn, "live": picked / drawn, "groups": float(len(kept))}
        return Lesson(kept, self._functions.advantage(all_rewards, kept), figures)

    def _try(self, wanted: int, generator: torch.Generator) -> tuple[Roll, Tensor, Array]:
        places = (self.asked + np.arange(wanted)) % len(self._order)
        self.asked += wanted
        with torch.no_grad():
            rollout = self._functions.sample(self._module, self._order[places], generator)
            reward = self._functions.reward(rollout)
        keep_Q = np.flatnonzero(self._functions.pick(reward, rollout).cpu().numpy())
        return rollout, reward, keep_Q


def lesson_loss(functions: PolicySteps[Roll]) -> Callable[[Any, Lesson[Roll]], tuple[Mapping[str, Tensor], Figures]]:
    """The ``loss`` that ``train`` calls on a lesson."""

    def loss(module: Any, lesson: Lesson[Roll]) -> tuple[Mapping[str, Tensor], Figures]:
        losses, figures = functions.loss(module, lesson.rollout, lesson.advantage)
        return losses, {**lesson.figures, **figures}

    return loss


def with_old_logp(module: Backbone, rollout: TextRollout, temperature: float = 1.0) -> TextRollout:
    """The same answers with ``old_logp`` as the module gives them under ``rollout.prompts``: for answers that were sampled
    under another prompt (a hint, a context) and are learned under this one."""
    with torch.no_grad():
        return replace(rollout, old_logp=module.logp(rollout.packed(module.device), temperature))
