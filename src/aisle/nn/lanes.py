"""64 rows side by side: products in bf16 and what stands between them, for networks that score many candidates at once.

A row (a candidate) is a lane: every number of 64 candidates is one line of 64 float32, so norms, activations and attention are
plain loops over lines, without a sum across a register.  Operands of products are *pairs*: two bf16 numbers that follow each other
along the summed axis, in one uint32, as the processor's dot product takes them (AVX-512 BF16: ``usable()``).

Imports numba; nothing imports this file before a network is served.

Legend: a line is LANES numbers, row ``[n]`` of an array [lines, LANES]; loops run along a line with its number outside, so that the
compiler sees neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.extending import intrinsic

from aisle.core.lists import Array

LANES = 64
TILE = 4
"""Lines of a result that are made together: TILE * LANES / 16 registers hold their sums."""

WIDE = 16
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS = ir.VectorType(FLOAT, WIDE), ir.VectorType(INT, WIDE)
DOT = "vdpbf16ps $3, $2, $0"
F = TypeVar("F", bound=Callable[..., Any])

binding.initialize_native_asmparser()


def usable() -> bool:
    """Whether this processor multiplies pairs of bf16."""
    return bool(binding.get_host_cpu_features().get("avx512bf16", False))


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
    """uint32[T * M * K / 2] of float32[..., M, K]: what ``product`` reads one after the other.

    TILE rows at a time, pair by pair: neighbours along K as two bf16 numbers, rounded to nearest, the earlier one below.  M must
    be a multiple of TILE, K of 2.
    """
    bits = np.ascontiguousarray(weight_TMK, np.float32).view(np.uint32)
    short = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    pairs = short[..., 0::2] | (short[..., 1::2] << np.uint32(16))
    return pairs.reshape(-1, TILE, pairs.shape[-1]).transpose(0, 2, 1).ravel()


# -- machine code ------------------------------------------------------------------------------------------------------


@intrinsic
def bits_of_float(typing: Any, value: Any) -> Any:
    """float32 read as uint32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], INT)

    return types.uint32(types.float32), generate


@intrinsic
def float_of_bits(typing: Any, value: Any) -> Any:
    """uint32 read as float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], FLOAT)

    return types.float32(types.uint32), generate


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [place])


def _line(context: Any, builder: Any, kind: Any, array: Any, n: Any) -> Any:
    return _pointer(context, builder, kind, array, builder.mul(n, ir.Constant(LONG, LANES)))


def _load(builder: Any, pointer: Any, kind: Any) -> Any:
    value = builder.load(builder.bitcast(pointer, ir.PointerType(kind)))
    value.align = 4
    return value


def _spread(builder: Any, scalar: Any, kind: Any) -> Any:
    """A vector of one number."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(INTS, [0] * WIDE))


