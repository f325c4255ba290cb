"""One step of decoding as compiled loops: what stands between two tokens of the small decoder, for many answers at once.

Weights, keys and values stand in panels (``panels.py``).  A row is taken as a slice, whose places a compiler knows to be
neighbours; indexed from the whole array, the same loops run five times as long.

Imports numba; nothing imports this file before a small model samples.

Legend: S = Q G answers, D width, H query heads, K key heads, E width of a head, P prompt tokens, R answer tokens; arrays are flat,
``at`` is a place in one, ``step`` the distance between two rows; rows of products are filled up to whole panels.
"""

from __future__ import annotations

import numpy as np

from aisle.core.lists import Array
from aisle.nn.backbones.panels import PANEL, product, tile_of_one
from aisle.nn.lanes import compiled, exponential

LARGEST = 80.0
"""Exponents that ``exponential`` takes, either side of 0."""


@compiled
def copied(row: Array, to: Array) -> None:
    """An assignment of slices would do, and be two seconds longer in the compiling."""
    for i in range(len(row)):
        to[i] = row[i]


@compiled
def normed(x: Array, step: int, rows: int, width: int, eps: float, out: Array) -> None:
    """Rows divided by their root mean square.  What the norm multiplies by stands in the weights behind it."""
    for s in range(rows):
        row, to = x[s * step : s * step + width], out[s * step : s * step + width]
        squares = np.float32(0)
        for d in range(width):
            squares += row[d] * row[d]
        scale = np.float32(1) / np.sqrt(squares * np.float32(1 / width) + np.float32(eps))
        for d in range(width):
            to[d] = row[d] * scale


@compiled
def headed(head: Array, eps: float, weight: Array, cosine: Array, sine: Array) -> None:
    """One head [E], in place: divided by its root mean square, times ``weight``, turned by its position's angles [E / 2]."""
    half = len(head) // 2
    low, high, by_low, by_high = head[:half], head[half:], weight[:half], weight[half:]
    squares = np.float32(0)
    for e in range(len(head)):
        squares += head[e] * head[e]
    scale = np.float32(1) / np.sqrt(squares * np.float32(1 / len(head)) + np.float32(eps))
    for e in range(half):
        a, b = low[e] * scale * by_low[e], high[e] * scale * by_high[e]
        low[e] = a * cosine[e] - b * sine[e]
        high[e] = b * cosine[e] + a * sine[e]


@compiled
def gated(x: Array, step: int, rows: int, hidden: int, out: Array) -> None:
    """silu(gate) * up of rows that hold both."""
    for s in range(rows):
        gate, up = x[s * step : s * step + hidden], x[s * step + hidden : s * step + 2 * hidden]
        to = out[s * hidden : (s + 1) * hidden]
        for f in range(hidden):
            safe = min(max(-gate[f], np.float32(-LARGEST)), np.float32(LARGEST))
            to[f] = gate[f] / (np.float32(1) + exponential(safe)) * up[f]


@compiled
def shares(score: Array, hidden: Array) -> None:
    """Scores of one token as shares of its attention, in place; ``hidden`` is far below 0 where a place holds no token."""
    largest = score[0] + hidden[0]
    for p in range(len(score)):
        score[p] += hidden[p]
        largest = max(largest, score[p])
    total = np.float32(0)
    for p in range(len(score)):
        score[p] = exponential(max(score[p] - largest, np.float32(-LARGEST)))
        total += score[p]
    share = np.float32(1) / total
    for p in range(len(score)):
        score[p] *= share


