"""What lanes ask of the processor directly: sums of products kept in its registers, bf16 dot products, numbers read as bits.

numba compiles loops over lines well, but keeps no sum in a register over a loop around them; these intrinsics do.

Imports numba; nothing imports this file before a network is served.

Legend: a line is LANES numbers, row ``[n]`` of an array [lines, LANES]; a pair is two bf16 numbers in one uint32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

LANES = 64
TILE = 4
"""Lines of a result that are made together: TILE * LANES / 16 registers hold their sums."""

WIDE = 16
PARTS = LANES // WIDE
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS = ir.VectorType(FLOAT, WIDE), ir.VectorType(INT, WIDE)
DOT = "vdpbf16ps $3, $2, $0"

Builder = Any
Value = Any
"""llvmlite's, which has no types."""

binding.initialize_native_asmparser()


def usable() -> bool:
    """Whether this processor multiplies pairs of bf16."""
    return bool(binding.get_host_cpu_features().get("avx512bf16", False))


# -- numbers -----------------------------------------------------------------------------------------------------------


@intrinsic
def bits_of_float(typing: Any, value: Any) -> Any:
    """float32 read as uint32."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return builder.bitcast(args[0], INT)

    return types.uint32(types.float32), generate


@intrinsic
def float_of_bits(typing: Any, value: Any) -> Any:
    """uint32 read as float32."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return builder.bitcast(args[0], FLOAT)

    return types.float32(types.uint32), generate


