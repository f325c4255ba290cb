"""A ranking Transformer over candidates side by side: the compiled loops of ``lane_network``.

LANES candidates at a time go through the whole network, from features to logits, so that everything between two products stays in
the processor's cache.  What the arguments hold is told in ``lane_parts``; ``layer`` and ``own`` are records of a layer.

Legend: Q requests, N candidates, S request tokens, I candidate tokens, A task tokens (the last ones, which ask in the composite
layer), T = S + I + A, d width, f hidden width, r rank, L layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.nn.lane_ends import headed, made
from aisle.nn.lane_machine import LANES, TILE, claimed, product, product_more, summed, summed_tile
from aisle.nn.lane_parts import Known, Memory, Network, Places, Sizes
from aisle.nn.lanes import compiled, exponential, filled, gelu, normed, packed, pair, spread, taken


@compiled
def begun(s: Sizes, at: Places, m: Memory, net: Network, columns_QD: Array, row: Array, known: Known) -> None:
    """Fills ``known``: request tokens as they enter, and their projections in the first layer."""
    for start in range(0, len(columns_QD), LANES):
        lanes = begun_lanes(at, m, net, columns_QD, start, row)
        projected(s, at, m, net.layers[0], known.qkv[0], lanes, start)
        for t in range(s.of_request):
            taken(m.f, at.x + t * s.width, s.width, lanes, known.tokens[t], start, 0)


@compiled
def begun_masked(
    s: Sizes, alone: Sizes, at: Places, m: Memory, net: Network, columns_QD: Array, row: Array, known: Known
) -> None:
    """Fills ``known`` where request tokens do not look at candidates: they go through all heterogeneous layers by themselves.
    alone: sizes of the request tokens.  By itself, so that it is compiled only where there is a mask."""
    d, half = s.width, s.width // 2
    for start in range(0, len(columns_QD), LANES):
        lanes = begun_lanes(at, m, net, columns_QD, start, row)
        for n in range(len(known.qkv)):
            projected(s, at, m, net.layers[n], known.qkv[n], lanes, start)
            advanced(alone, at, m, net.layers[n], known.qkv[n], 0, row, False)
        for t in range(s.of_request):
            taken(m.f, at.x + t * d, d, lanes, known.tokens[t], start, 0)
            normed(m.f, at.x + t * d, d, at.line, m.p, at.x2 + t * half)
        for e in range(0, 3 * s.rank, TILE):
            left, bias = net.composite[0].left + e * s.tokens * half, net.composite[0].left_bias + e
            product(m.w, left, m.c, bias, m.p, at.x2, s.of_request * half, m.f, at.tile)
            taken(m.f, at.tile, TILE, lanes, known.z, start, e)


@compiled
def begun_lanes(at: Places, m: Memory, net: Network, columns_QD: Array, start: int, row: Array) -> int:
    """The tokens of the requests from ``start`` on, a lane each; how many of the lanes are requests of their own."""
    lanes = min(LANES, len(columns_QD) - start)
    for lane in range(LANES):
        row[lane] = start + min(lane, lanes - 1)
    made(net.request, net.soft, columns_QD, row, at, m)
    return lanes


@compiled
def projected(s: Sizes, at: Places, m: Memory, layer: Any, known_SQe: Array, lanes: int, start: int) -> None:
    """known[:, start:start+lanes]: what a layer's request tokens ask, offer and hold."""
    d, half = s.width, s.width // 2
    for t in range(s.of_request):
        normed(m.f, at.x + t * d, d, at.line, m.p, at.x2 + t * half)
        for e in range(0, 3 * d, TILE):
            place = t * 3 * d + e
            weight, bias = layer.qkv + place * half, layer.qkv_bias + place
            product(m.w, weight, m.c, bias, m.p, at.x2 + t * half, half, m.f, at.tile)
            taken(m.f, at.tile, TILE, lanes, known_SQe[t], start, e)


