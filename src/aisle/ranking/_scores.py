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
    positive = np.maximum(np.nan_to_num(score_N), 0)
    best_Q = np.zeros(len(lists), np.float32)
    np.maximum.at(best_Q, lists.owner, positive)
    return (positive / np.where(best_Q > 0, best_Q, 1.0)[lists.owner]).astype(np.float32)


def standardised(score_N: Array, lists: ItemLists) -> Array:
    """float32[N]: each list's scores with mean 0 and deviation 1; NaN becomes the list's lowest; a constant list is all 0."""
    q, owner = len(lists), lists.owner
    known = ~np.isnan(score_N)
    low_Q = np.full(q, np.inf)
    np.minimum.at(low_Q, owner[known], score_N[known])
    filled = np.where(known, score_N, np.where(np.isfinite(low_Q), low_Q, 0.0)[owner]).astype(np.float64)
    count_Q = np.maximum(lists.counts, 1)
    mean_Q = np.bincount(owner, filled, minlength=q) / count_Q
    centred = filled - mean_Q[owner]
    std_Q = np.sqrt(np.bincount(owner, centred**2, minlength=q) / count_Q)
    return (centred / np.where(std_Q > 1e-12, std_Q, 1.0)[owner]).astype(np.float32)


def nearness_to_best(lists: ItemLists, index: VectorIndex, best: int) -> Array:
    """float32[N]: inner product of each row's vector with the mean vector of its list's ``best`` rows by ``score``.

    A row without a vector yet is as near as its list is on average.
    """
    order = np.lexsort((lists.item, -lists["score"], lists.owner))
    chosen = order[lists.position < best]
    mean_QD = np.zeros((len(lists), index.dim), np.float32)
    np.add.at(mean_QD, lists.owner[chosen], index.vectors(lists.item[chosen]))
    norm_Q1 = np.linalg.norm(mean_QD, axis=1, keepdims=True)
    near_N = index.score(mean_QD / np.where(norm_Q1 > 1e-9, norm_Q1, 1), lists)
    missing = np.isnan(near_N)
    if missing.any():
        owner, known = lists.owner, ~missing
        count_Q = np.maximum(np.bincount(owner[known], minlength=len(lists)), 1)
        mean_Q = np.bincount(owner[known], near_N[known], minlength=len(lists)) / count_Q
        near_N[missing] = mean_Q[owner[missing]]
    return near_N