@intrinsic
def claimed(typing: Any, count: Any, step: Any) -> Any:
    """count[0] before it grew by ``step``, int64: of several threads, each gets another."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        place = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", place, args[1], "monotonic")

    return types.int64(count, types.int64), generate


# -- lines -------------------------------------------------------------------------------------------------------------


@intrinsic
def product(typing: Any, w: Any, w_at: Any, b: Any, b_at: Any, x: Any, x_at: Any, pairs: Any, c: Any, c_at: Any) -> Any:
    """TILE lines c[c_at:] = bias b[b_at:b_at+TILE] + TILE rows of tiles w[w_at:] times the pair lines x[x_at:x_at+pairs]."""
    return _product(INTS, dot, (w, b, x, c))


@intrinsic
def product_more(
    typing: Any, w: Any, w_at: Any, b: Any, b_at: Any, x: Any, x_at: Any, pairs: Any, c: Any, c_at: Any
) -> Any:
    """c[c_at:] += what ``product`` would write there."""
    return _product(INTS, dot, (w, b, x, c), more=True)


@intrinsic
def product32(
    typing: Any, w: Any, w_at: Any, b: Any, b_at: Any, x: Any, x_at: Any, count: Any, c: Any, c_at: Any
) -> Any:
    """As ``product``, of float32 weights and lines, without pairs."""
    return _product(FLOATS, fused, (w, b, x, c))


def _product(
    kind: Any, multiplied: Callable[..., Value], arrays: tuple[Any, ...], *, more: bool = False
) -> tuple[Any, Callable[..., Value]]:
    w, b, x, c = arrays

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        w, w_at, b, b_at, x, x_at, count, c, c_at = args
        of_w, of_b, of_x, of_c = (signature.args[n] for n in (0, 2, 4, 7))
        weights = address(context, builder, of_w, w, w_at)
        lines = _line(context, builder, of_x, x, x_at)
        bias = address(context, builder, of_b, b, b_at)
        out = _line(context, builder, of_c, c, c_at)
        start = [[spread(builder, builder.load(builder.gep(bias, [_long(n)])), FLOATS)] * PARTS for n in range(TILE)]
        if more:
            start = [
                [builder.fadd(value, load(builder, _part(builder, out, n, p), FLOATS)) for p, value in enumerate(row)]
                for n, row in enumerate(start)
            ]

        def step(k: Value, total: list[list[Value]]) -> list[list[Value]]:
            at = builder.mul(k, _long(LANES))
            line = [load(builder, builder.gep(lines, [builder.add(at, _long(p * WIDE))]), kind) for p in range(PARTS)]
            made = []
            for n in range(TILE):
                place = builder.add(builder.mul(k, _long(TILE)), _long(n))
                weight = spread(builder, builder.load(builder.gep(weights, [place])), kind)
                made.append([multiplied(builder, total[n][p], weight, line[p]) for p in range(PARTS)])
            return made

        _store(builder, out, repeated(builder, count, start, step))
        return context.get_dummy_value()

    n = types.int64
    return types.void(w, n, b, n, x, n, n, c, n), generate


@intrinsic
def summed(
    typing: Any, a: Any, a_at: Any, a_step: Any, b: Any, b_at: Any, b_step: Any, b_next: Any, count: Any, c: Any,
    c_at: Any,
) -> Any:  # fmt: skip
    """The line c[c_at] = sum over i < count of a[a_at + i * a_step] * b[b_at + i * b_step]; ``count`` is at least 1."""
    return _summed(1, (a, b, c))


@intrinsic
def summed_tile(
    typing: Any, a: Any, a_at: Any, a_step: Any, b: Any, b_at: Any, b_step: Any, b_next: Any, count: Any, c: Any,
    c_at: Any,
) -> Any:  # fmt: skip
    """TILE lines of ``summed``: c[c_at + n] is that of b_at + n * b_next."""
    return _summed(TILE, (a, b, c))


def _summed(many: int, arrays: tuple[Any, ...]) -> tuple[Any, Callable[..., Value]]:
    a, b, c = arrays

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        a, a_at, a_step, b, b_at, b_step, b_next, count, c, c_at = args
        of_a, of_b, of_c = (signature.args[n] for n in (0, 3, 8))

        def step(i: Value, total: list[list[Value]]) -> list[list[Value]]:
            own = _line(context, builder, of_a, a, builder.add(a_at, builder.mul(i, a_step)))
            x = [load(builder, builder.gep(own, [_long(p * WIDE)]), FLOATS) for p in range(PARTS)]
            made = []
            for n in range(many):
                at = builder.add(builder.add(b_at, builder.mul(_long(n), b_next)), builder.mul(i, b_step))
                other = _line(context, builder, of_b, b, at)
                y = [load(builder, builder.gep(other, [_long(p * WIDE)]), FLOATS) for p in range(PARTS)]
                made.append([fused(builder, total[n][p], x[p], y[p]) for p in range(PARTS)])
            return made

        nothing = ir.Constant(FLOATS, [0.0] * WIDE)
        made = repeated(builder, count, [[nothing] * PARTS for _ in range(many)], step)
        _store(builder, _line(context, builder, of_c, c, c_at), made)
        return context.get_dummy_value()

    n = types.int64
    return types.void(a, n, n, b, n, n, n, n, c, n), generate


# -- what they are made of ---------------------------------------------------------------------------------------------


def repeated(
    builder: Builder,
    count: Value,
    start: list[list[Value]],
    step: Callable[[Value, list[list[Value]]], list[list[Value]]],
) -> list[list[Value]]:
    """``count`` steps, at least one, over sums that stay in registers."""
    before, loop, after = builder.block, builder.append_basic_block("sums"), builder.append_basic_block("sums.end")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(LONG)
    k.add_incoming(_long(0), before)
    total = [[builder.phi(FLOATS) for _ in row] for row in start]
    made = step(k, total)
    for phis, first, sums in zip(total, start, made, strict=True):
        for phi, value, sum_ in zip(phis, first, sums, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(sum_, loop)
    following = builder.add(k, _long(1))
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    return made


def dot(builder: Builder, total: Value, weight: Value, line: Value) -> Value:
    kind = ir.FunctionType(FLOATS, [FLOATS, INTS, INTS])
    return builder.call(ir.InlineAsm(kind, DOT, "=v,0,v,v", side_effect=False), [total, weight, line])


def fused(builder: Builder, total: Value, x: Value, y: Value) -> Value:
    return builder.fadd(total, builder.fmul(x, y, flags=("contract",)), flags=("contract",))


def _long(n: int) -> Value:
    return ir.Constant(LONG, n)


def address(context: Any, builder: Builder, kind: Any, array: Any, place: Any) -> Value:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [place])


def _line(context: Any, builder: Builder, kind: Any, array: Any, n: Any) -> Value:
    return address(context, builder, kind, array, builder.mul(n, _long(LANES)))


def load(builder: Builder, pointer: Value, kind: Any) -> Value:
    value = builder.load(builder.bitcast(pointer, ir.PointerType(kind)))
    value.align = 4
    return value


def _store(builder: Builder, out: Value, lines: list[list[Value]]) -> None:
    """Neighbouring lines from ``out`` on."""
    for n, line in enumerate(lines):
        for p, value in enumerate(line):
            builder.store(value, builder.bitcast(_part(builder, out, n, p), ir.PointerType(FLOATS))).align = 4


def _part(builder: Builder, lines: Value, n: int, part: int) -> Value:
    return builder.gep(lines, [_long(n * LANES + part * WIDE)])


def spread(builder: Builder, scalar: Value, kind: Any) -> Value:
    """A vector of one number."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(INTS, [0] * WIDE))