@intrinsic
def product(typing: Any, w: Any, w_at: Any, b: Any, b_at: Any, x: Any, x_at: Any, pairs: Any, c: Any, c_at: Any) -> Any:
    """TILE lines c[c_at:] = bias b[b_at:b_at+TILE] + TILE rows of tiles w[w_at:] times the pair lines x[x_at:x_at+pairs]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        w, w_at, b, b_at, x, x_at, pairs, c, c_at = args
        kind = dict(zip("wbxc", (signature.args[n] for n in (0, 2, 4, 7)), strict=True))
        parts = LANES // WIDE

        def number(n: int) -> Any:
            return ir.Constant(LONG, n)

        weights = _pointer(context, builder, kind["w"], w, w_at)
        lines = _line(context, builder, kind["x"], x, x_at)
        bias = _pointer(context, builder, kind["b"], b, b_at)
        start = [_spread(builder, builder.load(builder.gep(bias, [number(n)])), FLOATS) for n in range(TILE)]
        before, loop, after = builder.block, builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(LONG)
        k.add_incoming(number(0), before)
        total = [[builder.phi(FLOATS) for _ in range(parts)] for _ in range(TILE)]
        for n in range(TILE):
            for p in range(parts):
                total[n][p].add_incoming(start[n], before)
        at = builder.mul(k, number(LANES))
        line = [_load(builder, builder.gep(lines, [builder.add(at, number(p * WIDE))]), INTS) for p in range(parts)]
        dot = ir.InlineAsm(ir.FunctionType(FLOATS, [FLOATS, INTS, INTS]), DOT, "=v,0,v,v", side_effect=False)
        for n in range(TILE):
            place = builder.add(builder.mul(k, number(TILE)), number(n))
            weight = _spread(builder, builder.load(builder.gep(weights, [place])), INTS)
            for p in range(parts):
                sum_ = builder.call(dot, [total[n][p], weight, line[p]])
                total[n][p].add_incoming(sum_, loop)
                total[n][p].made = sum_
        following = builder.add(k, number(1))
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, pairs), loop, after)
        builder.position_at_end(after)
        out = _line(context, builder, kind["c"], c, c_at)
        for n in range(TILE):
            for p in range(parts):
                target = builder.gep(out, [number(n * LANES + p * WIDE)])
                builder.store(total[n][p].made, builder.bitcast(target, ir.PointerType(FLOATS))).align = 4
        return context.get_dummy_value()

    n = types.int64
    return types.void(w, n, b, n, x, n, n, c, n), generate


@intrinsic
def summed(
    typing: Any, a: Any, a_at: Any, a_step: Any, b: Any, b_at: Any, b_step: Any, count: Any, c: Any, c_at: Any
) -> Any:
    """The line c[c_at] = sum over i < count of a[a_at + i * a_step] * b[b_at + i * b_step]; ``count`` is at least 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, a_at, a_step, b, b_at, b_step, count, c, c_at = args
        kind = dict(zip("abc", (signature.args[n] for n in (0, 3, 7)), strict=True))
        parts = LANES // WIDE

        def number(n: int) -> Any:
            return ir.Constant(LONG, n)

        before, loop, after = builder.block, builder.append_basic_block("sum"), builder.append_basic_block("sum.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(LONG)
        i.add_incoming(number(0), before)
        total = [builder.phi(FLOATS) for _ in range(parts)]
        first = _line(context, builder, kind["a"], a, builder.add(a_at, builder.mul(i, a_step)))
        second = _line(context, builder, kind["b"], b, builder.add(b_at, builder.mul(i, b_step)))
        made = []
        for p in range(parts):
            x, y = (_load(builder, builder.gep(q, [number(p * WIDE)]), FLOATS) for q in (first, second))
            made.append(builder.fadd(total[p], builder.fmul(x, y, flags=("contract",)), flags=("contract",)))
            total[p].add_incoming(ir.Constant(FLOATS, [0.0] * WIDE), before)
            total[p].add_incoming(made[p], loop)
        following = builder.add(i, number(1))
        i.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        out = _line(context, builder, kind["c"], c, c_at)
        for p in range(parts):
            target = builder.bitcast(builder.gep(out, [number(p * WIDE)]), ir.PointerType(FLOATS))
            builder.store(made[p], target).align = 4
        return context.get_dummy_value()

    n = types.int64
    return types.void(a, n, n, b, n, n, n, c, n), generate


# -- lines -------------------------------------------------------------------------------------------------------------

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
def normed(x: Array, at: int, width: int, mean: Array, out: Array, out_at: int) -> None:
    """Pair lines of ``width`` lines with mean 0 and deviation 1 in every lane.  ``mean``: 2 lines of room."""
    for lane in range(LANES):
        mean[0, lane] = np.float32(0)
        mean[1, lane] = np.float32(0)
    for d in range(at, at + width):
        for lane in range(LANES):
            mean[0, lane] += x[d, lane]
            mean[1, lane] += x[d, lane] * x[d, lane]
    for lane in range(LANES):
        mean[0, lane] *= np.float32(1.0 / width)
        variance = max(mean[1, lane] * np.float32(1.0 / width) - mean[0, lane] * mean[0, lane], np.float32(0))
        mean[1, lane] = np.float32(1) / np.sqrt(variance + np.float32(1e-5))
    for d in range(width // 2):
        for lane in range(LANES):
            low = (x[at + 2 * d, lane] - mean[0, lane]) * mean[1, lane]
            high = (x[at + 2 * d + 1, lane] - mean[0, lane]) * mean[1, lane]
            out[out_at + d, lane] = pair(low, high)
