"""AddUp: the losses times fixed weights, added up.  Dense scalarisation is a sweep over these weights
(Kurin et al., 2022, arXiv:2201.04122; Xin et al., 2022, arXiv:2209.11379)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from aisle.balance._gradients import known
from aisle.core.balance import MeanOverWorkers, alone
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.method import Part, State


class AddUp(Part):
    """weights: task -> weight of its loss, 0 or more."""

    weights: dict[str, float] = {"click": 1.0, "cart": 1.0, "order": 1.0}

    def model_post_init(self, context: Any) -> None:
        if not self.weights or min(self.weights.values()) < 0 or max(self.weights.values()) <= 0:
            raise SettingError(f"weights are {self.weights}; give each task a weight of 0 or more, one of them above 0")

    def build(self, env: Env) -> AddUpBalancer:
        return AddUpBalancer(self.weights)


class AddUpBalancer:
    """L = sum_k w_k L_k.  A task whose labels a batch lacks is left out of that batch's sum."""

    wants_reference = False

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.weights)

    @property
    def active(self) -> tuple[str, ...]:
        return tuple(task for task, weight in self.weights.items() if weight > 0)

    def step(
        self,
        losses: Mapping[str, Tensor],
        shared: Sequence[Tensor],
        reference: Mapping[str, float] | None = None,
        mean: MeanOverWorkers = alone,
    ) -> Mapping[str, float]:
        parts = [self.weights[task] * losses[task] for task in known(losses, self.tasks) if self.weights[task] > 0]
        if parts:
            sum(parts[1:], parts[0]).backward()
        return {f"weight/{task}": weight for task, weight in self.weights.items()}

    def advance(self, levels: Mapping[str, float]) -> bool:
        return False

    def state(self) -> State:
        return State(values={"weights": self.weights})

    def load(self, state: State) -> None:
        self.weights = {str(task): float(weight) for task, weight in state.values["weights"].items()}


METHOD = AddUp
