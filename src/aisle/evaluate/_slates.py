"""Off-policy estimates of whole pages, where the pages that two policies share are too few to weigh.

Legend: N rounds, K places, A items, C contexts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.evaluate._bandit import Estimate, check_chances, check_clip, check_propensity, estimate


@dataclass(frozen=True, slots=True, eq=False)
class SlateLog:
    """One page of K items a round.

    item        int64[N, K], 0 to A - 1
    reward      float64[N, K], earned at each place
    propensity  float64[N, K].  ``SlateIps`` and ``CascadeDr``: the chance of the item given the items above it;
                ``Pi``: the chance of the item at its place, whatever stands above.  The two agree when places are independent
    context     int64[N], rounds of one context share a table of ``CascadeDr`` and a row of ``Pi.moment``; None: all alike
    cluster     int64[N], the user; None: rounds are independent

    Raises ContractError when shapes differ or a propensity is not in (0, 1].
    """

    item: Array
    reward: Array
    propensity: Array
    context: Array | None = None
    cluster: Array | None = None

    def __post_init__(self) -> None:
        shape = self.item.shape
        if len(shape) != 2 or self.reward.shape != shape or self.propensity.shape != shape:
            raise ContractError(
                f"items {shape}, rewards {self.reward.shape}, propensities {self.propensity.shape}; give each as [rounds, places]"
            )
        for name, column in (("context", self.context), ("cluster", self.cluster)):
            if column is not None and len(column) != shape[0]:
                raise ContractError(f"{len(column)} {name} numbers for {shape[0]} rounds; give one a round")
        check_propensity(self.propensity)

    def __len__(self) -> int:
        return len(self.item)

    @property
    def contexts(self) -> Array:
        """int64[N]."""
        return np.zeros(len(self), np.int64) if self.context is None else self.context


class SlatePolicy(Protocol):
    """What is to be judged; an estimator calls the one it needs."""

    def marginals(self, log: SlateLog) -> Array:
        """float64[N, K, A]: the chance of every item at every place."""
        ...

    def conditionals(self, log: SlateLog) -> Array:
        """float64[N, K, A]: the chance of every item at a place, given the logged items above it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GivenSlates:
    """A slate policy by its chances, float64[N, K, A] or [K, A]; give what the estimator reads."""

    marginal: Array | None = None
    conditional: Array | None = None

    @classmethod
    def independent(cls, chance: Array) -> GivenSlates:
        """Places are filled independently: marginals and conditionals are one."""
        return cls(chance, chance)

    def marginals(self, log: SlateLog) -> Array:
        """Raises ContractError when they were not given."""
        return _given(self.marginal, log, "marginal")

    def conditionals(self, log: SlateLog) -> Array:
        """Raises ContractError when they were not given."""
        return _given(self.conditional, log, "conditional")


@dataclass(frozen=True, slots=True)
class SlateIps:
    """IPS of the whole page: mean of (product over places of policy / propensity) * sum of rewards.  Unbiased, rarely usable."""

    clip: float = float("inf")

    def estimate(self, log: SlateLog, policy: SlatePolicy, level: float = 0.95) -> Estimate:
        raw = np.prod(_ratio(log, policy.conditionals(log)), 1)
        return _weighted(raw, log, self.clip, level)


@dataclass(frozen=True, slots=True, eq=False)
class Pi:
    """Pseudo-inverse: unbiased when the page's reward is a sum over places, with item and place, and no interaction.

    w = m' G^+ s, with s the indicator of the logged page over (place, item), m the policy's marginals and G = E[s s'] under
    logging.  ``moment`` is G, float64[C, K A, K A] by context or [K A, K A]; ``second_moment`` estimates or computes it.
    None: places are filled independently, then w = 1 - K + sum_k m[k, item] / propensity[k].
    Marginals may not differ within a context when ``moment`` is given.
    Source: Swaminathan et al., Off-policy evaluation for slate recommendation (NIPS 2017, arXiv 1605.04812).
    Raises ContractError when ``moment`` has a wrong shape.
    """

    moment: Array | None = None
    clip: float = float("inf")

    def estimate(self, log: SlateLog, policy: SlatePolicy, level: float = 0.95) -> Estimate:
        marginal_NKA = policy.marginals(log)
        if self.moment is None:
            raw = 1 - log.item.shape[1] + _ratio(log, marginal_NKA).sum(1)
        else:
            raw = _pseudo_inverse(log, marginal_NKA, self.moment)
        return _weighted(raw, log, self.clip, level)


