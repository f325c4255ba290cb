"""A/B tests: who sees which arm, how far the arms differ, and when one may stop.

The unit is the user: values are one number a user, added up before they come here (``per_unit``).

Legend: N units, A arms, L looks, C covariates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from aisle.core.draws import GOLDEN, key_of, scrambled, uniform
from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array


def assign(user_N: Array, salt: str, shares: Sequence[float] = (0.5, 0.5)) -> Array:
    """int8[N]: the arm of each user, the same for ever under one ``salt``, independent between salts.

    user_N  int64 hashes (``aisle.core.requests.hashed`` of a user id).  Anonymous users (-1) all share one arm: assign
            those by session.
    shares  of the arms, adding up to 1

    Raises SettingError when shares are negative or do not add up to 1.
    """
    share = np.asarray(shares, np.float64)
    if len(share) < 1 or (share < 0).any() or abs(share.sum() - 1) > 1e-9:
        raise SettingError(f"shares {list(shares)}; give shares of 0 or more that add up to 1, such as 0.5, 0.5")
    edges = np.cumsum(share)[:-1]
    return np.searchsorted(edges, uniform_hash(user_N, salt), side="right").astype(np.int8)


def uniform_hash(user_N: Array, salt: str) -> Array:
    """float64[N] in [0, 1): a hash of salt and user."""
    key = np.uint64(key_of(salt))
    return uniform(scrambled((np.asarray(user_N, np.int64).view(np.uint64) ^ key) * np.uint64(GOLDEN) + key))


def per_unit(unit_N: Array, *values: Array) -> tuple[Array, ...]:
    """Sums of each column over the rows of each unit, units in rising order: float64[U] each."""
    _, index = np.unique(unit_N, return_inverse=True)
    return tuple(np.bincount(index, np.asarray(v, np.float64)) for v in values)


@dataclass(frozen=True, slots=True)
class Effect:
    """``value``: treatment minus control, its standard error, normal interval and two-sided p; NaN with too few units."""

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    p: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided``, for the treatment on a metric of which more is better."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"


def difference(treatment: Array, control: Array, level: float = 0.95) -> Effect:
    """The difference of means of two independent arms, one value a user, with unequal variances."""
    value = _mean(treatment) - _mean(control)
    return _effect(value, math.sqrt(_variance_of_mean(treatment) + _variance_of_mean(control)), level)


def ratio_difference(treatment: tuple[Array, Array], control: tuple[Array, Array], level: float = 0.95) -> Effect:
    """The difference of ratios of sums, such as clicks per impression, where the unit is the user.

    Each arm is (numerator, denominator), one value a user.  With R = mean x / mean y the delta method gives
    var R = (var x - 2 R cov(x, y) + R^2 var y) / (n mean(y)^2).
    Source: Deng, Knoblich, Lu, Applying the delta method in metric analytics (KDD 2018, arXiv 1803.06336).
    Raises ContractError when numerator and denominator differ in length or a denominator adds up to 0.
    """
    parts = []
    for numerator, denominator in (treatment, control):
        if len(numerator) != len(denominator) or not np.sum(denominator):
            raise ContractError(
                f"{len(numerator)} numerators and {len(denominator)} denominators that add up to {np.sum(denominator)}; "
                "give both for every user, not all 0"
            )
        ratio = np.sum(numerator) / np.sum(denominator)
        parts.append((ratio, _variance_of_mean(numerator - ratio * denominator) / np.mean(denominator) ** 2))
    return _effect(float(parts[0][0] - parts[1][0]), math.sqrt(parts[0][1] + parts[1][1]), level)


def cuped(treatment: Array, control: Array, before_treatment: Array, before_control: Array) -> tuple[Array, Array]:
    """Both arms' values with what the time before the test explains taken out; their means keep their difference.

    y - theta (x - mean x), theta the least-squares slope over both arms, each centred on its own mean.
    before_*  float64[N] or float64[N, C], known before the assignment, or the difference becomes biased
    Source: Deng, Xu, Kohavi, Walker, Improving the sensitivity of online controlled experiments (WSDM 2013).
    Raises ContractError when values and covariates differ in length.
    """
    arms = [(np.asarray(treatment, np.float64), before_treatment), (np.asarray(control, np.float64), before_control)]
    for value, before in arms:
        if len(value) != len(before):
            raise ContractError(f"{len(value)} values with {len(before)} covariates; give one a user")
    before_NC = [np.asarray(x, np.float64).reshape(len(x), -1) for _, x in arms]
    centred = np.concatenate([x - x.mean(0) for x in before_NC])
    theta_C = np.linalg.lstsq(centred, np.concatenate([y - y.mean() for y, _ in arms]), rcond=None)[0]
    middle = np.concatenate(before_NC).mean(0)
    first, second = (y - (x - middle) @ theta_C for (y, _), x in zip(arms, before_NC, strict=True))
    return first, second


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What a look knows of an arm: ``num``, ``mean`` and ``variance`` of the values so far, each [..., L]."""

    num: Array
    mean: Array
    variance: Array

    @classmethod
    def at(cls, value: Array, looks: Array) -> Moments:
        """After the first ``looks`` int64[L] users of ``value`` [..., N], in order of arrival.

        Raises ContractError for a look before the second user or after the last.
        """
        looks = np.asarray(looks, np.int64)
        if len(looks) and not 2 <= looks.min() <= looks.max() <= value.shape[-1]:
            raise ContractError(
                f"looks {looks.min()} to {looks.max()} at {value.shape[-1]} users; look from 2 to all of them"
            )
        # Sums of squares are taken about the middle: large means would cancel otherwise.
        middle = value.mean(-1, keepdims=True)
        total = np.cumsum(value - middle, axis=-1)[..., looks - 1]
        square = np.cumsum((value - middle) ** 2, axis=-1)[..., looks - 1]
        variance = np.maximum(square - total**2 / looks, 0) / (looks - 1)
        return cls(np.broadcast_to(looks, total.shape), middle + total / looks, variance)


