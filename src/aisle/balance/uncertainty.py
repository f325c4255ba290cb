"""Uncertainty: each loss weighted by a learned noise level (Kendall, Gal and Cipolla, 2018, arXiv:1705.07115)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from torch import Tensor

from aisle.balance._step import Figures, Steps, means
from aisle.core.balance import MeanOverWorkers
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.method import Part


class Uncertainty(Part):
    """tasks: names of the losses.  rate: step of the noise levels' own descent."""

    tasks: tuple[str, ...] = ("click", "cart", "order")
    rate: float = 0.05

    def model_post_init(self, context: Any) -> None:
        if not self.tasks or not 0 < self.rate <= 1:
            raise SettingError(f"tasks {self.tasks}, rate {self.rate}; give one task or more and a rate in (0, 1]")

    def build(self, env: Env) -> UncertaintyBalancer:
        return UncertaintyBalancer(self.tasks, self.rate)


class UncertaintyBalancer(Steps):
    """L = sum_k exp(-s_k) L_k + s_k / 2, minimised over the model and over s_k, the logarithm of task k's variance.

    For fixed losses s_k settles at log(2 L_k): the weight of a task is one over twice its loss.
    """

    kept = ("log_variance",)

    def __init__(self, tasks: Sequence[str], rate: float) -> None:
        self.tasks = tuple(tasks)
        self.log_variance = dict.fromkeys(tasks, 0.0)
        self.rate = rate

    @property
    def weights(self) -> dict[str, float]:
        return {task: exp(-s) for task, s in self.log_variance.items()}

    def _learn(
        self, losses: Mapping[str, Tensor], reference: Mapping[str, float] | None, mean: MeanOverWorkers
    ) -> Figures:
        weights = self.weights
        for task, level in means(losses, mean).items():
            self.log_variance[task] -= self.rate * (0.5 - weights[task] * level)
        return {}


METHOD = Uncertainty