@dataclass(frozen=True, slots=True)
class CascadeDr:
    """Doubly robust under the cascade: the reward of a place depends on the items down to it, not on those below.

    mean of sum_k W[k] (r[k] - q[k]) + W[k-1] sum_a policy(a | above) q[k](a), W[k] the product of weights of places 0..k and
    q[k] the rewards from k on given the item there.  q is a table over context, place and item, fitted from the last place
    upwards and cross-fitted over ``folds``; the estimate is unbiased with any q.  ``folds=0``: q = 0, which is RIPS.
    Source: Kiyohara et al., Doubly robust off-policy evaluation for ranking policies under the cascade behavior model (WSDM
    2022, arXiv 2202.01562); RIPS: McInerney et al. (KDD 2020, arXiv 2007.12986).
    """

    folds: int = 5
    strength: float = 1.0
    clip: float = float("inf")
    seed: int = 0

    def estimate(self, log: SlateLog, policy: SlatePolicy, level: float = 0.95) -> Estimate:
        check_clip(self.clip)
        chance_NKA = policy.conditionals(log)
        raw_NK = np.cumprod(_ratio(log, chance_NKA), 1)
        used_NK = np.minimum(raw_NK, self.clip)
        above_NK = np.concatenate([np.ones((len(log), 1)), used_NK[:, :-1]], 1)
        taken_NK, expected_NK = self._model(log, chance_NKA)
        term = (used_NK * (log.reward - taken_NK) + above_NK * expected_NK).sum(1)
        return _report(term, raw_NK[:, -1], used_NK[:, -1], log, level)

    def _model(self, log: SlateLog, chance_NKA: Array) -> tuple[Array, Array]:
        """q of the logged items and its mean under the policy, float64[N, K] each, by the other folds' tables."""
        taken, expected = np.zeros(log.item.shape), np.zeros(log.item.shape)
        if self.folds < 2:
            return taken, expected
        groups = np.arange(len(log)) if log.cluster is None else np.unique(log.cluster, return_inverse=True)[1]
        drawn = np.random.default_rng(self.seed).permutation(int(groups.max(initial=-1)) + 1) % self.folds
        fold = drawn[groups]
        for f in range(self.folds):
            out_taken, out_expected = self._table(log, chance_NKA, fold != f)
            taken[fold == f], expected[fold == f] = out_taken[fold == f], out_expected[fold == f]
        return taken, expected

    def _table(self, log: SlateLog, chance_NKA: Array, rows: Array) -> tuple[Array, Array]:
        """Tables fitted on ``rows`` bool[N], from the last place upwards, read for all rounds."""
        num_rounds, num_places, num_items = chance_NKA.shape
        num_contexts = int(log.contexts.max(initial=-1)) + 1
        taken, expected = np.zeros((num_rounds, num_places)), np.zeros((num_rounds, num_places))
        onward = np.zeros(num_rounds)
        for k in range(num_places - 1, -1, -1):
            target = log.reward[:, k] + onward
            cell = log.contexts * num_items + log.item[:, k]
            size = num_contexts * num_items
            middle = float(target[rows].mean()) if rows.any() else 0.0
            total = np.bincount(cell[rows], minlength=size) + self.strength
            gained = np.bincount(cell[rows], target[rows], size) + self.strength * middle
            q = np.divide(gained, total, out=np.full(size, middle), where=total > 0)
            taken[:, k] = q[cell]
            expected[:, k] = (chance_NKA[:, k] * q.reshape(num_contexts, num_items)[log.contexts]).sum(1)
            onward = expected[:, k]
        return taken, expected