@dataclass(frozen=True, slots=True, eq=False)
class AlwaysValid:
    """At every look [..., L]: the difference, its confidence sequence and a p that may be read at any time."""

    value: Array
    low: Array
    high: Array
    p: Array
    level: float

    @property
    def stop(self) -> Array:
        """int64[...]: the first look at which p <= 1 - level, -1 where there is none."""
        decided = self.p <= 1 - self.level
        return np.where(decided.any(-1), decided.argmax(-1), -1)


def always_valid(treatment: Moments, control: Moments, scale: float, level: float = 0.95) -> AlwaysValid:
    """The mixture sequential probability ratio test of equal means: whoever stops on p <= alpha errs with chance <= alpha.

    With V the variance of the difference d and effects drawn from N(0, scale^2),
    ratio = sqrt(V / (V + scale^2)) exp(scale^2 d^2 / (2 V (V + scale^2)));  p = min over looks of 1 / ratio;
    the interval holds all effects whose own ratio is below 1 / (1 - level), intersected over looks.
    V is estimated, so begin at some tens of users an arm, more for rare or heavy-tailed values.

    scale  the size of effect that is looked for, in the unit of the values: the test is quickest for effects near it
    Source: Johari, Pekelis, Walsh, Always valid inference (arXiv 1512.04922); Robbins (1970).
    Raises SettingError for a scale of 0 or less or a level outside (0, 1).
    """
    if not scale > 0 or not 0 < level < 1:
        raise SettingError(f"scale {scale} at level {level}; give a scale above 0 and a level between 0 and 1")
    value = treatment.mean - control.mean
    variance = treatment.variance / treatment.num + control.variance / control.num
    known = variance > 0
    safe = np.where(known, variance, 1.0)
    wide = safe + scale**2
    log_ratio = 0.5 * np.log(safe / wide) + scale**2 * value**2 / (2 * safe * wide)
    p = np.minimum.accumulate(np.where(known, np.exp(-np.maximum(log_ratio, 0)), 1.0), axis=-1)
    half = np.sqrt(2 * safe * wide / scale**2 * (-math.log(1 - level) + 0.5 * np.log(wide / safe)))
    half = np.where(known, half, np.inf)
    low, high = np.maximum.accumulate(value - half, axis=-1), np.minimum.accumulate(value + half, axis=-1)
    return AlwaysValid(value, low, high, p, level)


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """``p`` that users came in the planned shares; a ``mismatch`` says that assignment or logging is broken."""

    p: float
    mismatch: bool