@compiled
def scored(
    s: Sizes, at: Places, m: Memory, net: Network, known: Known, columns_ND: Array, owner_N: Array, taken_1: Array,
    row: Array, owner: Array, logit_NK: Array,
) -> None:  # fmt: skip
    """logit_NK, LANES candidates at a time, as long as ``taken_1[0]``, the first that no thread has taken, is below N."""
    num, d, task = len(owner_N), s.width, at.x + (s.tokens - s.asking) * s.width
    while True:
        start = claimed(taken_1, LANES)
        if start >= num:
            return
        lanes = min(LANES, num - start)
        same = True
        for lane in range(LANES):
            row[lane] = start + min(lane, lanes - 1)
            owner[lane] = owner_N[row[lane]]
            same = same and owner[lane] == owner[0]
        for t in range(s.of_request):
            spread(known.tokens[t], owner, same, d, m.f, at.x + t * d)
        made(net.item, net.soft, columns_ND, row, at, m)
        filled(m.c[net.task : net.task + s.asking * d], m.f, task)
        for n in range(len(net.layers) - len(net.composite)):
            given = s.of_request if n == 0 or s.first else 0
            advanced(s, at, m, net.layers[n], known.qkv[n if s.first else 0], given, owner, same)
        averaged(s, at, m.f)
        if s.rank:
            composed(s, at, m, net.composite[0], net.layers[-1], known.z, owner, same)
        headed(net.heads, s, at, m, task, lanes, start, logit_NK)


@compiled
def advanced(
    s: Sizes, at: Places, m: Memory, layer: Any, known_SQe: Array, given: int, owner: Array, same: bool
) -> None:
    """The tokens one heterogeneous layer on; the projections of the first ``given`` are known."""
    attended(s, at, m, layer, known_SQe, given, owner, same)
    for t in range(s.first, s.tokens):
        fed(s, at, m, layer, t, t)


@compiled
def averaged(s: Sizes, at: Places, f: Array) -> None:
    """The mean of the tokens that do not ask."""
    num = s.tokens - s.asking
    share = np.float32(1.0 / num)
    for d in range(s.width):
        for lane in range(LANES):
            f[at.mean + d, lane] = np.float32(0)
        for t in range(num):
            for lane in range(LANES):
                f[at.mean + d, lane] += f[at.x + t * s.width + d, lane]
        for lane in range(LANES):
            f[at.mean + d, lane] *= share