def second_moment(item_SK: Array, num_items: int, chance_S: Array | None = None) -> Array:
    """float64[K A, K A]: E[s s'] over slates ``item_SK``, each with its chance; samples of equal weight when None.

    Give all slates of the logging policy for the exact matrix, or many draws from it for an estimate.
    """
    num_slates, num_places = item_SK.shape
    indicator = np.zeros((num_slates, num_places * num_items))
    indicator[np.arange(num_slates)[:, None], np.arange(num_places) * num_items + item_SK] = 1
    chance = np.full(num_slates, 1 / max(num_slates, 1)) if chance_S is None else chance_S
    moment: Array = (indicator * chance[:, None]).T @ indicator
    return moment


def _pseudo_inverse(log: SlateLog, marginal_NKA: Array, moment: Array) -> Array:
    """float64[N]: m' G^+ s of each round."""
    _, num_places, num_items = marginal_NKA.shape
    width = num_places * num_items
    context = log.contexts
    num_contexts = int(context.max(initial=-1)) + 1
    if moment.shape[-2:] != (width, width) or (moment.ndim == 3 and len(moment) < num_contexts):
        raise ContractError(
            f"moment of shape {moment.shape} for {num_contexts} contexts of {num_places} places and {num_items} items; "
            f"give [{num_contexts}, {width}, {width}]"
        )
    _, first = np.unique(context, return_index=True)
    seen = context[first]
    if not np.allclose(marginal_NKA, marginal_NKA[first][np.searchsorted(seen, context)]):
        raise ContractError("marginals differ between rounds of one context; number the contexts so that they agree")
    inverse = np.linalg.pinv(moment if moment.ndim == 2 else moment[seen], hermitian=True)
    weight_CS = np.einsum("...ij,...j->...i", inverse, marginal_NKA[first].reshape(-1, width))
    slot_NK = np.arange(num_places) * num_items + log.item
    raw: Array = weight_CS[np.searchsorted(seen, context)[:, None], slot_NK].sum(1)
    return raw


def _ratio(log: SlateLog, chance_NKA: Array) -> Array:
    """float64[N, K]: policy / propensity of each logged item."""
    ratio: Array = np.take_along_axis(chance_NKA, log.item[:, :, None], 2)[:, :, 0] / log.propensity
    return ratio


def _weighted(raw: Array, log: SlateLog, clip: float, level: float) -> Estimate:
    check_clip(clip)
    used = np.minimum(raw, clip)
    return _report(used * log.reward.sum(1), raw, used, log, level)


def _report(term: Array, raw: Array, used: Array, log: SlateLog, level: float) -> Estimate:
    value = float(term.mean()) if len(term) else float("nan")
    unsupported = max(0.0, 1 - float(raw.mean())) if len(raw) else 0.0
    return estimate(value, term, raw, used, unsupported, log.cluster, level)


def _given(chance: Array | None, log: SlateLog, name: str) -> Array:
    if chance is None:
        raise ContractError(f"this estimator reads {name} chances; give GivenSlates({name}=...)")
    top = int(log.item.max(initial=-1))
    if chance.ndim not in (2, 3) or chance.shape[-2] != log.item.shape[1] or chance.shape[-1] <= top:
        raise ContractError(
            f"{name} chances of shape {chance.shape} for pages of {log.item.shape[1]} places with items up to {top}; "
            "give [rounds, places, items]"
        )
    if chance.ndim == 3 and len(chance) != len(log):
        raise ContractError(f"{name} chances of {len(chance)} rounds for {len(log)}; give one row a round")
    check_chances(chance)
    return np.broadcast_to(chance, (len(log), *chance.shape[-2:]))
