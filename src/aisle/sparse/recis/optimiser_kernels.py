"""Compiled optimiser steps over the touched rows of one table.

``weight``, the vector of a row, stands in ``data``, or, stored as bfloat16, in a float32 copy that is rounded
back by chance: up with the probability of the part cut off, so that steps smaller than a bfloat16 digit still count in the
mean.  The chance depends on the row's numbers and the step only, so a resumed training rounds alike.

The record of row r begins at ``data[r * record]`` with its vector; places of moments count from there.

Legend: U rows, D width of a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from aisle.sparse.recis.lanes import LANES, adagrad8, adam8, add_row, ask, compiled, squares8
from aisle.sparse.recis.map_kernels import mixed

AHEAD = 16
"""Rows asked for before they are changed."""


@njit(inline="always")
def _ask(row_U: Any, u: Any, data: Any, record: Any) -> None:
    if u + AHEAD < len(row_U):
        ask(data, np.int64(row_U[u + AHEAD]), record)


@njit(inline="always")
def _widen(bf16: Any, at: Any, scratch: Any, dim: Any) -> None:
    bits = scratch.view(np.uint32)
    for d in range(dim):
        bits[d] = np.uint32(bf16[at + d]) << np.uint32(16)


@njit(inline="always")
def _narrow(scratch: Any, bf16: Any, at: Any, dim: Any, step: Any) -> None:
    bits = scratch.view(np.uint32)
    start = mixed(mixed(np.uint64(bits[0]) + (np.uint64(bits[dim - 1]) << np.uint64(32))) + np.uint64(step))
    for d in range(dim):
        chance = np.uint32(mixed(start + np.uint64(d)) & np.uint64(0xFFFF))
        bf16[at + d] = np.uint16((bits[d] + chance) >> np.uint32(16))


@compiled
def adam(
    row_U: Any, value: Any, scale: Any, data: Any, bf16: Any, is_bf16: Any, record: Any, dim: Any,
    places: Any, rule: Any, bias: Any, steps: Any, step: Any,
) -> None:  # fmt: skip
    """Adam, moments at ``places`` (m, v, own step; -1: none); ``rule`` is (keep, beta1, beta2, lr, eps).

    ``bias`` float32[S + 1]: the factor of lr at step s, its last entry from there on; the row's own step counts where
    ``places[2]`` names a word, else ``step`` does.
    """
    whole = dim - dim % LANES
    scratch = np.empty(dim, np.float32)
    keep, beta1, beta2, lr, eps = rule
    one = np.float32(1)
    last = len(bias) - 1
    for u in range(len(row_U)):
        _ask(row_U, u, data, record)
        first = np.int64(row_U[u]) * record
        weight, w = data, first
        if is_bf16:
            _widen(bf16, 2 * first, scratch, dim)
            weight, w = scratch, np.int64(0)
        now = step
        if places[2] >= 0:
            now = np.int64(steps[first + places[2]]) + 1
            steps[first + places[2]] = now
        size = lr * bias[min(now, last)]
        exact = (keep, beta1, beta2, size, eps)
        for d in range(0, whole, LANES):
            adam8(weight, w + d, data, first + places[0] + d, first + places[1] + d, value, u * dim + d, scale, exact)
        for d in range(whole, dim):
            g = scale * value[u * dim + d]
            m = beta1 * data[first + places[0] + d] + (one - beta1) * g
            v = beta2 * data[first + places[1] + d] + (one - beta2) * (g * g)
            data[first + places[0] + d] = m
            data[first + places[1] + d] = v
            weight[w + d] = keep * weight[w + d] - size * m / (np.sqrt(v) + eps)
        if is_bf16:
            _narrow(scratch, bf16, 2 * first, dim, step)


@compiled
def adagrad(
    row_U: Any, value: Any, scale: Any, data: Any, bf16: Any, is_bf16: Any, record: Any, dim: Any,
    place: Any, by_row: Any, rule: Any, step: Any,
) -> None:  # fmt: skip
    """Adagrad with one sum a row (of the mean square) or one a number; ``rule`` is (keep, lr, eps)."""
    whole = dim - dim % LANES
    scratch = np.empty(dim, np.float32)
    keep, lr, eps = rule
    for u in range(len(row_U)):
        _ask(row_U, u, data, record)
        first = np.int64(row_U[u]) * record
        weight, w = data, first
        if is_bf16:
            _widen(bf16, 2 * first, scratch, dim)
            weight, w = scratch, np.int64(0)
        if by_row:
            square = np.float32(0)
            for d in range(0, whole, LANES):
                square += squares8(value, u * dim + d)
            for d in range(whole, dim):
                square += value[u * dim + d] * value[u * dim + d]
            total = data[first + place] + scale * scale * square / np.float32(dim)
            data[first + place] = total
            _move(weight, w, value, u * dim, dim, keep, scale * lr / (np.sqrt(total) + eps))
        else:
            for d in range(0, whole, LANES):
                adagrad8(weight, w + d, data, first + place + d, value, u * dim + d, scale, rule)
            for d in range(whole, dim):
                g = scale * value[u * dim + d]
                total = data[first + place + d] + g * g
                data[first + place + d] = total
                weight[w + d] = keep * weight[w + d] - lr * g / (np.sqrt(total) + eps)
        if is_bf16:
            _narrow(scratch, bf16, 2 * first, dim, step)


@compiled
def sgd(
    row_U: Any, value: Any, scale: Any, data: Any, bf16: Any, is_bf16: Any, record: Any, dim: Any,
    rule: Any, step: Any,
) -> None:  # fmt: skip
    """weight = keep * weight - lr * gradient; ``rule`` is (keep, lr)."""
    scratch = np.empty(dim, np.float32)
    keep, lr = rule
    for u in range(len(row_U)):
        _ask(row_U, u, data, record)
        first = np.int64(row_U[u]) * record
        weight, w = data, first
        if is_bf16:
            _widen(bf16, 2 * first, scratch, dim)
            weight, w = scratch, np.int64(0)
        _move(weight, w, value, u * dim, dim, keep, scale * lr)
        if is_bf16:
            _narrow(scratch, bf16, 2 * first, dim, step)


@njit(inline="always")
def _move(weight: Any, w: Any, value: Any, g: Any, dim: Any, keep: Any, size: Any) -> None:
    """weight[w:w+D] = keep * weight - size * value[g:g+D]"""
    if keep != 1:
        for d in range(dim):
            weight[w + d] *= keep
    add_row(np.float32(-size), value, g, weight, w, dim)