def sample_ratio(
    counts: Sequence[int] | Array, shares: Sequence[float] = (0.5, 0.5), alpha: float = 0.001
) -> SampleRatio:
    """Pearson's chi-square test of users an arm against planned shares; a mismatch voids every other figure of the test.

    Source: Fabijan et al., Diagnosing sample ratio mismatch in online controlled experiments (KDD 2019).
    Raises ContractError when counts and shares differ in number, there is no user, or a share is not above 0.
    """
    from scipy.special import chdtrc

    count_A, share_A = np.asarray(counts, np.float64), np.asarray(shares, np.float64)
    if len(count_A) != len(share_A) or not count_A.sum() > 0 or not (share_A > 0).all():
        raise ContractError(
            f"counts {list(counts)} for shares {list(shares)}; give users and a share above 0 for every arm"
        )
    expected = count_A.sum() * share_A / share_A.sum()
    p = float(chdtrc(len(count_A) - 1, ((count_A - expected) ** 2 / expected).sum()))
    return SampleRatio(p, p < alpha)


def sample_size(effect: float, deviation: float, level: float = 0.95, power: float = 0.8, share: float = 0.5) -> int:
    """Users in all, of whom ``share`` are treated, for a two-sided test to find ``effect`` with chance ``power``.

    (z of level + z of power)^2 deviation^2 / (effect^2 share (1 - share)), with the standard deviation between users.
    Raises SettingError for an effect of 0, a negative deviation, or chances outside (0, 1).
    """
    _check_plan(effect, deviation, level, share)
    if not 0 < power < 1:
        raise SettingError(f"power is {power}; give a number between 0 and 1, such as 0.8")
    z = NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
    return math.ceil(z**2 * deviation**2 / (effect**2 * share * (1 - share)))


def power_of(effect: float, deviation: float, num_users: int, level: float = 0.95, share: float = 0.5) -> float:
    """The chance that a two-sided test over ``num_users`` in all finds ``effect``.  Raises as ``sample_size``."""
    _check_plan(effect, deviation, level, share)
    if deviation == 0:
        return 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    shift = abs(effect) / deviation * math.sqrt(num_users * share * (1 - share))
    return NormalDist().cdf(shift - z) + NormalDist().cdf(-shift - z)


def _check_plan(effect: float, deviation: float, level: float, share: float) -> None:
    if effect == 0 or not deviation >= 0 or not 0 < level < 1 or not 0 < share < 1:
        raise SettingError(
            f"effect {effect}, deviation {deviation}, level {level}, share {share}; give an effect other than 0, a deviation "
            "of 0 or more, and level and share between 0 and 1"
        )


def _effect(value: float, standard_error: float, level: float) -> Effect:
    """Raises SettingError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise SettingError(f"level is {level}; give a number between 0 and 1, such as 0.95")
    half = NormalDist().inv_cdf((1 + level) / 2) * standard_error
    if standard_error == 0:
        p = 1.0 if value == 0 else 0.0
    else:
        p = math.erfc(abs(value) / standard_error / math.sqrt(2))
    return Effect(value, standard_error, value - half, value + half, level, p)


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _variance_of_mean(values: Array) -> float:
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else float("nan")
