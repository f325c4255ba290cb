"""Heterogeneous layers and a composite one over candidates side by side: the compiled loops of ``lane_encoder``.

LANES candidates at a time go through the whole network, so that everything between two products stays in the processor's cache.

Legend: Q requests, N candidates, S request tokens, I candidate tokens (the last A of them ask in the composite layer), T = S + I,
d width, f hidden width, r rank, L layers; a line is LANES float32, a pair line LANES pairs of bf16; places of
lines count lines, places of matrices pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.nn.lanes import LANES, TILE, compiled, exponential, gelu, normed, pair, product, summed


class Sizes(NamedTuple):
    """tokens T, of_request S, asking A; first: the first token whose lanes change, S where request tokens are masked, else 0."""

    tokens: int
    of_request: int
    asking: int
    first: int
    width: int
    hidden: int
    heads: int
    rank: int


class Layer(NamedTuple):
    """Matrices as pairs, flat, by token: [T, 3 d, d], [T, d, d], [T, f, d], [T, d, f]; biases float32."""

    qkv: Array
    qkv_bias: Array
    out: Array
    out_bias: Array
    up: Array
    up_bias: Array
    down: Array
    down_bias: Array


class Composite(NamedTuple):
    """left [3 r, T d] of queries, keys and values; query [A d, r], key and value [T d, r]; the rest as in ``Layer``, for
    asking tokens."""

    left: Array
    left_bias: Array
    query: Array
    key: Array
    value: Array
    out: Array
    out_bias: Array
    up: Array
    up_bias: Array
    down: Array
    down_bias: Array


class Room(NamedTuple):
    """Where a thread works: lines of tokens x [T, d], their pairs p, projections of a head qkv [T, 3, d_k], what was seen, ..."""

    x: Array
    p: Array
    qkv: Array
    seen: Array
    score: Array
    sums: Array
    hidden: Array
    tile: Array
    line: Array
    z: Array
    z_pairs: Array
    query: Array
    key: Array
    value: Array
    no_bias: Array

    @classmethod
    def of(cls, s: Sizes) -> Room:
        def lines(count: int) -> Array:
            return np.zeros((max(count, 1), LANES), np.float32)

        def pairs(count: int) -> Array:
            return np.zeros((max(count, 1), LANES), np.uint32)

        whole, size = s.tokens * s.width, s.width // s.heads
        composite = (s.rank > 0) * whole
        return cls(
            x=lines(whole),
            p=pairs(whole // 2),
            qkv=lines(3 * s.tokens * size),
            seen=pairs(whole // 2),
            score=lines(s.tokens + 1),
            sums=lines(size),
            hidden=pairs(s.hidden // 2),
            tile=lines(TILE),
            line=lines(2),
            z=lines(3 * s.rank),
            z_pairs=pairs(3 * s.rank // 2),
            query=lines((s.rank > 0) * s.asking * s.width),
            key=lines(composite),
            value=lines(composite),
            no_bias=np.zeros(TILE, np.float32),
        )


@compiled
def encode(
    s: Sizes, layers: tuple[Layer, ...], composite: Composite, known_LSQe: Array, known_L: Array, request_SQd: Array,
    item_INd: Array, owner_N: Array, begin: int, end: int, room: Room, task_ANd: Array, mean_Nd: Array,
) -> None:  # fmt: skip
    """Candidates ``begin`` to ``end`` through all layers.

    known_LSQe   float32[L, S, Q, 3 d]: projections of request tokens, of which the first ``known_L`` count in each layer
    request_SQd  request tokens as they enter, or, masked, as they leave the last heterogeneous layer
    task_ANd, mean_Nd  take the asking tokens at the end, and the mean of the others as they enter the composite layer
    """
    row = np.empty(LANES, np.int64)
    owner = np.empty(LANES, np.int64)
    for start in range(begin, end, LANES):
        for lane in range(LANES):
            row[lane] = min(start + lane, end - 1)
            owner[lane] = owner_N[row[lane]]
        for t in range(s.of_request):
            spread(request_SQd[t], owner, s.width, room.x, t * s.width)
        for t in range(s.of_request, s.tokens):
            spread(item_INd[t - s.of_request], row, s.width, room.x, t * s.width)
        for n in range(len(layers)):
            attended(s, layers[n], known_LSQe[n], known_L[n], owner, room)
            for t in range(s.first, s.tokens):
                fed(s, t, t, layers[n].up, layers[n].up_bias, layers[n].down, layers[n].down_bias, room)
        averaged(s, room.x, room.sums, row, start, end, mean_Nd)
        if s.rank > 0:
            composed(s, composite, room)
        for a in range(s.asking):
            at = (s.tokens - s.asking + a) * s.width
            for d in range(s.width):
                for lane in range(min(LANES, end - start)):
                    task_ANd[a, start + lane, d] = room.x[at + d, lane]


@compiled
def spread(rows_Rd: Array, row: Array, numbers: int, x: Array, at: int) -> None:
    """Lines of these rows, a lane each."""
    for lane in range(LANES):
        for d in range(numbers):
            x[at + d, lane] = rows_Rd[row[lane], d]


@compiled
def packed(x: Array, at: int, pairs: int, out: Array, out_at: int) -> None:
    """Pair lines of lines."""
    for d in range(pairs):
        for lane in range(LANES):
            out[out_at + d, lane] = pair(x[at + 2 * d, lane], x[at + 2 * d + 1, lane])


@compiled
def averaged(s: Sizes, x: Array, sums: Array, row: Array, start: int, end: int, mean_Nd: Array) -> None:
    """The mean of the tokens that do not ask."""
    num = s.tokens - s.asking
    share = np.float32(1.0 / num)
    for d in range(s.width):
        for lane in range(LANES):
            sums[0, lane] = np.float32(0)
        for t in range(num):
            for lane in range(LANES):
                sums[0, lane] += x[t * s.width + d, lane]
        for lane in range(min(LANES, end - start)):
            mean_Nd[start + lane, d] = sums[0, lane] * share


@compiled
def added(
    w: Array,
    w_at: int,
    bias: Array,
    bias_at: int,
    width: int,
    pairs: int,
    p: Array,
    p_at: int,
    tile: Array,
    x: Array,
    x_at: int,
) -> None:
    """x += W p + b."""
    for m in range(0, width, TILE):
        product(w, w_at + m * pairs, bias, bias_at + m, p, p_at, pairs, tile, 0)
        for n in range(TILE):
            for lane in range(LANES):
                x[x_at + m + n, lane] += tile[n, lane]


@compiled
def fed(s: Sizes, t: int, n: int, up: Array, up_bias: Array, down: Array, down_bias: Array, room: Room) -> None:
    """x += W2 GELU(W1 LN(x)) of token t by the n-th matrices."""
    half, pairs, at = s.width // 2, s.hidden // 2, t * s.width
    normed(room.x, at, s.width, room.line, room.p, 0)
    tile, hidden = room.tile, room.hidden
    for m in range(0, s.hidden, TILE):
        place = n * s.hidden + m
        product(up, place * half, up_bias, place, room.p, 0, half, tile, 0)
        for k in range(TILE // 2):
            for lane in range(LANES):
                hidden[m // 2 + k, lane] = pair(gelu(tile[2 * k, lane]), gelu(tile[2 * k + 1, lane]))
    added(down, n * s.width * pairs, down_bias, n * s.width, s.width, pairs, hidden, 0, tile, room.x, at)


@compiled
def attended(s: Sizes, w: Layer, known_SQe: Array, given: int, owner: Array, room: Room) -> None:
    """x += attention, a head at a time, for the tokens from ``first`` on; the projections of the first ``given`` are known."""
    half, size = s.width // 2, s.width // s.heads
    step, d = 3 * size, s.width
    for t in range(given, s.tokens):
        normed(room.x, t * d, d, room.line, room.p, t * half)
    for h in range(s.heads):
        for t in range(s.tokens):
            for part in range(3):
                at, row = t * step + part * size, part * d + h * size
                if t < given:
                    spread(known_SQe[t, :, row:], owner, size, room.qkv, at)
                    continue
                for m in range(0, size, TILE):
                    n = t * 3 * d + row + m
                    product(w.qkv, n * half, w.qkv_bias, n, room.p, t * half, half, room.qkv, at + m)
        for t in range(s.first, s.tokens):
            looked(room.qkv, t * step, room.qkv, size, room.qkv, 2 * size, step, s.tokens, size, room.score, room.sums)
            packed(room.sums, 0, size // 2, room.seen, t * half + h * size // 2)
    for t in range(s.first, s.tokens):
        added(w.out, t * d * half, w.out_bias, t * d, d, half, room.seen, t * half, room.tile, room.x, t * d)


@compiled
def looked(
    q: Array,
    q_at: int,
    k: Array,
    k_at: int,
    v: Array,
    v_at: int,
    step: int,
    tokens: int,
    size: int,
    score: Array,
    sums: Array,
) -> None:
    """What one query of ``size`` lines sees in ``tokens`` keys and values that stand ``step`` apart: lines ``sums``."""
    scale = np.float32(1.0 / np.sqrt(size))
    for j in range(tokens):
        summed(q, q_at, 1, k, k_at + j * step, 1, size, score, j)
    for lane in range(LANES):
        highest = score[0, lane]
        for j in range(1, tokens):
            highest = max(highest, score[j, lane])
        sums[0, lane] = highest
        score[tokens, lane] = np.float32(0)
    for j in range(tokens):
        for lane in range(LANES):
            weight = exponential(max((score[j, lane] - sums[0, lane]) * scale, np.float32(-80)))
            score[j, lane] = weight
            score[tokens, lane] += weight
    for lane in range(LANES):
        score[tokens, lane] = np.float32(1) / score[tokens, lane]
    for d in range(size):
        summed(score, 0, 1, v, v_at + d, step, tokens, sums, d)
        for lane in range(LANES):
            sums[d, lane] *= score[tokens, lane]


@compiled
def composed(s: Sizes, w: Composite, room: Room) -> None:
    """The asking tokens one composite layer on: queries, keys and values of all tokens, then the feed-forward network."""
    whole, half, size, width = s.tokens * s.width, s.rank // 2, s.width // s.heads, s.width
    for t in range(s.tokens):
        normed(room.x, t * width, width, room.line, room.p, t * (width // 2))
    for m in range(0, 3 * s.rank, TILE):
        product(w.left, m * (whole // 2), w.left_bias, m, room.p, 0, whole // 2, room.z, m)
    packed(room.z, 0, 3 * half, room.z_pairs, 0)
    z, no_bias = room.z_pairs, room.no_bias
    for m in range(0, s.asking * width, TILE):
        product(w.query, m * half, no_bias, 0, z, 0, half, room.query, m)
    for m in range(0, whole, TILE):
        product(w.key, m * half, no_bias, 0, z, half, half, room.key, m)
        product(w.value, m * half, no_bias, 0, z, 2 * half, half, room.value, m)
    for a in range(s.asking):
        for h in range(s.heads):
            d, at = h * size, a * width + h * size
            looked(room.query, at, room.key, d, room.value, d, width, s.tokens, size, room.score, room.sums)
            packed(room.sums, 0, size // 2, room.seen, at // 2)
        d, pairs, at = a * width, width // 2, (s.tokens - s.asking + a) * width
        added(w.out, d * pairs, w.out_bias, d, width, pairs, room.seen, d // 2, room.tile, room.x, at)
        fed(s, at // width, a, w.up, w.up_bias, w.down, w.down_bias, room)


def no_composite() -> Composite:
    """What stands for a composite layer where there is none (rank 0)."""
    nothing: Any = (np.zeros(0, np.uint32), np.zeros(0, np.float32))
    pairs, numbers = nothing
    return Composite(pairs, numbers, pairs, pairs, pairs, pairs, numbers, pairs, numbers, pairs, numbers)