@compiled
def attended(
    s: Sizes, at: Places, m: Memory, layer: Any, known_SQe: Array, given: int, owner: Array, same: bool
) -> None:
    """x += attention, a head at a time, for the tokens from ``first`` on."""
    half, size, d = s.width // 2, s.width // s.heads, s.width
    step = 3 * size
    for t in range(given, s.tokens):
        normed(m.f, at.x + t * d, d, at.line, m.p, at.x2 + t * half)
    for h in range(s.heads):
        for t in range(s.tokens):
            for part in range(3):
                line, row = at.qkv + t * step + part * size, part * d + h * size
                if t < given:
                    spread(known_SQe[t, :, row:], owner, same, size, m.f, line)
                    continue
                for e in range(0, size, TILE):
                    n = t * 3 * d + row + e
                    weight, bias = layer.qkv + n * half, layer.qkv_bias + n
                    product(m.w, weight, m.c, bias, m.p, at.x2 + t * half, half, m.f, line + e)
        for t in range(s.first, s.tokens):
            looked(at, m.f, at.qkv + t * step, at.qkv + size, at.qkv + 2 * size, step, s.tokens, size)
            packed(m.f, at.sums, size // 2, m.p, at.seen + t * half + h * size // 2)
    for t in range(s.first, s.tokens):
        added(m, layer.out + t * d * half, layer.out_bias + t * d, d, half, at.seen + t * half, at.x + t * d)


@compiled
def looked(at: Places, f: Array, query: int, key: int, value: int, step: int, tokens: int, size: int) -> None:
    """f[sums:]: what one query of ``size`` lines sees in ``tokens`` keys and values that stand ``step`` apart."""
    score, sums, whole, scale = at.score, at.sums, tokens - tokens % TILE, np.float32(1.0 / np.sqrt(size))
    for j in range(0, whole, TILE):
        summed_tile(f, query, 1, f, key + j * step, 1, step, size, f, score + j)
    for j in range(whole, tokens):
        summed(f, query, 1, f, key + j * step, 1, 0, size, f, score + j)
    total = score + tokens
    for lane in range(LANES):
        f[sums, lane] = f[score, lane]
        f[total, lane] = np.float32(0)
    for j in range(1, tokens):
        for lane in range(LANES):
            f[sums, lane] = max(f[sums, lane], f[score + j, lane])
    for j in range(tokens):
        for lane in range(LANES):
            weight = exponential(max((f[score + j, lane] - f[sums, lane]) * scale, np.float32(-80)))
            f[score + j, lane] = weight
            f[total, lane] += weight
    for lane in range(LANES):
        f[total, lane] = np.float32(1) / f[total, lane]
    for d in range(0, size, TILE):
        summed_tile(f, score, 1, f, value + d, step, 1, tokens, f, sums + d)
        for n in range(sums + d, sums + d + TILE):
            for lane in range(LANES):
                f[n, lane] *= f[total, lane]


@compiled
def fed(s: Sizes, at: Places, m: Memory, layer: Any, t: int, n: int) -> None:
    """x += W2 GELU(W1 LN(x)) of token t by the n-th matrices."""
    half, pairs, line = s.width // 2, s.hidden // 2, at.x + t * s.width
    normed(m.f, line, s.width, at.line, m.p, at.x2)
    for e in range(0, s.hidden, TILE):
        place = n * s.hidden + e
        product(m.w, layer.up + place * half, m.c, layer.up_bias + place, m.p, at.x2, half, m.f, at.tile)
        for k in range(TILE // 2):
            low, high = at.tile + 2 * k, at.tile + 2 * k + 1
            for lane in range(LANES):
                m.p[at.hidden + e // 2 + k, lane] = pair(gelu(m.f[low, lane]), gelu(m.f[high, lane]))
    place = n * s.width
    added(m, layer.down + place * pairs, layer.down_bias + place, s.width, pairs, at.hidden, line)


@compiled
def added(m: Memory, weight: int, bias: int, width: int, pairs: int, p_at: int, line: int) -> None:
    """f[line:line+width] += W p + b of ``pairs`` pair lines."""
    for e in range(0, width, TILE):
        product_more(m.w, weight + e * pairs, m.c, bias + e, m.p, p_at, pairs, m.f, line + e)


@compiled
def composed(s: Sizes, at: Places, m: Memory, own: Any, layer: Any, z_Qr: Array, owner: Array, same: bool) -> None:
    """The asking tokens one composite layer on: queries, keys and values of all tokens, then the feed-forward network."""
    width, size, half = s.width, s.width // s.heads, s.rank // 2
    whole, known = s.tokens * width, s.first * (width // 2)
    for t in range(s.first, s.tokens):
        normed(m.f, at.x + t * width, width, at.line, m.p, at.x2 + t * (width // 2))
    if s.first:
        # The share of request tokens is known.
        spread(z_Qr, owner, same, 3 * s.rank, m.f, at.z)
    for e in range(0, 3 * s.rank, TILE):
        place, pairs = own.left + e * (whole // 2), whole // 2
        if s.first:
            rest = pairs - known
            product_more(m.w, place + known * TILE, m.c, 0, m.p, at.x2 + known, rest, m.f, at.z + e)
        else:
            product(m.w, place, m.c, own.left_bias + e, m.p, at.x2, pairs, m.f, at.z + e)
    packed(m.f, at.z, 3 * half, m.p, at.z2)
    for e in range(0, s.asking * width, TILE):
        product(m.w, own.query + e * half, m.c, 0, m.p, at.z2, half, m.f, at.query + e)
    for e in range(0, whole, TILE):
        product(m.w, own.key + e * half, m.c, 0, m.p, at.z2 + half, half, m.f, at.key + e)
        product(m.w, own.value + e * half, m.c, 0, m.p, at.z2 + 2 * half, half, m.f, at.value + e)
    for a in range(s.asking):
        t, d, pairs = s.tokens - s.asking + a, a * width, width // 2
        for h in range(0, width, size):
            looked(at, m.f, at.query + d + h, at.key + h, at.value + h, width, s.tokens, size)
            packed(m.f, at.sums, size // 2, m.p, at.seen + (d + h) // 2)
        seen = at.seen + d // 2
        added(m, layer.out + d * pairs, layer.out_bias + d, width, pairs, seen, at.x + t * width)
        fed(s, at, m, layer, t, a)
