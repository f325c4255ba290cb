"""Linear layers with ReLU after each and a few outputs, forward and backward, block of rows by block of rows: the compiled loops
of ``mlp_step``.

All layers are worked on for a block before the next one, so that what stands between two products never leaves the processor's
cache, and nothing is written that only the next operation would read.

Imports numba; nothing imports this file before a network learns.

Legend: N rows, L layers; layer l takes width[l] numbers a row and gives width[l + 1], multiples of 16; K outputs of a linear layer
behind them, or 0 for none; numbers and words as in ``tiles``, ``per`` numbers of a row in a word.  Layers stand one after the
other in flat arrays.
"""

from __future__ import annotations

import numpy as np

from aisle.core.lists import Array
from aisle.nn.lanes import compiled
from aisle.nn.tiles import NO_LEAST, multiply, number, put, summed_over_rows


@compiled
def packed(weight_ed: Array, per: int, forth: Array, back: Array, at: int) -> None:
    """A layer's weights as the products read them from ``at`` on: those of rows (``forth``) and those of gradients (``back``)."""
    e_width, d_width = weight_ed.shape
    for e in range(e_width):
        for d in range(d_width):
            put(forth, at + (d // per) * e_width * per + e * per + d % per, weight_ed[e, d])
            put(back, at + (e // per) * d_width * per + d * per + e % per, weight_ed[e, d])


@compiled
def forward(
    x: Array, forth: Array, bias: Array, width: Array, per: int, num_rows: int, tail: Array, tail_bias: Array,
    held: Array, held_words: Array, out: Array, first: int, last: int, block: int,
) -> None:  # fmt: skip
    """held[: N * width[1]] and so on: the outputs of all layers for rows ``first`` to ``last``, and out [N, K]; x words."""
    for m in range(first, last, block):
        rows = min(block, last - m)
        weight_at, bias_at, in_at, out_at = 0, 0, 0, 0
        for layer in range(len(width) - 1):
            d, e = width[layer], width[layer + 1]
            words, to = d // per, out_at + m * e
            if layer == 0:
                multiply(
                    x, m * words, words, 1, forth, 0, e, words, bias, 0, 0, held, to, e, np.float32(0), rows, e
                )  # fmt: skip
            else:
                multiply(
                    held_words, (in_at + m * d) // per, words, 1, forth, weight_at, e, words, bias, bias_at, 0, held, to, e,
                    np.float32(0), rows, e,
                )  # fmt: skip
            weight_at, bias_at = weight_at + words * e, bias_at + e
            in_at, out_at = out_at, out_at + num_rows * e
        e, outputs = width[-1], len(tail_bias)
        for r in range(m, m + rows):
            for k in range(outputs):
                total = tail_bias[k]
                for n in range(e):
                    total += number(held, in_at + r * e + n) * tail[k * e + n]
                put(out, r * outputs + k, total)


@compiled
def entered(
    grad: Array, held: Array, held_at: int, e: int, m: int, rows: int, tail: Array, outputs: int,
    delta: Array, tail_grad: Array, tail_bias_grad: Array,
) -> None:  # fmt: skip
    """delta [rows, e] of a block: the gradient of the last layer's outputs, or what comes to them from that of the K outputs."""
    if outputs == 0:
        for n in range(rows * e):
            delta[n] = number(grad, m * e + n)
        return
    for r in range(rows):
        for n in range(e):
            delta[r * e + n] = np.float32(0)
        for k in range(outputs):
            g = number(grad, (m + r) * outputs + k)
            tail_bias_grad[k] += g
            for n in range(e):
                delta[r * e + n] += g * tail[k * e + n]
            for n in range(e):
                tail_grad[k * e + n] += g * number(held, held_at + r * e + n)


@compiled
def backward(
    x: Array, grad: Array, held: Array, back: Array, width: Array, per: int, num_rows: int, tail: Array, outputs: int,
    x_grad: Array, weight_grad: Array, bias_grad: Array, tail_grad: Array, tail_bias_grad: Array,
    first: int, last: int, block: int,
    delta: Array, row: Array, row_words: Array, over_rows: Array, given: Array, nothing: Array,
) -> None:  # fmt: skip
    """Gradients over rows ``first`` to ``last``: x_grad (numbers, or empty) of the rows; of all weights and biases, float32,
    zeroed here.

    Room for a block: delta float32, row (numbers, and the same as words), over_rows and given (words); nothing: zeros of the
    largest width.
    """
    for sums in (weight_grad, bias_grad, tail_grad, tail_bias_grad):
        sums[:] = 0
    most = len(width) - 2
    for m in range(first, last, block):
        rows = min(block, last - m)
        weight_at, bias_at, out_at = len(weight_grad), len(bias_grad), len(held)
        for layer in range(most, -1, -1):
            d, e = width[layer], width[layer + 1]
            weight_at, bias_at, out_at = weight_at - d * e, bias_at - e, out_at - num_rows * e
            if layer == most:
                entered(grad, held, out_at + m * e, e, m, rows, tail, outputs, delta, tail_grad, tail_bias_grad)
            for n in range(rows * e):
                delta[n] = delta[n] if number(held, out_at + m * e + n) > 0 else np.float32(0)
            for r in range(rows):
                for n in range(e):
                    bias_grad[bias_at + n] += delta[r * e + n]
            for n in range(rows * e):
                put(row, n, delta[n])
            summed_over_rows(row, 0, e, rows, per, over_rows)
            if layer == 0:
                summed_over_rows(x, m * d, d, rows, per, given)
            else:
                summed_over_rows(held, out_at - num_rows * d + m * d, d, rows, per, given)
            multiply(
                over_rows, 0, 1, e, given, 0, d, (rows + per - 1) // per,
                weight_grad, weight_at, d, weight_grad, weight_at, d, NO_LEAST, e, d,
            )  # fmt: skip
            words = e // per
            if layer > 0:
                multiply(
                    row_words, 0, words, 1, back, weight_at // per, d, words, nothing, 0, 0, delta, 0, d, NO_LEAST, rows, d
                )  # fmt: skip
            elif len(x_grad):
                multiply(
                    row_words, 0, words, 1, back, 0, d, words, nothing, 0, 0, x_grad, m * d, d, NO_LEAST, rows, d
                )  # fmt: skip
