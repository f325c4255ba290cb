"""EM for the dynamic Bayesian network click model: what happened below the last click of each page.

Down to the last click everything was examined and no earlier click satisfied.  Below it, with
B[k] = P(no click from k on | k examined) = (1 - a[k]) ((1 - c) + c B[k + 1]), the posterior is in closed form.

Legend: Q sessions, N rows, K places, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array, ItemLists
from aisle.evaluate._click_log import TINY, clicks_of, dense


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """examined float64[Q, K]; satisfied float64[Q], by the last click; chances and steps of continuing, counted."""

    examined: Array
    satisfied: Array
    chances: float
    steps: float


def dbn_em(
    log: ItemLists, index: Array, attraction: Array, satisfied: Array, prior: float, strength: float, iterations: int
) -> tuple[Array, Array, float]:
    """(attraction float64[P], satisfaction float64[P], continuation): MAP under Beta priors of weight ``strength``."""
    clicked = clicks_of(log)
    index_QK, clicked_QK = dense(log, index), dense(log, clicked, False)
    shown_QK = dense(log, np.ones(len(index), bool), False)
    if not len(index):
        return attraction, satisfied, 1.0
    last_Q = np.where(clicked_QK.any(1), index_QK.shape[1] - 1 - clicked_QK[:, ::-1].argmax(1), -1)
    with_click = np.flatnonzero(last_Q >= 0)
    last_pair = index_QK[with_click, last_Q[with_click]]
    clicks_P = np.bincount(index, clicked.astype(np.float64), len(attraction))
    continuation = 0.9
    for _ in range(iterations):
        found = posterior(attraction[index_QK], satisfied[index_QK], continuation, shown_QK, last_Q)
        seen = np.bincount(index, found.examined[log.owner, log.position], len(attraction))
        ended = np.bincount(last_pair, found.satisfied[with_click], len(attraction))
        before = attraction, continuation
        attraction = (clicks_P + strength * prior) / np.maximum(seen + strength, TINY)
        satisfied = (ended + strength * 0.5) / np.maximum(clicks_P + strength, TINY)
        # Pages of one row say nothing of going on.
        continuation = float(found.steps / found.chances) if found.chances > 0 else 1.0
        if abs(continuation - before[1]) < 1e-6 and np.abs(attraction - before[0]).max() < 1e-6:
            break
    return attraction, satisfied, continuation


def posterior(a_QK: Array, s_QK: Array, continuation: float, shown_QK: Array, last_Q: Array) -> Posterior:
    """What is known of each page given its clicks, whose last is at ``last_Q`` (-1: none)."""
    num_sessions, width = a_QK.shape
    silent_QK = np.ones((num_sessions, width + 1))
    for k in range(width - 1, -1, -1):
        onward = 1 - continuation + continuation * silent_QK[:, k + 1]
        silent_QK[:, k] = np.where(shown_QK[:, k], (1 - a_QK[:, k]) * onward, 1.0)
    examined_QK = np.zeros((num_sessions, width))
    satisfied_Q = np.zeros(num_sessions)
    chances = steps = 0.0
    examined = np.ones(num_sessions)
    for k in range(width):
        examined_QK[:, k] = np.where(shown_QK[:, k], examined, 0.0)
        next_shown = shown_QK[:, k + 1] if k + 1 < width else np.zeros(num_sessions, bool)
        goes_on = continuation * silent_QK[:, k + 1]
        stays = 1 - continuation + goes_on
        at_last = last_Q == k
        ends = s_QK[:, k] / np.maximum(s_QK[:, k] + (1 - s_QK[:, k]) * stays, TINY)
        satisfied_Q = np.where(at_last, ends, satisfied_Q)
        could = np.where(at_last, 1 - ends, examined)
        step = np.where(k < last_Q, 1.0, could * goes_on / np.maximum(stays, TINY))
        chances += float(could[next_shown].sum())
        steps += float(step[next_shown].sum())
        examined = step
    return Posterior(examined_QK, satisfied_Q, chances, steps)
