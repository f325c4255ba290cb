"""Off-policy evaluation: what another policy would have earned, from the log of this one.

Three small interfaces: a log with propensities (``BanditLog``, ``SlateLog``), a policy (``probabilities`` of every action),
and an estimator, ``estimator.estimate(log, policy) -> Estimate``.

    Ips Snips      weights alone               Dm             a reward model alone
    Dr             both                        SwitchDr       both, the model alone where weights are large
    Mrdr           both, the model fitted for the least variance
    SlateIps Pi CascadeDr    whole pages

With w = policy / propensity, q the reward model and d = sum_a policy(a) q(a); legend: N rounds, A actions.
Intervals say how far chance may carry an estimate; they know nothing of a wrong model (Dm), of clipping, or of actions that
were never logged (``Estimate.unsupported``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.evaluate._bandit import BanditLog, Estimate, GivenPolicy, Policy, SoftmaxPolicy, Weights, estimate, weigh
from aisle.evaluate._reward_model import LinearReward, RewardModel, TabularReward, fitted_reward
from aisle.evaluate._slates import CascadeDr, GivenSlates, Pi, SlateIps, SlateLog, SlatePolicy, second_moment

__all__ = [
    "BanditLog", "Policy", "GivenPolicy", "SoftmaxPolicy", "Estimate", "Estimator",
    "Ips", "Snips", "Dm", "Dr", "SwitchDr", "Mrdr",
    "RewardModel", "TabularReward", "LinearReward", "fitted_reward",
    "SlateLog", "SlatePolicy", "GivenSlates", "SlateIps", "Pi", "CascadeDr", "second_moment",
]  # fmt: skip


class Estimator(Protocol):
    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        """The policy's mean reward a round.

        Raises ContractError when policy, log or reward model do not fit each other, SettingError for a wrong level.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ips:
    """Inverse propensity score: mean of w r.  Unbiased without ``clip``, the largest weight allowed.

    Source: Horvitz, Thompson (1952); clipping: Ionides (2008).
    """

    clip: float = float("inf")

    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        w = weigh(log, policy, self.clip)
        return _report(w.used * log.reward, w, log, level)


@dataclass(frozen=True, slots=True)
class Snips:
    """Self-normalised IPS: sum of w r / sum of w.  Slightly biased, steadier, and it moves with a shift of all rewards.

    Its error is that of a ratio: influence w (r - value) / mean w.
    Source: Swaminathan, Joachims, The self-normalized estimator for counterfactual learning (NIPS 2015).
    """

    clip: float = float("inf")

    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        w = weigh(log, policy, self.clip)
        total = float(w.used.sum())
        value = float(w.used @ log.reward) / total if total > 0 else float("nan")
        influence = w.used * (log.reward - value) / total * len(log) if total > 0 else np.full(len(log), np.nan)
        return estimate(value, influence, w.raw, w.used, w.unsupported, log.cluster, level)


@dataclass(frozen=True, slots=True, eq=False)
class Dm:
    """Direct method: mean of d.  ``reward`` float64[N, A], predictions.  As wrong as the model, whatever the interval says."""

    reward: Array

    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        w = weigh(log, policy)
        _check(self.reward, w)
        return _report((w.chance * self.reward).sum(1), w, log, level)


@dataclass(frozen=True, slots=True, eq=False)
class Dr:
    """Doubly robust: mean of d + w (r - q).  Unbiased when either propensities or predictions are right.

    reward  float64[N, A], predictions that have not seen the round's own reward (``fitted_reward``)
    Source: Dudik, Langford, Li, Doubly robust policy evaluation and learning (ICML 2011, arXiv 1103.4601).
    """

    reward: Array
    clip: float = float("inf")

    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        return _doubly_robust(self.reward, weigh(log, policy, self.clip), log, level)


@dataclass(frozen=True, slots=True, eq=False)
class SwitchDr:
    """Doubly robust where w <= threshold, the model alone above: mean of d + w [w <= threshold] (r - q).

    Source: Wang, Agarwal, Dudik, Optimal and adaptive off-policy evaluation in contextual bandits (ICML 2017,
    arXiv 1612.01205).
    """

    reward: Array
    threshold: float = 10.0

    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        return _doubly_robust(self.reward, weigh(log, policy, self.threshold, switch=True), log, level)


@dataclass(frozen=True, slots=True, eq=False)
class Mrdr:
    """More robust doubly robust: the model minimises the variance of Dr, not the error of its own predictions.

    That variance is, up to cross terms between actions, sum over rounds of w^2 (1 - propensity) (r - q)^2: a weighted
    regression, cross-fitted over ``folds``.  Left out are the off-diagonal terms, which are 0 for a deterministic policy.
    Source: Farajtabar, Chow, Ghavamzadeh, More robust doubly robust off-policy evaluation (ICML 2018, arXiv 1802.03493).
    """

    model: RewardModel
    clip: float = float("inf")
    folds: int = 5
    seed: int = 0

    def estimate(self, log: BanditLog, policy: Policy, level: float = 0.95) -> Estimate:
        w = weigh(log, policy, self.clip)
        reward = fitted_reward(log, self.model, w.used**2 * (1 - log.propensity), folds=self.folds, seed=self.seed)
        return _doubly_robust(reward, w, log, level)


def _doubly_robust(reward: Array, w: Weights, log: BanditLog, level: float) -> Estimate:
    _check(reward, w)
    reward = np.broadcast_to(reward, w.chance.shape)
    predicted = reward[np.arange(len(log)), log.action]
    return _report((w.chance * reward).sum(1) + w.used * (log.reward - predicted), w, log, level)


def _report(term_N: Array, w: Weights, log: BanditLog, level: float) -> Estimate:
    value = float(term_N.mean()) if len(term_N) else float("nan")
    return estimate(value, term_N, w.raw, w.used, w.unsupported, log.cluster, level)


def _check(reward: Array, w: Weights) -> None:
    if reward.shape not in (w.chance.shape, w.chance.shape[1:]) or not np.isfinite(reward).all():
        raise ContractError(
            f"reward predictions of shape {reward.shape}, the policy's chances have {w.chance.shape}; "
            "give a finite prediction for every round and action"
        )
