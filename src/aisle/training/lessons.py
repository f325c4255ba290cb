"""Lessons of reinforcement: sample, reward, pick what can teach, and give it to the training loop.

The loop is ``train``; what it reads is ``RolloutBatches``, a stream that samples from the very module that learns.  A method
brings these functions and nothing else:

    sample     (module, ask) -> rollout                          free answers, guided ones, items of the current tower, ...
    reward     (rollout) -> float[Q, G] or float[Q, G, K]        right or wrong, step by step, gated, ...
    advantage  (reward, rollout) -> Tensor                       by group, by step, between groups, ...
    loss       (module, rollout, advantage) -> losses, figures   clipped, unclipped, at sequence level, beside another loss
    pick       (reward, rollout) -> bool[Q]                      which groups are learned from; the rest is drawn anew
    again      (reward, rollout, times) -> int64[Q]              in how many lessons a prompt is to come back; 0 for never
    note       (reward, rollout) -> figures                      what to write down of everything that was drawn

What a reward needs of the module (vectors, ranks) or of the lesson's number (a gate that closes slowly), ``sample`` notes as
columns of the rollout.  Rounds against a fresher reference are further calls of ``train``.

Legend: Q prompts, G answers a prompt, K steps of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array
from aisle.training.advantages import group_advantage, live_groups
from aisle.training.distributed import ALONE, Workers
from aisle.training.rollouts import Rollout

SALT = 0x6790

RETURNING = 0.5
"""Share of a lesson's prompts that may be old ones which came back; the others are new, or nothing else would be learned."""

Roll = TypeVar("Roll", bound=Rollout)
Figures = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Ask:
    """What is asked of ``sample``.

    index      int64[Q]  numbers of prompts in the pool
    times      int64[Q]  how often each came back before; 0 for one that is asked in its turn
    lesson     the lesson's number from 0, for what is annealed as a run goes on
    generator  the lesson's random numbers
    """

    index: Array
    times: Array
    lesson: int
    generator: torch.Generator


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicySteps(Generic[Roll]):
    """The functions in which methods differ.  ``advantage`` and ``pick`` have the usual defaults: the group's z-score, and
    every group whose rewards differ, in any step; without ``again`` no prompt comes back before its turn."""

    sample: Callable[[Any, Ask], Roll]
    reward: Callable[[Roll], Tensor]
    loss: Callable[[Any, Roll, Tensor], tuple[Mapping[str, Tensor], Figures]]
    advantage: Callable[[Tensor, Roll], Tensor] = lambda reward, rollout: group_advantage(reward)
    pick: Callable[[Tensor, Roll], Tensor] = lambda reward, rollout: live_groups(reward)
    again: Callable[[Tensor, Roll, Array], Array] | None = None
    note: Callable[[Tensor, Roll], Figures] | None = None


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
        self.due = np.zeros((0, 3), np.int64)
        """Prompts that come back: from which lesson on, which prompt, for which time."""
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
        due = self._workers.gather_all(self.due.ravel().tolist())
        return {"asked": self._workers.gather(self.asked), "given": self.given, "due": due}

    def load(self, state: Mapping[str, Any]) -> None:
        """With another number of processes than before, each goes on after the last prompt that any of them had asked, and takes
        its share of those that come back."""
        asked = state["asked"]
        due = state.get("due", [[] for _ in asked])
        rank, size = self._workers.rank, self._workers.size
        same = len(asked) == size
        self.asked = int(asked[rank] if same else max(asked))
        back = due[rank] if same else [n for of in due for n in of]
        self.due = np.array(back, np.int64).reshape(-1, 3)[slice(None) if same else slice(rank, None, size)]
        self.given, self._lesson = int(state["given"]), None

    def _draw(self) -> Lesson[Roll]:
        """Sample until enough groups are picked.  Where none ever is, the last ones stand in, with advantages near 0."""
        device = next(self._module.parameters()).device
        drawn_from = np.random.SeedSequence((self._seed, SALT, self._workers.rank, self.given))
        generator = torch.Generator(device).manual_seed(int(drawn_from.generate_state(1, np.uint64)[0] >> 1))
        kept: Roll | None = None
        rewards: list[Tensor] = []
        drawn, picked, sums = 0, 0, {"reward": 0.0}
        was_training = self._module.training
        self._module.eval()
        for _ in range(1 + self._tries):
            wanted = self._prompts - (len(kept) if kept is not None else 0)
            rollout, reward, keep_Q, noted = self._try(wanted, generator)
            drawn, picked = drawn + len(rollout), picked + len(keep_Q)
            for name, value in noted.items():
                sums[name] = sums.get(name, 0.0) + value * len(rollout)
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
        figures = {name: total / drawn for name, total in sums.items()}
        figures |= {"live": picked / drawn, "groups": float(len(kept))}
        return Lesson(kept, self._functions.advantage(all_rewards, kept), figures)

    def _try(self, wanted: int, generator: torch.Generator) -> tuple[Roll, Tensor, Array, Figures]:
        """What was drawn, its rewards, the places of the groups to learn from, and figures, each a mean over the groups."""
        ask = self._ask(wanted, generator)
        with torch.no_grad():
            rollout = self._functions.sample(self._module, ask)
            reward = self._functions.reward(rollout)
        keep_Q = np.flatnonzero(self._functions.pick(reward, rollout).cpu().numpy())
        if self._functions.again is not None:
            self._come_back(ask, self._functions.again(reward, rollout, ask.times))
        noted = {} if self._functions.note is None else self._functions.note(reward, rollout)
        return rollout, reward, keep_Q, {"reward": float(reward.float().mean()), **noted}

    def _ask(self, wanted: int, generator: torch.Generator) -> Ask:
        """Those that are due, the longest waiting first, and new ones in their order."""
        lesson = self.given // self._inner
        back = np.flatnonzero(self.due[:, 0] <= lesson)
        back = back[np.argsort(self.due[back, 0], kind="stable")][: int(wanted * RETURNING)]
        _, old, times = self.due[back].T
        self.due = np.delete(self.due, back, axis=0)
        fresh = self._order[(self.asked + np.arange(wanted - len(back))) % len(self._order)]
        self.asked += len(fresh)
        return Ask(np.concatenate([old, fresh]), np.append(times, np.zeros(len(fresh), np.int64)), lesson, generator)

    def _come_back(self, ask: Ask, lessons_Q: Array) -> None:
        """Note when the prompts return that do; a prompt waits once, as it did first."""
        rows = np.stack([ask.lesson + lessons_Q, ask.index, ask.times + 1], 1)[lessons_Q > 0]
        due = np.concatenate([self.due, rows])
        _, first = np.unique(due[:, 1], return_index=True)
        self.due = due[np.sort(first)]


def lesson_loss(functions: PolicySteps[Roll]) -> Callable[[Any, Lesson[Roll]], tuple[Mapping[str, Tensor], Figures]]:
    """The ``loss`` that ``train`` calls on a lesson."""

    def loss(module: Any, lesson: Lesson[Roll]) -> tuple[Mapping[str, Tensor], Figures]:
        losses, figures = functions.loss(module, lesson.rollout, lesson.advantage)
        return losses, {**lesson.figures, **figures}

    return loss
