"""Reward models for off-policy estimates, and cross-fitting, so that no round is judged by a model that saw its reward.

Legend: N rounds, A actions, D features, C cells, F folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array
from aisle.evaluate._bandit import BanditLog


class RewardModel(Protocol):
    """Predicts the reward of every action from some of the rounds."""

    def predict(self, log: BanditLog, rows: Array, weight: Array) -> Array:
        """float64[N, A]: learnt from ``rows`` int64[R] with ``weight`` float64[N], predicted for all rounds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TabularReward:
    """The weighted mean reward of each cell, shrunken towards the mean of all.

    cell      int64[N, A] or [A]: which rounds and actions share a mean, such as action, or user group x action
    strength  weight of the overall mean, in rounds of mean weight
    """

    cell: Array
    strength: float = 1.0

    def predict(self, log: BanditLog, rows: Array, weight: Array) -> Array:
        cell_NA = np.broadcast_to(self.cell, (len(log), self.cell.shape[-1]))
        size = int(cell_NA.max(initial=-1)) + 1
        taken, w = cell_NA[rows, log.action[rows]], weight[rows]
        if not w.sum() > 0:
            return np.zeros(cell_NA.shape)
        middle = float(w @ log.reward[rows] / w.sum())
        prior = self.strength * float(w.mean())
        total = np.bincount(taken, w, size) + prior
        gained = np.bincount(taken, w * log.reward[rows], size) + prior * middle
        mean: Array = np.divide(gained, total, out=np.full(size, middle), where=total > 0)[cell_NA]
        return mean


@dataclass(frozen=True, slots=True, eq=False)
class LinearReward:
    """Weighted ridge regression of the reward on ``feature`` float64[N, A, D]; the last feature may be a constant 1."""

    feature: Array
    ridge: float = 1.0

    def predict(self, log: BanditLog, rows: Array, weight: Array) -> Array:
        if self.feature.shape[0] != len(log):
            raise ContractError(f"features of {self.feature.shape[0]} rounds for a log of {len(log)}; give [N, A, D]")
        x, w = self.feature[rows, log.action[rows]], weight[rows]
        w = w / max(float(w.mean()) if len(w) else 1.0, 1e-12)
        left = (x * w[:, None]).T @ x + self.ridge * np.eye(x.shape[1])
        found: Array = self.feature @ np.linalg.solve(left, x.T @ (w * log.reward[rows]))
        return found


def fitted_reward(
    log: BanditLog, model: RewardModel, weight: Array | None = None, *, folds: int = 5, seed: int = 0
) -> Array:
    """float64[N, A]: predictions for each round by a model fitted on the other folds.

    Rounds of one cluster share a fold.  Raises SettingError for fewer than 2 folds.
    """
    if folds < 2:
        raise SettingError(f"{folds} folds; give 2 or more")
    weight = np.ones(len(log)) if weight is None else weight
    cluster = np.arange(len(log)) if log.cluster is None else np.unique(log.cluster, return_inverse=True)[1]
    drawn = np.random.default_rng(seed).permutation(int(cluster.max(initial=-1)) + 1) % folds
    fold = drawn[cluster]
    out: Array | None = None
    for f in range(folds):
        found = model.predict(log, np.flatnonzero(fold != f), weight)
        out = np.zeros(found.shape) if out is None else out
        out[fold == f] = found[fold == f]
    assert out is not None
    return out
