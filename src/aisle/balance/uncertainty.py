"""Uncertainty: each loss weighted by a learned noise level (Kendall, Gal and Cipolla, 2018, arXiv:1705.07115)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from torch import Tensor

from aisle.balance._gradients import known
from aisle.core.balance import MeanOverWorkers, alone
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.method import Part, State


class Uncertainty(Part):
    """tasks: names of the losses.  rate: step of the noise levels' own descent."""

    tasks: tuple[str, ...] = ("click", "cart", "order")
    rate: float = 0.05

    def model_post_init(self, context: Any) -> None:
        if not self.tasks or not 0 < self.rate <= 1:
            raise SettingError(f"tasks {self.tasks}, rate {self.rate}; give one task or more and a rate in (0, 1]")

    def build(self, env: Env) -> UncertaintyBalancer:
        return UncertaintyBalancer(self.tasks, self.rate)


class UncertaintyBalancer:
    """L = sum_k exp(-s_k) L_k + s_k / 2, minimised over the model and over s_k, the logarithm of task k's variance.

    For fixed losses s_k settles at log(2 L_k): the weight of a task is one over twice its loss.
    """

    wants_reference = False

    def __init__(self, tasks: Sequence[str], rate: float) -> None:
        self.log_variance = dict.fromkeys(tasks, 0.0)
        self.rate = rate

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.log_variance)

    @property
    def active(self) -> tuple[str, ...]:
        return self.tasks

    def step(
        self,
        losses: Mapping[str, Tensor],
        shared: Sequence[Tensor],
        reference: Mapping[str, float] | None = None,
        mean: MeanOverWorkers = alone,
    ) -> Mapping[str, float]:
        here = known(losses, self.tasks)
        weights = {task: exp(-self.log_variance[task]) for task in self.tasks}
        parts = [weights[task] * losses[task] for task in here]
        if parts:
            sum(parts[1:], parts[0]).backward()
        level = mean({task: float(losses[task].detach()) for task in here})
        for task in here:
            self.log_variance[task] -= self.rate * (0.5 - weights[task] * level[task])
        return {f"weight/{task}": weight for task, weight in weights.items()}

    def advance(self, levels: Mapping[str, float]) -> bool:
        return False

    def state(self) -> State:
        return State(values={"log_variance": self.log_variance})

    def load(self, state: State) -> None:
        self.log_variance = {str(task): float(s) for task, s in state.values["log_variance"].items()}


METHOD = Uncertainty
