"""AddUp: the losses times fixed weights, added up.  Dense scalarisation is a sweep over these weights
(Kurin et al., 2022, arXiv:2201.04122; Xin et al., 2022, arXiv:2209.11379)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aisle.balance._step import Steps
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.method import Part


class AddUp(Part):
    """weights: task -> weight of its loss, 0 or more."""

    weights: dict[str, float] = {"click": 1.0, "cart": 1.0, "order": 1.0}

    def model_post_init(self, context: Any) -> None:
        if not self.weights or min(self.weights.values()) < 0 or max(self.weights.values()) <= 0:
            raise SettingError(f"weights are {self.weights}; give each task a weight of 0 or more, one of them above 0")

    def build(self, env: Env) -> AddUpBalancer:
        return AddUpBalancer(self.weights)


class AddUpBalancer(Steps):
    """L = sum_k w_k L_k."""

    kept = ("weights",)

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self.tasks = tuple(weights)

    @property
    def active(self) -> tuple[str, ...]:
        return tuple(task for task, weight in self.weights.items() if weight > 0)


METHOD = AddUp
