"""64 rows side by side: products in bf16 and what stands between them, for networks that score many candidates at once.

A row (a candidate) is a lane: every number of 64 candidates is one line of 64 float32, so norms, activations and attention are
plain loops over lines, without a sum across a register.  Operands of products are *pairs*: two bf16 numbers that follow each other
along the summed axis, in one uint32, as the processor's dot product takes them (``lane_machine``).

Imports numba; nothing imports this file before a network is served.

Legend: a line is LANES numbers, row ``[n]`` of an array [lines, LANES]; loops run along a line with its number outside, so that the
compiler sees neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from aisle.core.lists import Array
from aisle.nn.lane_machine import LANES, TILE, bits_of_float, float_of_bits

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` compiled on its first call, without the interpreter's lock, kept on disk where there is a place for it."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": True}
    compiler: Any = njit(**options)
    caching: Any = njit(cache=True, **options)
    try:
        return cast(F, caching(function))
    except RuntimeError:  # no folder for the cache
        return cast(F, compiler(function))


def tiles_of(weight_TMK: Array) -> Array:
    """[T * M * K] of [..., M, K], M a multiple of TILE: what ``product32`` reads one after the other, TILE rows at a time."""
    return _tiled(weight_TMK)


def pair_tiles_of(weight_TMK: Array) -> Array:
    """uint32[T * M * K / 2] of float32[..., M, K], M a multiple of TILE, K of 2: the same for ``product``.

    Neighbours along K are a pair of bf16, rounded to nearest, the earlier one below.
    """
    bits = np.ascontiguousarray(weight_TMK, np.float32).view(np.uint32)
    short = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return _tiled(short[..., 0::2] | (short[..., 1::2] << np.uint32(16)))


def _tiled(weight_TMK: Array) -> Array:
    return weight_TMK.reshape(-1, TILE, weight_TMK.shape[-1]).transpose(0, 2, 1).ravel()


P0, P1, P2, P3 = 0.3987178218971933, -0.0659501332322436, 0.009536323600581292, -0.0010139502703264813
P4, P5, P6, P7 = 7.5831823399805e-05, -3.7281065660609925e-06, 1.068867630569104e-07, -1.342812203731039e-09
EDGE = 4.0
"""The bell curve's integral less a half is x P(x^2) between -EDGE and EDGE: what GELU makes of it errs by at most 1.3e-4."""
E0, E1, E2 = 1.0000000754548972, 0.6931471880262273, 0.2402210748530968
E3, E4, E5 = 0.05550357114222094, 0.009676031918255982, 0.001339086336353527
"""2^f for f between -1/2 and 1/2, within 1e-7 of it."""


@compiled
def gelu(x: Any) -> Any:
    c = min(max(x, np.float32(-EDGE)), np.float32(EDGE))
    t = c * c
    p = np.float32(P7)
    for a in (P6, P5, P4, P3, P2, P1, P0):
        p = p * t + np.float32(a)
    return x * (np.float32(0.5) + c * p)


@compiled
def exponential(x: Any) -> Any:
    """exp(x) of a number from -80 to 80."""
    scaled = x * np.float32(1.4426950408889634)
    whole = np.floor(scaled + np.float32(0.5))
    f = scaled - whole
    p = np.float32(E5)
    for a in (E4, E3, E2, E1, E0):
        p = p * f + np.float32(a)
    return p * float_of_bits(np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)))


@compiled
def pair(low: Any, high: Any) -> Any:
    """Two float32 as a pair of bf16."""
    half = np.uint32(0x8000)
    return ((bits_of_float(low) + half) >> np.uint32(16)) | ((bits_of_float(high) + half) & np.uint32(0xFFFF0000))


@compiled
def moments(f: Array, at: int, width: int, soft: float, line: int) -> None:
    """f[line], f[line + 1]: the mean of the lines f[at:at+width], and 1 / sqrt(their variance + ``soft``), in every lane."""
    for lane in range(LANES):
        f[line, lane] = np.float32(0)
        f[line + 1, lane] = np.float32(0)
    for d in range(at, at + width):
        for lane in range(LANES):
            f[line, lane] += f[d, lane]
            f[line + 1, lane] += f[d, lane] * f[d, lane]
    for lane in range(LANES):
        f[line, lane] *= np.float32(1.0 / width)
        variance = max(f[line + 1, lane] * np.float32(1.0 / width) - f[line, lane] * f[line, lane], np.float32(0))
        f[line + 1, lane] = np.float32(1) / np.sqrt(variance + np.float32(soft))


@compiled
def normed(f: Array, at: int, width: int, line: int, p: Array, p_at: int) -> None:
    """Pair lines p[p_at:] of the lines f[at:at+width] with mean 0 and deviation 1 in every lane.  line: 2 lines of room."""
    moments(f, at, width, 1e-5, line)
    for d in range(width // 2):
        for lane in range(LANES):
            low = (f[at + 2 * d, lane] - f[line, lane]) * f[line + 1, lane]
            high = (f[at + 2 * d + 1, lane] - f[line, lane]) * f[line + 1, lane]
            p[p_at + d, lane] = pair(low, high)


@compiled
def norm(f: Array, at: int, width: int, soft: float, line: int) -> None:
    """The lines f[at:at+width] with mean 0 and deviation 1 in every lane, in their place.  line: 2 lines of room."""
    moments(f, at, width, soft, line)
    for d in range(at, at + width):
        for lane in range(LANES):
            f[d, lane] = (f[d, lane] - f[line, lane]) * f[line + 1, lane]


@compiled
def filled(values: Array, f: Array, at: int) -> None:
    """Lines from f[at] on, of one of these numbers each."""
    for d in range(len(values)):
        for lane in range(LANES):
            f[at + d, lane] = values[d]


@compiled
def spread(rows_Rd: Array, row: Array, same: bool, numbers: int, f: Array, at: int) -> None:
    """Lines f[at:at+numbers] of these rows, a lane each.  same: all lanes have the same row."""
    if same:
        filled(rows_Rd[row[0], :numbers], f, at)
        return
    for lane in range(LANES):
        for d in range(numbers):
            f[at + d, lane] = rows_Rd[row[lane], d]


@compiled
def taken(f: Array, at: int, numbers: int, lanes: int, out_Rd: Array, row: int, place: int) -> None:
    """The numbers of so many lanes out of lines, as rows out[row:row+lanes, place:place+numbers]."""
    for d in range(numbers):
        for lane in range(lanes):
            out_Rd[row + lane, place + d] = f[at + d, lane]


@compiled
def packed(f: Array, at: int, pairs: int, p: Array, p_at: int) -> None:
    """Pair lines of lines."""
    for d in range(pairs):
        for lane in range(LANES):
            p[p_at + d, lane] = pair(f[at + 2 * d, lane], f[at + 2 * d + 1, lane])
