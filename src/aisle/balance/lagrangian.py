"""Lagrangian: tasks are learned in the order of their priority, and what a task reached becomes a constraint on all later
training, held by a multiplier that learns by gradient ascent.  No weights to tune.

NMT, "No More Tuning: Prioritized Multi-Task Learning with Lagrangian Differential Multiplier Methods" (arXiv:2412.12092).
Card: docs/methods/lagrangian.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from aisle.balance._step import Figures, Steps, means
from aisle.core.balance import MeanOverWorkers
from aisle.core.env import Env
from aisle.core.errors import ContractError, SettingError
from aisle.core.method import Part

Reference = Literal["paired", "running"]

LATE = 7
"""A running average weighs its t-th loss with t to this power until it is as long as ``memory`` allows: a stage's level is what its
end was like, and an untrained model's losses are no part of it (polynomial-decay averaging, Shamir and Zhang, 2013)."""

LATELY = 0.9
"""Memory, a step, of the average violation that multipliers follow: short, and longer than one batch's noise."""


class Lagrangian(Part):
    """
    order      tasks by priority, the highest first; a group of tasks is learned in one stage, as a sum
    reference  what a constraint compares a batch with: ``paired``, the frozen model of the last stage on the same batch
               (sampling noise cancels), or ``running``, averages of training losses (no second forward)
    slack      how much a constrained loss may stand above its level, as a share of it
    rescale    divide the objective by 1 + the sum of multipliers, so that their growth is no growth of the learning rate
    rate       step of the multipliers' ascent on relative violations, averaged over some ten batches
    release    share of that step by which a multiplier falls below ``start``: a loss that stays below its level lets go slowly,
               for what is still learned of a task helps the tasks after it
    start      a multiplier when its constraint appears; above 0 the constraint holds from the first step on
    most       a multiplier never exceeds this
    memory     of the running averages, a step; at most, they are shorter in the beginning
    ahead      share of the objective that the tasks of later stages have together: their heads learn beside, on features that
               they hardly shape, and are no stage's length behind when it comes.  0 leaves them untouched till then
    levels     task -> level that a production model holds: such a task is a constraint from the start, with no stage of
               its own.  With levels for all but the last task there is one endless stage, for streams
    """

    order: tuple[str | tuple[str, ...], ...] = ("click", "cart", "order")
    reference: Reference = "paired"
    slack: float = 0.0
    rescale: bool = True
    rate: float = 0.2
    release: float = 0.1
    start: float = 1.0
    most: float = 1e3
    memory: float = 0.99
    ahead: float = 0.05
    levels: dict[str, float] = {}

    def model_post_init(self, context: Any) -> None:
        tasks = [task for group in self.groups for task in group]
        if not tasks or len(set(tasks)) < len(tasks):
            raise SettingError(f"order is {self.order}; name each task once, the highest priority first")
        shares = (0 <= self.release <= 1, 0 <= self.memory < 1, 0 <= self.ahead < 1)
        if self.rate <= 0 or self.slack < 0 or not 0 <= self.start <= self.most or not all(shares):
            raise SettingError(
                f"rate {self.rate}, release {self.release}, start {self.start}, most {self.most}, slack {self.slack}, memory "
                f"{self.memory}, ahead {self.ahead}; expected a rate above 0, release in [0, 1], start between 0 and most, slack "
                "of 0 or more, memory and ahead in [0, 1)"
            )
        led = [task for group in self.groups[: self.first_stage] for task in group]
        if self.first_stage == len(self.groups) or set(self.levels) != set(led):
            raise SettingError(
                f"levels are given for {sorted(self.levels)}; they must cover whole groups of {self.order} from its "
                "beginning, and leave the last one to be learned"
            )

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        return tuple((group,) if isinstance(group, str) else group for group in self.order)

    @property
    def first_stage(self) -> int:
        """How many groups have their levels already."""
        given = [all(task in self.levels for task in group) for group in self.groups]
        return given.index(False) if False in given else len(given)

    def build(self, env: Env) -> LagrangianBalancer:
        return LagrangianBalancer(self)


