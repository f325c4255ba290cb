"""What the compiled loops of a ranking Transformer read and write: its sizes, its weights, and room to work in.

Weights and lines stand in four arrays, and all else are places in them, so that the loops have few arguments and are compiled once
for networks of every shape.

Legend: Q requests, N candidates, S request tokens, I candidate tokens, A task tokens (the last ones, which ask in the composite
layer), T = S + I + A, D width of a block, d width of a token, f hidden width, r rank, L layers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.nn.lane_machine import LANES, TILE


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


class Memory(NamedTuple):
    """
    w  uint32[]          matrices of pairs, in tiles
    c  float32[]         matrices of float32, in tiles, and vectors; the first TILE are 0
    f  float32[, LANES]  lines
    p  uint32[, LANES]   pair lines
    """

    w: Array
    c: Array
    f: Array
    p: Array


def _record(*names: str) -> np.dtype:
    return np.dtype([(name, np.int64) for name in names])


MAKER = _record("begin", "numbers", "after", "end", "line", "lines", "weight", "bias", "kind")
"""One block's tokens, GELU(W [LN(vectors); numbers] + c) + kind: columns from ``begin`` vectors, from ``numbers`` numbers, from
``after`` to ``end`` more vectors; where its ``lines`` lines of tokens begin; in c: ``weight`` [lines, D], its columns vectors
first, with the norm's gain in it, ``bias`` with the norm's shift, ``kind``."""

LAYER = _record("qkv", "qkv_bias", "out", "out_bias", "up", "up_bias", "down", "down_bias")
"""In w, token by token: [T, 3 d, d], [T, d, d], [T, f, d], [T, d, f]; biases in c.  Of a composite layer: of its asking tokens."""

COMPOSITE = _record("left", "left_bias", "query", "key", "value")
"""In w: left [3 r, T d] of queries, keys and values, query [A d, r], key and value [T d, r]; left_bias in c."""

HEAD = _record("weight", "bias", "out", "out_bias")
"""logit = out GELU(W LN([task token; mean of the tokens]) + c) + out_bias, in c: weight [d, 2 d]."""


class Network(NamedTuple):
    """Records of its parts.

    soft    added to the variance of a block's vectors
    task    in c: the task tokens [A, d] as they begin
    layers  the heterogeneous ones, then that of the composite one, if there is one
    """

    soft: float
    task: int
    request: Array
    item: Array
    layers: Array
    composite: Array
    heads: Array


class Known(NamedTuple):
    """What is worked out once a request, float32.

    qkv     [L, S, Q, 3 d]: projections of request tokens, of the first layer alone where they are not masked
    tokens  [S, Q, d]: request tokens as they enter, or, masked, as they leave the last heterogeneous layer
    z       [Q, 3 r]: masked, their share of what the composite layer's left factors make
    """

    qkv: Array
    tokens: Array
    z: Array

    @classmethod
    def of(cls, s: Sizes, num: int, layers: int) -> Known:
        depth = layers if s.first else 1
        shapes = (
            (depth, s.of_request, num, 3 * s.width),
            (s.of_request, num, s.width),
            (num, 3 * s.rank if s.first else 0),
        )
        return cls(*(np.zeros(shape, np.float32) for shape in shapes))


class Places(NamedTuple):
    """Where a thread works.  In f: lines of tokens x [T, d], projections of a head qkv [T, 3, d_k], columns of a block, ...; in p:
    tokens x2, what a head saw, hidden numbers, z2."""

    x: int
    qkv: int
    columns: int
    score: int
    sums: int
    tile: int
    line: int
    z: int
    query: int
    key: int
    value: int
    mean: int
    read: int
    x2: int
    seen: int
    hidden: int
    z2: int


class Room(NamedTuple):
    """A thread's lines, its lanes' rows and requests int64[LANES]."""

    f: Array
    p: Array
    row: Array
    owner: Array


def laid_out(s: Sizes, widest: int) -> tuple[Places, int, int]:
    """The places, and how many lines and pair lines there are.  widest: columns of the largest block."""
    whole, size, asked = s.tokens * s.width, s.width // s.heads, s.asking * s.width
    lines = {
        "x": whole,
        "qkv": 3 * s.tokens * size,
        "columns": widest,
        "score": s.tokens + 1,
        "sums": size,
        "tile": TILE,
        "line": 2,
        "z": 3 * s.rank,
        "query": asked if s.rank else 0,
        "key": whole if s.rank else 0,
        "value": whole if s.rank else 0,
        "mean": s.width,
        "read": 2 * s.width,
    }
    pairs = {"x2": whole // 2, "seen": whole // 2, "hidden": s.hidden // 2, "z2": 3 * s.rank // 2}
    places: dict[str, int] = {}
    for part in (lines, pairs):
        ends = np.cumsum([0, *part.values()]).tolist()
        places |= dict(zip(part, ends[:-1], strict=True))
    return Places(**places), sum(lines.values()), sum(pairs.values())


def room_of(lines: int, pairs: int) -> Room:
    lanes = np.zeros(LANES, np.int64)
    return Room(np.zeros((lines, LANES), np.float32), np.zeros((pairs, LANES), np.uint32), lanes, lanes.copy())
