"""How sure a mean or a paired difference is.  The unit is the query (or user): it is resampled as a whole.

Values are float64[Q], or float64[S, Q] when a plan was run with several seeds; then seeds are resampled too, crossed with
queries.  A query without a value (NaN) in any seed is left out.

Legend: Q queries, S seeds, R resamples, P tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array

CHUNK = 2_000_000
"""Numbers drawn at a time, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """resamples: how many. level: of the interval. seed: of the draws.  Raises SettingError when out of range."""

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            raise SettingError(
                f"{self.resamples} resamples at level {self.level}; give 1 or more and a level between 0 and 1, such as 0.95"
            )


DEFAULT = Resampling()


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries with its bootstrap percentile interval; NaN without queries."""

    value: float
    low: float
    high: float
    level: float
    num_queries: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean paired difference.

    low, high       bootstrap percentile interval
    p               of the two-sided sign-flip permutation test
    p_holm          p after Holm's correction over the comparisons made together; p where there was one
    detectable      the smallest true difference that this many queries show at 80% power
    """

    value: float
    low: float
    high: float
    level: float
    num_queries: int
    p: float
    p_holm: float
    detectable: float

    @property
    def decided(self) -> bool:
        """The interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided``."""
        return "undecided" if not self.decided else "better" if self.low > 0 else "worse"


def bootstrap_mean(
    values: Array, strata: Sequence[object] | Array | None = None, how: Resampling = DEFAULT
) -> Interval:
    """The mean over queries and its interval; with ``strata`` (a label a query) each label keeps its number of queries.

    Raises ContractError when there is not one label a query.
    """
    values_SQ, stratum_Q = _known(values, strata)
    num_queries = values_SQ.shape[1]
    if num_queries == 0:
        return Interval(np.nan, np.nan, np.nan, how.level, 0)
    low, high = np.quantile(resampled_means(values_SQ, stratum_Q, how), [(1 - how.level) / 2, (1 + how.level) / 2])
    return Interval(float(values_SQ.mean()), float(low), float(high), how.level, num_queries)


def paired_difference(
    values: Array, baseline: Array, strata: Sequence[object] | Array | None = None, how: Resampling = DEFAULT
) -> Difference:
    """``values - baseline`` query by query: mean, interval, permutation p, smallest detectable difference.

    Raises ContractError when the shapes differ.
    """
    if values.shape != baseline.shape:
        raise ContractError(
            f"shapes {values.shape} and {baseline.shape} cannot be paired; score the same queries and seeds"
        )
    difference = values - baseline
    interval = bootstrap_mean(difference, strata, how)
    per_query = np.atleast_2d(difference).mean(0)
    p = permutation_p(per_query, how)
    detectable = smallest_detectable(per_query, level=how.level)
    return Difference(
        interval.value,
        interval.low,
        interval.high,
        how.level,
        interval.num_queries,
        p=p,
        p_holm=p,
        detectable=detectable,
    )


def resampled_means(values_SQ: Array, stratum_Q: Array, how: Resampling) -> Array:
    """float64[R]: means over resampled queries (within strata) and, where there are several, resampled seeds."""
    rng = np.random.default_rng(how.seed)
    num_seeds, num_queries = values_SQ.shape
    by_stratum = [values_SQ[:, stratum_Q == s] for s in np.unique(stratum_Q)]
    means = []
    for size in _chunks(how.resamples, num_seeds * num_queries):
        total_RS = np.zeros((size, num_seeds))
        for part_SQ in by_stratum:
            pick_RQ = rng.integers(0, part_SQ.shape[1], (size, part_SQ.shape[1]), dtype=np.int32)
            total_RS += np.stack([row[pick_RQ].sum(1) for row in part_SQ], 1)
        if num_seeds > 1:
            total_RS = np.take_along_axis(total_RS, rng.integers(0, num_seeds, (size, num_seeds)), 1)
        means.append(total_RS.mean(1) / num_queries)
    return np.concatenate(means)


def permutation_p(difference_Q: Array, how: Resampling = DEFAULT) -> float:
    """Two-sided p of a zero mean, from flipping the signs of the paired differences; exact when few enough to count all.

    Otherwise (1 + number of flips as extreme) / (1 + resamples).  NaN without queries.
    """
    known = difference_Q[~np.isnan(difference_Q)]
    nonzero = known[known != 0]
    if not len(known):
        return float("nan")
    if not len(nonzero):
        return 1.0
    # Rounding may separate flips that are equally extreme.
    observed = abs(nonzero.sum()) * (1 - 1e-12)
    if 2 ** len(nonzero) <= how.resamples:
        flips = np.arange(2 ** len(nonzero))[:, None] >> np.arange(len(nonzero)) & 1
        return float((np.abs(_flipped_sums(flips, nonzero)) >= observed).mean())
    rng = np.random.default_rng(how.seed)
    extreme = 0
    for size in _chunks(how.resamples, len(nonzero)):
        flips = _bits(rng, size, len(nonzero))
        extreme += int((np.abs(_flipped_sums(flips, nonzero)) >= observed).sum())
    return (1 + extreme) / (1 + how.resamples)


def holm(p_P: Sequence[float] | Array) -> Array:
    """float64[P]: p values corrected for being one of P tests (Holm, 1979): the i-th smallest, from 0, times P - i.

    Never falling from a smaller to a larger p, at most 1.  A NaN stays and does not count as a test.
    """
    p = np.asarray(p_P, np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def smallest_detectable(
    difference_Q: Array, level: float = 0.95, power: float = 0.8, num_queries: int | None = None
) -> float:
    """The true mean difference that a two-sided test at ``level`` finds with probability ``power``.

    (z of level + z of power) * standard deviation / sqrt(queries); ``num_queries`` plans another size than what was seen.
    NaN for fewer than 2 queries.
    """
    known = difference_Q[~np.isnan(difference_Q)]
    if len(known) < 2:
        return float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
    return float(z * known.std(ddof=1) / np.sqrt(num_queries or len(known)))


def _bits(rng: np.random.Generator, rows: int, width: int) -> Array:
    """uint8[rows, width] of fair 0 and 1, eight from each random byte."""
    drawn = np.frombuffer(rng.bytes((rows * width + 7) // 8), np.uint8)
    return np.unpackbits(drawn, count=rows * width).reshape(rows, width)


def _flipped_sums(flips_RQ: Array, difference_Q: Array) -> Array:
    sums: Array = difference_Q.sum() - 2.0 * (flips_RQ.astype(np.float64) @ difference_Q)
    return sums


def _known(values: Array, strata: Sequence[object] | Array | None) -> tuple[Array, Array]:
    """float64[S, Q'] without the queries that lack a value, and int64[Q'] their strata."""
    values_SQ = np.atleast_2d(np.asarray(values, np.float64))
    num_queries = values_SQ.shape[1]
    if strata is not None and len(strata) != num_queries:
        raise ContractError(f"{len(strata)} labels for {num_queries} queries; give one label a query")
    stratum_Q = (
        np.zeros(num_queries, np.int64) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    )
    known = ~np.isnan(values_SQ).any(0)
    return values_SQ[:, known], stratum_Q[known]


def _chunks(total: int, width: int) -> Iterator[int]:
    """Sizes that add up to ``total``, each at most CHUNK numbers wide."""
    size = max(1, CHUNK // max(width, 1))
    for start in range(0, total, size):
        yield min(size, total - start)
