"""From the chances of ordered grades to one grade: CumPT, cumulative-probability-based partitioning (arXiv:2508.12365).

Legend: N pairs, C grades from worst to best.
"""

from __future__ import annotations

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array

GRID = np.round(np.arange(0.05, 1.0, 0.025), 3)


def cumulative_grade(chance_NC: Array, threshold: float) -> Array:
    """int64[N]: the best grade c (an index, 0 the worst) with P(c or better) >= threshold.

    It is the (1 - threshold) quantile of the grade: .5 gives the median, a value near 0 the best grade with any mass, a value
    near 1 the worst.  One number serves all grades, so no combination of cut-offs can contradict itself.
    """
    at_least_NC = chance_NC[:, ::-1].cumsum(1)[:, ::-1]
    # Rounding may leave the sum of all chances a little below 1: the worst grade always qualifies.
    reached_NC = at_least_NC >= threshold - 1e-6
    reached_NC[:, 0] = True
    best: Array = chance_NC.shape[1] - 1 - reached_NC[:, ::-1].argmax(1)
    return best


def confusion(gold_N: Array, said_N: Array, num_grades: int) -> Array:
    """int64[C, C]: pairs by gold grade (row) and given grade (column)."""
    counts: Array = np.bincount(gold_N * num_grades + said_N, minlength=num_grades**2).reshape(num_grades, num_grades)
    return counts


def f1_by_grade(confusion_CC: Array) -> Array:
    """float64[C]: 2 TP / (2 TP + FP + FN); NaN for a grade that neither occurs nor is given."""
    right = np.diag(confusion_CC).astype(float)
    total = confusion_CC.sum(0) + confusion_CC.sum(1)
    f1: Array = np.divide(2 * right, total, out=np.full(len(right), np.nan), where=total > 0)
    return f1


def macro_f1(gold_N: Array, said_N: Array, num_grades: int) -> float:
    """The mean F1 over grades that occur or are given."""
    return float(np.nanmean(f1_by_grade(confusion(gold_N, said_N, num_grades))))


def kappa(confusion_CC: Array, *, quadratic: bool = False) -> float:
    """Cohen's kappa: agreement beyond chance; ``quadratic`` weighs an error by the square of its distance in grades."""
    counts = confusion_CC / max(confusion_CC.sum(), 1)
    place = np.arange(len(counts))
    weight = (place[:, None] - place) ** 2 if quadratic else (place[:, None] != place).astype(float)
    expected = (weight * np.outer(counts.sum(1), counts.sum(0))).sum()
    return float(1 - (weight * counts).sum() / expected) if expected > 0 else 1.0


def optimism(confusion_CC: Array) -> float:
    """P(given above gold) - P(given below gold): above 0 the judge over-rates (LREF's optimistic bias)."""
    total = max(confusion_CC.sum(), 1)
    return float((np.triu(confusion_CC, 1).sum() - np.tril(confusion_CC, -1).sum()) / total)


def fit_threshold(chance_NC: Array, gold_N: Array) -> float:
    """The threshold of ``GRID`` with the best macro-F1 (ties: the one nearest .5).  Validation pairs only.

    Raises ContractError without a pair.
    """
    if not len(gold_N):
        raise ContractError(
            "a threshold is fitted on validation pairs, and none were given; set aside some judged queries"
        )
    scores = [macro_f1(gold_N, cumulative_grade(chance_NC, t), chance_NC.shape[1]) for t in GRID]
    best = max(scores)
    return float(min((t for t, s in zip(GRID, scores, strict=True) if s >= best - 1e-12), key=lambda t: abs(t - 0.5)))
