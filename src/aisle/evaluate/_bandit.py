"""Logged bandit rounds, the policy to be judged, and the estimate with its diagnostics.

Legend: N rounds, A actions, U clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array


@dataclass(frozen=True, slots=True, eq=False)
class BanditLog:
    """One action a round.

    action      int64[N], 0 to A - 1
    reward      float64[N], a click, an order, cents
    propensity  float64[N], the chance with which the logging policy took that action there
    logging     float64[N, A], its chances of all actions; None when only those taken were logged
    cluster     int64[N], the user; rounds of one user are resampled together. None: rounds are independent

    Raises ContractError when lengths differ, a propensity is not in (0, 1], a reward is not finite, or an action is negative.
    """

    action: Array
    reward: Array
    propensity: Array
    logging: Array | None = None
    cluster: Array | None = None

    def __post_init__(self) -> None:
        columns = (self.action, self.reward, self.propensity, self.logging, self.cluster)
        lengths = {len(c) for c in columns if c is not None}
        if len(lengths) > 1:
            raise ContractError(f"columns of {sorted(lengths)} rounds; give one action, reward and propensity a round")
        if (np.asarray(self.action) < 0).any():
            raise ContractError("an action is negative; number the actions from 0")
        if not np.isfinite(self.reward).all():
            raise ContractError("a reward is not finite; leave out rounds whose reward is unknown")
        check_propensity(self.propensity)

    def __len__(self) -> int:
        return len(self.action)


class Policy(Protocol):
    """What is to be judged."""

    def probabilities(self, log: BanditLog) -> Array:
        """float64[N, A]: the chance of every action in every round; rows add up to 1."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GivenPolicy:
    """A policy by its chances: float64[N, A], or float64[A] when they are the same in every round."""

    chance: Array

    def probabilities(self, log: BanditLog) -> Array:
        return np.broadcast_to(self.chance, (len(log), self.chance.shape[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxPolicy:
    """chance = exp(score / temperature), normalised; the best action alone at temperature 0.  score float64[N, A] or [A].

    Raises SettingError for a temperature below 0.
    """

    score: Array
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise SettingError(f"temperature is {self.temperature}; give 0 or more")

    def probabilities(self, log: BanditLog) -> Array:
        score = np.broadcast_to(self.score, (len(log), self.score.shape[-1]))
        if self.temperature == 0:
            return np.asarray(score.argmax(-1)[:, None] == np.arange(score.shape[1]), np.float64)
        raised = np.exp((score - score.max(-1, keepdims=True)) / self.temperature)
        chance: Array = raised / raised.sum(-1, keepdims=True)
        return chance


@dataclass(frozen=True, slots=True)
class Estimate:
    """A policy's value per round (or slate), and how far to trust it.

    value, standard_error, low, high   normal interval at ``level``, over rounds or clusters
    effective_sample_size   (sum w)^2 / sum w^2: as many rounds under the policy itself would tell as much
    max_weight              the largest importance weight, before clipping
    clipped                 share of rounds whose weight was cut or switched off
    unsupported             share of the policy's chances on actions that logging never takes; these are judged by the reward
                            model or not at all.  Exact where the log holds all chances, else max(0, 1 - mean w)
    """

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    num_rounds: int
    effective_sample_size: float
    max_weight: float
    clipped: float
    unsupported: float


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Importance weights of a log under a policy: ``chance`` float64[N, A], ``raw`` and ``used`` float64[N]."""

    chance: Array
    raw: Array
    used: Array
    unsupported: float


def check_propensity(propensity: Array) -> None:
    """Raises ContractError for a propensity outside (0, 1], NaN included."""
    wrong = ~((propensity > 0) & (propensity <= 1))
    if wrong.any():
        raise ContractError(
            f"{int(wrong.sum())} propensities lie outside (0, 1], the first is {np.asarray(propensity)[wrong][0]}; an action that "
            "was taken had a chance above 0: log the true one, or leave those rounds out"
        )


def check_clip(clip: float) -> None:
    """Raises SettingError for a largest weight of 0 or less."""
    if not clip > 0:
        raise SettingError(f"the largest weight is {clip}; give a number above 0, inf for no limit")


def weigh(log: BanditLog, policy: Policy, clip: float = float("inf"), *, switch: bool = False) -> Weights:
    """w = policy / propensity of the action taken; above ``clip`` cut to it, or with ``switch`` set to 0.

    Raises ContractError when the policy's chances have a wrong shape or do not add up to 1, SettingError for clip <= 0.
    """
    check_clip(clip)
    chance = policy.probabilities(log)
    top = int(np.max(log.action, initial=-1))
    if chance.shape[0] != len(log) or chance.shape[1] <= top:
        raise ContractError(
            f"the policy gave chances of shape {chance.shape} for {len(log)} rounds with actions up to {top}; "
            "give a row a round and a column an action"
        )
    check_chances(chance)
    raw = chance[np.arange(len(log)), log.action] / log.propensity
    used = np.where(raw > clip, 0.0, raw) if switch else np.minimum(raw, clip)
    if log.logging is not None:
        if log.logging.shape != chance.shape:
            raise ContractError(
                f"logging chances of shape {log.logging.shape}, the policy's are {chance.shape}; give one shape"
            )
        unsupported = float(np.where(log.logging > 0, 0.0, chance).sum(1).mean()) if len(log) else 0.0
    else:
        unsupported = max(0.0, 1 - float(raw.mean())) if len(log) else 0.0
    return Weights(chance, raw, used, unsupported)


def check_chances(chance: Array) -> None:
    """Raises ContractError unless chances are 0 or more and add up to 1 over the last axis."""
    if (chance < 0).any() or not np.allclose(chance.sum(-1), 1, atol=1e-6):
        raise ContractError(
            "the policy's chances are negative or do not add up to 1; give probabilities over all actions"
        )


def estimate(
    value: float,
    influence_N: Array,
    raw_N: Array,
    used_N: Array,
    unsupported: float,
    cluster: Array | None,
    level: float,
) -> Estimate:
    """The Estimate whose error is a mean of ``influence_N`` (centred here), added up by cluster.

    Raises SettingError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise SettingError(f"level is {level}; give a number between 0 and 1, such as 0.95")
    num = len(influence_N)
    error = _error(influence_N - influence_N.mean(), cluster) if num > 1 else float("nan")
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    square = float((used_N**2).sum())
    return Estimate(
        value=value,
        standard_error=error,
        low=value - half,
        high=value + half,
        level=level,
        num_rounds=num,
        effective_sample_size=float(used_N.sum()) ** 2 / square if square > 0 else 0.0,
        max_weight=float(raw_N.max(initial=0.0)),
        clipped=float((raw_N > used_N).mean()) if num else 0.0,
        unsupported=unsupported,
    )


def _error(centred_N: Array, cluster: Array | None) -> float:
    """Standard error of the mean; with clusters sqrt(U / (U - 1) sum_u (sum of u)^2) / N."""
    total = centred_N if cluster is None else np.bincount(np.unique(cluster, return_inverse=True)[1], centred_N)
    if len(total) < 2:
        return float("nan")
    return float(np.sqrt(len(total) / (len(total) - 1) * (total**2).sum()) / len(centred_N))
