"""Making the scores of different retrievers comparable.  Legend: N candidate rows, Q requests, D width."""

from __future__ import annotations

import numpy as np

from aisle.core.lists import Array, ItemLists
from aisle.core.shop import VectorIndex


def reciprocal_rank(rank_N: Array, k: float) -> Array:
    """float32[N]: 1 / (k + place), places from 1; 0 where not found."""
    return np.where(rank_N >= 0, 1.0 / (k + np.maximum(rank_N, 0) + 1.0), 0.0).astype(np.float32)


def share_of_best(score_N: Array, lists: ItemLists) -> Array:
    """float32[N] in 0..1: each score as a share of its list's best; negative and missing scores are 0."""
    positive = np.fmax(score_N, np.float32(0))
    best_Q = _by_list(np.maximum, positive, lists)
    return (positive / _spread(np.where(best_Q > 0, best_Q, 1), lists)).astype(np.float32)


def standardised(score_N: Array, lists: ItemLists) -> Array:
    """float32[N]: each list's scores with mean 0 and deviation 1; NaN becomes the list's lowest; a constant list is all 0."""
    score_N = score_N.astype(np.float64)
    missing = np.isnan(score_N)
    if missing.any():
        low_Q = _by_list(np.fmin, score_N, lists)
        score_N = np.where(missing, _spread(np.nan_to_num(low_Q), lists), score_N)
    count_Q = np.maximum(lists.counts, 1)
    centred = score_N - _spread(_by_list(np.add, score_N, lists) / count_Q, lists)
    std_Q = np.sqrt(_by_list(np.add, centred**2, lists) / count_Q)
    return (centred / _spread(np.where(std_Q > 1e-12, std_Q, 1), lists)).astype(np.float32)


def nearness_to_best(lists: ItemLists, index: VectorIndex, best: int) -> Array:
    """float32[N]: inner product of each row's vector with the mean vector of its list's ``best`` rows by ``score``.

    A row without a vector yet is as near as its list is on average.
    """
    chosen = lists.only("score").top(best, "score")
    mean_QD = np.zeros((len(lists), index.dim), np.float32)
    np.add.at(mean_QD, chosen.owner, index.vectors(chosen.item))
    norm_Q1 = np.linalg.norm(mean_QD, axis=1, keepdims=True)
    near_N = index.score(mean_QD / np.where(norm_Q1 > 1e-9, norm_Q1, 1), lists)
    missing = np.isnan(near_N)
    if missing.any():
        owner, known = lists.owner, ~missing
        count_Q = np.maximum(np.bincount(owner[known], minlength=len(lists)), 1)
        mean_Q = np.bincount(owner[known], near_N[known], minlength=len(lists)) / count_Q
        near_N[missing] = mean_Q[owner[missing]]
    return near_N


def _by_list(ufunc: np.ufunc, value_N: Array, lists: ItemLists) -> Array:
    """[Q]: the values of each list joined by a ufunc, 0 for an empty list."""
    if len(lists) == 1 and len(value_N):
        joined: Array = ufunc.reduceat(value_N, [0])
        return joined
    out = np.zeros(len(lists), value_N.dtype)
    filled = lists.counts > 0
    if filled.any():
        out[filled] = ufunc.reduceat(value_N, lists.splits[:-1][filled])
    return out


def _spread(value_Q: Array, lists: ItemLists) -> Array:
    """Each list's value for all its rows, or the one value for all."""
    return value_Q if len(lists) == 1 else value_Q[lists.owner]
