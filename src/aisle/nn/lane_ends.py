"""Where lanes begin and end: blocks of features become tokens, task tokens become logits, in float32.

Legend: R rows (requests or candidates), N candidates, K tasks, D width of a side, d width of a token.
"""

from __future__ import annotations

from aisle.core.lists import Array
from aisle.nn.lane_machine import LANES, TILE, product32
from aisle.nn.lane_parts import Memory, Places, Sizes
from aisle.nn.lanes import compiled, gelu, norm, spread


@compiled
def made(makers: Array, soft: float, rows_RD: Array, row: Array, at: Places, m: Memory) -> None:
    """The tokens of these rows, a lane each.  makers: ``lane_parts.MAKER``; soft: added to the variance of a block's vectors."""
    for n in range(len(makers)):
        own = makers[n]
        before, numbers, width = own.numbers - own.begin, own.after - own.numbers, own.end - own.begin
        vectors = width - numbers
        spread(rows_RD[:, own.begin :], row, False, before, m.f, at.columns)
        spread(rows_RD[:, own.after :], row, False, vectors - before, m.f, at.columns + before)
        spread(rows_RD[:, own.numbers :], row, False, numbers, m.f, at.columns + vectors)
        if vectors:
            norm(m.f, at.columns, vectors, soft, at.line)
        for e in range(0, own.lines, TILE):
            product32(m.c, own.weight + e * width, m.c, own.bias + e, m.f, at.columns, width, m.f, at.tile)
            for k in range(TILE):
                kind = m.c[own.kind + e + k]
                for lane in range(LANES):
                    m.f[own.line + e + k, lane] = gelu(m.f[at.tile + k, lane]) + kind


@compiled
def headed(heads: Array, s: Sizes, at: Places, m: Memory, task: int, lanes: int, start: int, logit_NK: Array) -> None:
    """logit_NK[start:start+lanes] of the task tokens f[task:] and the mean of the others.  heads: ``lane_parts.HEAD``."""
    d = s.width
    for k in range(len(heads)):
        own = heads[k]
        for n in range(d):
            for lane in range(LANES):
                m.f[at.read + n, lane] = m.f[task + k * d + n, lane]
                m.f[at.read + d + n, lane] = m.f[at.mean + n, lane]
        norm(m.f, at.read, 2 * d, 1e-5, at.line)
        for lane in range(LANES):
            m.f[at.sums, lane] = m.c[own.out_bias]
        for e in range(0, d, TILE):
            product32(m.c, own.weight + e * 2 * d, m.c, own.bias + e, m.f, at.read, 2 * d, m.f, at.tile)
            for n in range(TILE):
                weight = m.c[own.out + e + n]
                for lane in range(LANES):
                    m.f[at.sums, lane] += weight * gelu(m.f[at.tile + n, lane])
        for lane in range(lanes):
            logit_NK[start + lane, k] = m.f[at.sums, lane]