class LagrangianBalancer(Steps):
    """Stage k:  min over theta, max over lambda >= 0 of  [L_k + sum_{i<k} lambda_i (L_i - c_i)] / (1 + sum lambda).

    and 1 - ahead of that with ahead * (mean of L_j, j>k) beside it, while there are such tasks.  theta descends and lambda ascends
    on every batch, with the relative violation v_i = (L_i - c_i) / c_i - slack:

        u_i <- average of v_i of late
        lambda_i <- clip(lambda_i + rate * u_i, 0, most)        below ``start``, falls are ``release`` times that
    """

    kept = ("stage", "levels", "multipliers", "lately", "average", "seen", "violation")

    def __init__(self, settings: Lagrangian) -> None:
        self.settings = settings
        self.tasks = tuple(task for group in settings.groups for task in group)
        self.stage = settings.first_stage
        self.levels = dict(settings.levels)
        self.multipliers = dict.fromkeys(self.levels, settings.start)
        self.lately = dict.fromkeys(self.levels, 0.0)
        self.average: dict[str, float] = dict(self.levels)
        self.seen: dict[str, float] = dict.fromkeys(self.levels, (LATE + 1) / (1 - settings.memory))
        self.violation: dict[str, float] = {}

    @property
    def learned(self) -> tuple[str, ...]:
        """The tasks whose stage this is."""
        return self.settings.groups[self.stage]

    @property
    def active(self) -> tuple[str, ...]:
        return (*self.levels, *self.learned)

    @property
    def to_come(self) -> tuple[str, ...]:
        """The tasks of later stages."""
        return tuple(task for group in self.settings.groups[self.stage + 1 :] for task in group)

    @property
    def trained(self) -> tuple[str, ...]:
        return (*self.active, *self.to_come) if self.settings.ahead else self.active

    @property
    def wants_reference(self) -> bool:
        return self.settings.reference == "paired" and bool(self.levels)

    @property
    def weights(self) -> dict[str, float]:
        """What each loss is multiplied with."""
        later, scale = self.to_come if self.settings.ahead else (), 1.0
        if self.settings.rescale:
            scale /= 1.0 + sum(self.multipliers.values())
        if later:
            scale *= 1.0 - self.settings.ahead
        held = {task: scale * m for task, m in self.multipliers.items()}
        return {
            **held,
            **dict.fromkeys(self.learned, scale),
            **{task: self.settings.ahead / len(later) for task in later},
        }

    def _learn(
        self, losses: Mapping[str, Tensor], reference: Mapping[str, float] | None, mean: MeanOverWorkers
    ) -> Figures:
        level = means(losses, mean)
        self._remember(level)
        now, then = self.average, self.levels
        if self.wants_reference and reference is not None:
            now, then = dict(level), dict(mean({task: reference[task] for task in self.levels if task in level}))
        for task in [task for task in self.levels if task in level]:
            # The difference is taken as a share of the level and not of the batch's own reference: a batch without a
            # positive label has a reference near 0.
            self._ascend(task, (now[task] - then[task]) / self.levels[task] - self.settings.slack)
        return {
            **{f"violation/{task}": v for task, v in self.violation.items()},
            **{f"multiplier/{task}": m for task, m in self.multipliers.items()},
        }

    def _remember(self, level: Mapping[str, float]) -> None:
        for task, loss in level.items():
            seen = self.seen[task] = self.seen.get(task, 0.0) + 1
            keep = min(self.settings.memory, 1 - (LATE + 1) / (seen + LATE))
            self.average[task] = keep * self.average.get(task, loss) + (1 - keep) * loss

    def _ascend(self, task: str, violation: float) -> None:
        self.violation[task] = violation
        lately = self.lately[task] = LATELY * self.lately[task] + (1 - LATELY) * violation
        settings, now = self.settings, self.multipliers[task]
        raised = now + settings.rate * lately
        if raised < min(now, settings.start):
            least = min(now, settings.start)
            raised = least - settings.release * (least - raised)
        self.multipliers[task] = min(max(raised, 0.0), settings.most)

    def advance(self, levels: Mapping[str, float]) -> bool:
        """The levels of this stage's tasks become constraints; multipliers of earlier ones go on as they are.

        ``levels`` are the training losses of the parameters that the stage ends with; a running reference is compared
        with its own average instead.  Raises ContractError when a level is missing or not positive.
        """
        if self.stage == len(self.settings.groups) - 1:
            return False
        reached = self.average if self.settings.reference == "running" else levels
        for task in self.learned:
            if not reached.get(task, 0.0) > 0.0:
                raise ContractError(
                    f"the level of {task!r} is {reached.get(task)}; a stage must end with a training loss above 0 to hold"
                )
            self.levels[task] = float(reached[task])
            self.multipliers[task] = self.settings.start
            self.lately[task] = 0.0
        self.stage += 1
        return True


METHOD = Lagrangian
