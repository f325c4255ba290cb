"""Cross layers with whole matrices, forward and backward, block of rows by block of rows: the compiled loops of ``cross_step``.

    z_l = W_l c_l + b_l        c_(l+1) = c_l + x * z_l        c_0 = x

z is kept for the way back, c is made anew from it: that costs less than reading it from memory.

Imports numba; nothing imports this file before a network learns.

Legend: N rows, d width, a multiple of 16, L layers; numbers and words as in ``tiles``, ``per`` numbers of a row in a word.
"""

from __future__ import annotations

import numpy as np

from aisle.core.lists import Array
from aisle.nn.lanes import compiled
from aisle.nn.tiles import NO_LEAST, multiply, number, put, summed_over_rows


@compiled
def crossed(c: Array, c_at: int, x: Array, z: Array, x_at: int, z_at: int, count: int, out: Array, at: int) -> None:
    """out[at:] = c + x * z, ``count`` numbers each."""
    for n in range(count):
        put(out, at + n, number(c, c_at + n) + number(x, x_at + n) * number(z, z_at + n))


@compiled
def forward(
    x: Array, x_words: Array, forth: Array, bias: Array, layers: int, d: int, per: int, num_rows: int,
    z: Array, out: Array, first: int, last: int, block: int, c: Array, c_words: Array,
) -> None:  # fmt: skip
    """z [L, N, d] and out [N, d] of rows ``first`` to ``last``.  Room for a block: c numbers, and the same as words."""
    words = d // per
    for m in range(first, last, block):
        rows, here = min(block, last - m), m * d
        for layer in range(layers):
            weight_at, to = layer * words * d, layer * num_rows * d + here
            if layer == 0:
                multiply(
                    x_words, m * words, words, 1, forth, 0, d, words, bias, 0, 0, z, to, d, NO_LEAST, rows, d
                )  # fmt: skip
            else:
                multiply(
                    c_words, 0, words, 1, forth, weight_at, d, words, bias, layer * d, 0, z, to, d, NO_LEAST, rows, d
                )  # fmt: skip
            if layer == 0 and layers > 1:
                crossed(x, here, x, z, here, to, rows * d, c, 0)
            elif layer == 0:
                crossed(x, here, x, z, here, to, rows * d, out, here)
            elif layer < layers - 1:
                crossed(c, 0, x, z, here, to, rows * d, c, 0)
            else:
                crossed(c, 0, x, z, here, to, rows * d, out, here)


@compiled
def backward(
    x: Array, grad: Array, z: Array, back: Array, layers: int, d: int, per: int, num_rows: int,
    x_grad: Array, weight_grad: Array, bias_grad: Array, first: int, last: int, block: int,
    c: Array, delta: Array, of_x: Array, row: Array, row_words: Array, over_rows: Array, given: Array,
) -> None:  # fmt: skip
    """Gradients over rows ``first`` to ``last``: x_grad numbers, weight_grad [L, d, d] and bias_grad [L, d] float32, zeroed here.

    Room for a block: c [L - 1] numbers, delta and of_x float32, row (numbers, and the same as words), over_rows and given (words).
    """
    weight_grad[:] = 0
    bias_grad[:] = 0
    words, layer_size = d // per, num_rows * d
    for m in range(first, last, block):
        rows, here = min(block, last - m), m * d
        count, room = rows * d, block * d
        for layer in range(layers - 1):
            at = layer * layer_size + here
            if layer == 0:
                crossed(x, here, x, z, here, at, count, c, 0)
            else:
                crossed(c, (layer - 1) * room, x, z, here, at, count, c, layer * room)
        for n in range(count):
            delta[n] = number(grad, here + n)
            of_x[n] = np.float32(0)
        for layer in range(layers - 1, -1, -1):
            at = layer * layer_size + here
            for n in range(count):
                of_x[n] += delta[n] * number(z, at + n)
                put(row, n, delta[n] * number(x, here + n))
            for r in range(rows):
                for n in range(d):
                    bias_grad[layer * d + n] += number(row, r * d + n)
            summed_over_rows(row, 0, d, rows, per, over_rows)
            if layer == 0:
                summed_over_rows(x, here, d, rows, per, given)
            else:
                summed_over_rows(c, (layer - 1) * room, d, rows, per, given)
            to = layer * d * d
            multiply(
                over_rows, 0, 1, d, given, 0, d, (rows + per - 1) // per, weight_grad, to, d, weight_grad, to, d, NO_LEAST, d, d
            )  # fmt: skip
            multiply(
                row_words, 0, words, 1, back, layer * words * d, d, words, delta, 0, d, delta, 0, d, NO_LEAST, rows, d
            )  # fmt: skip
        for n in range(count):
            put(x_grad, here + n, delta[n] + of_x[n])