@compiled
def attended(
    qkv: Array, step: int, first: int, prompts: int, group: int, heads: int, key_heads: int, size: int,
    key: Array, value: Array, seen: Array, longest: int, own_key: Array, own_value: Array, room: int, own: int,
    hidden: Array, score: Array, mixed: Array, out: Array,
) -> None:  # fmt: skip
    """What each answer's newest token takes from its prompt and from its own tokens so far: [rows, H E].

    key        [Q, K, P panels, E, PANEL]; value [Q, K, E panels, P, PANEL]; ``longest`` is P, a whole number of panels
    seen       int64[Q]: tokens of each prompt
    own_key    [S, K, R panels, E, PANEL]; own_value [S, K, E panels, R, PANEL]; ``own`` of R, the ``room``, are in use, the
               newest included
    hidden     [Q, P + R]: 0 for a place that holds a token, far below 0 for all others
    first      the first of the prompts whose answers these rows are
    score      room for [G, P + R], mixed for [G, E panels]
    """
    wide, width = (size + PANEL - 1) // PANEL * PANEL, longest + room
    in_use = longest + (own + PANEL - 1) // PANEL * PANEL
    for n in range(prompts):
        q = first + n
        hidden_row = hidden[q * width : q * width + in_use]
        for h in range(heads):
            kv = h * key_heads // heads
            base, rows_at = q * key_heads + kv, n * group * step + h * size
            product(qkv, rows_at, step, group, size, key, base * longest * size, longest // PANEL, score, 0, width, 0)
            for g in range(group):
                own_base, at = ((q * group + g) * key_heads + kv) * room, g * width
                for p in range(0, in_use - longest, PANEL):
                    tile_of_one(
                        qkv, rows_at + g * step, 0, own_key, (own_base + p) * size, size, score, at + longest + p, 0, 0
                    )
                shares(score[at : at + in_use], hidden_row)
            for j in range(0, wide, PANEL):
                product(score, 0, width, group, seen[q], value, (base * wide + j) * longest, 1, mixed, j, wide, 0)
                for g in range(group):
                    own_at = ((q * group + g) * key_heads + kv) * room * wide + j * room
                    tile_of_one(score, g * width + longest, 0, own_value, own_at, own, mixed, g * wide + j, 0, 1)
            for g in range(group):
                to = ((n * group + g) * heads + h) * size
                copied(mixed[g * wide : g * wide + size], out[to : to + size])


@compiled
def remembered(
    qkv: Array, step: int, rows: int, start: int, heads: int, key_heads: int, size: int, own_key: Array, own_value: Array,
    room: int, past: int,
) -> None:  # fmt: skip
    """The newest keys and values go into the answers' caches, at place ``past``."""
    wide = (size + PANEL - 1) // PANEL * PANEL
    for s in range(rows):
        for h in range(key_heads):
            base = ((start + s) * key_heads + h) * room
            at = s * step + (heads + h) * size
            key, value = qkv[at : at + size], qkv[at + key_heads * size : at + (key_heads + 1) * size]
            to_key = (base + past // PANEL * PANEL) * size + past % PANEL
            for e in range(size):
                own_key[to_key + e * PANEL] = key[e]
            for j in range(0, size, PANEL):
                to, piece = (base * wide + j * room) + past * PANEL, value[j : j + PANEL]
                copied(piece, own_value[to : to + len(piece)])


@compiled
def entered(
    token: Array, table: Array, width: int, seen: Array, vocabulary: int, cue: Array, x: Array, step: int
) -> None:
    """Vectors of the newest tokens, with the cue where an answer's text had the token before (``seen``, brought up to date)."""
    for s in range(len(token)):
        row = x[s * step : s * step + width]
        copied(table[token[s] * width : (token[s] + 1) * width], row)
        if len(cue):
            if seen[s * vocabulary + token[s]]:
                for d in range(width):
                    row[d] += cue[d]
            seen[s * vocabulary + token[s]] = True


@compiled
def forward(
    token: Array, first: int, prompts: int, group: int, sizes: tuple[int, ...], eps: float,
    table: Array, cue: Array, head: Array, qkv_w: Array, out_w: Array, gate_up_w: Array, down_w: Array, query_norm: Array,
    key_norm: Array, cosine: Array, sine: Array, vocabulary_seen: Array,
    keys: Array, values: Array, seen: Array, own_keys: Array, own_values: Array, room: int, past: int, hidden: Array,
    x: Array, y: Array, qkv: Array, mixed: Array, both: Array, act: Array, score: Array, part: Array, logits: Array,
) -> None:  # fmt: skip
    """Scores of the token after ``token`` [S] for the answers of some prompts, into their rows of ``logits`` [S, V panels].

    ``past`` of the answers' tokens stand in the caches; this one is added to them.  Weights and caches: a row a layer.
    """
    layers, width, heads, key_heads, size, inside, vocabulary = sizes
    start, rows, half = first * group, prompts * group, size // 2
    x_step, qkv_step, both_step, head_panels = (
        len(x) // rows,
        len(qkv) // rows,
        len(both) // rows,
        len(head) // width // PANEL,
    )
    longest, inner = len(hidden) // len(seen) - room, heads * size
    if len(cue):
        vocabulary_seen = vocabulary_seen[start * vocabulary :]
    entered(token[start : start + rows], table, width, vocabulary_seen, vocabulary, cue, x, x_step)
    for n in range(layers):
        normed(x, x_step, rows, width, eps, y)
        product(y, 0, x_step, rows, width, qkv_w[n], 0, qkv_step // PANEL, qkv, 0, qkv_step, 0)
        for s in range(rows):
            turn = (seen[first + s // group] + past) * half
            cosine_E, sine_E = cosine[turn : turn + half], sine[turn : turn + half]
            for h in range(heads + key_heads):
                at = s * qkv_step + h * size
                headed(qkv[at : at + size], eps, query_norm[n] if h < heads else key_norm[n], cosine_E, sine_E)
        remembered(qkv, qkv_step, rows, start, heads, key_heads, size, own_keys[n], own_values[n], room, past)
        attended(
            qkv, qkv_step, first, prompts, group, heads, key_heads, size, keys[n], values[n], seen, longest, own_keys[n],
            own_values[n], room, past + 1, hidden, score, part, mixed,
        )  # fmt: skip
        product(mixed, 0, inner, rows, inner, out_w[n], 0, x_step // PANEL, x, 0, x_step, 1)
        normed(x, x_step, rows, width, eps, y)
        product(y, 0, x_step, rows, width, gate_up_w[n], 0, both_step // PANEL, both, 0, both_step, 0)
        gated(both, both_step, rows, inside, act)
        product(act, 0, inside, rows, inside, down_w[n], 0, x_step // PANEL, x, 0, x_step, 1)
    normed(x, x_step, rows, width, eps, y)
    product(
        y, 0, x_step, rows, width, head, 0, head_panels, logits, start * head_panels * PANEL, head_panels * PANEL, 0
    )
