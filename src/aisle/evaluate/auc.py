"""AUC over all rows, and by group (GAUC): the chance that a positive row scores above a negative one, ties counting half.

Legend: N rows, G groups (queries or users).
"""

from __future__ import annotations

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array


def auc(label_N: Array, score_N: Array) -> float:
    """0 to 1; NaN when the labels are all alike.  A NaN score counts as the lowest."""
    return float(group_auc(label_N, score_N, np.zeros(len(label_N), np.int64), 1)[0])


def gauc(label_N: Array, score_N: Array, group_N: Array, weight_N: Array | None = None) -> float:
    """The mean AUC of the groups that have both labels, each weighing as many as its rows (or the sum of ``weight_N``).

    Source: Zhu et al., Optimized cost per click in Taobao display advertising (arXiv 1703.02091).
    """
    _, group_N = np.unique(group_N, return_inverse=True)
    num_groups = int(group_N.max(initial=-1)) + 1
    auc_G = group_auc(label_N, score_N, group_N, num_groups)
    weight_G = np.bincount(group_N, weight_N, num_groups).astype(np.float64)
    known = ~np.isnan(auc_G)
    total = weight_G[known].sum()
    return float(auc_G[known] @ weight_G[known] / total) if total > 0 else float("nan")


def group_auc(label_N: Array, score_N: Array, group_N: Array, num_groups: int) -> Array:
    """float64[G]: the AUC of each group, NaN where its labels are all alike.

    AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P * M) with P positives, M negatives and mean ranks for ties.
    Raises ContractError when the columns differ in length.
    """
    if not len(label_N) == len(score_N) == len(group_N):
        raise ContractError(
            f"{len(label_N)} labels, {len(score_N)} scores and {len(group_N)} groups; give one of each a row"
        )
    score_N = np.asarray(score_N, np.float64)
    score_N = np.where(np.isnan(score_N), -np.inf, score_N)
    order = np.lexsort((score_N, group_N))
    group, score, positive = group_N[order], score_N[order], np.asarray(label_N)[order] > 0
    rank = _mean_ranks(group, score)
    num_rows = np.bincount(group, minlength=num_groups)
    start = np.cumsum(num_rows) - num_rows
    num_positive = np.bincount(group, positive, num_groups)
    rank_sum = np.bincount(group, positive * (rank - start[group]), num_groups)
    pairs = num_positive * (num_rows - num_positive)
    above = rank_sum - num_positive * (num_positive + 1) / 2
    auc_G: Array = np.divide(above, pairs, out=np.full(num_groups, np.nan), where=pairs > 0)
    return auc_G


def _mean_ranks(group: Array, score: Array) -> Array:
    """float64[N]: rank from 1 over all sorted rows; equal rows share the mean of their ranks."""
    first = np.ones(len(group), bool)
    first[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(first) - 1
    size = np.bincount(tie)
    start = np.flatnonzero(first)
    mean: Array = (start + (size + 1) / 2)[tie]
    return mean
