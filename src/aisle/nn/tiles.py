"""Products of matrices in tiles whose sums stay in the processor's registers: of float32, or of pairs of bfloat16.

One loop makes all three products of a layer, because it reads its first factor by two distances: rows times weights, gradients
times weights, and gradients times rows, summed over the rows.  Sums are float32, and may be added up in another order than torch's.

Imports numba; nothing imports this file before a network learns.

Legend: arrays are flat, ``at`` is a place in one.  *Numbers* are float32 or, as uint16, bfloat16; *words* are what a product
reads: float32, or in one uint32 two bfloat16 that follow each other along the summed axis, the earlier one below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from aisle.core.lists import Array
from aisle.nn.lane_machine import FLOAT, FLOATS, INT, INTS, LONG, WIDE, address, dot, fused, load, repeated, spread
from aisle.nn.lanes import compiled

ROWS, PARTS = 6, 4
"""Of a tile: ROWS * PARTS sums, PARTS vectors of one factor and a number of the other take 29 of 32 registers."""
NO_LEAST = np.finfo(np.float32).min
"""For products that are left as they are."""
SHORT = ir.IntType(16)
SHORTS = ir.VectorType(SHORT, WIDE)
NARROW = "vcvtneps2bf16 $1, $0"


@cache
def usable(in_bf16: bool) -> bool:
    """Whether this processor has the registers, and products of pairs where they are asked for."""
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512f", False) and (features.get("avx512bf16", False) or not in_bf16))


# -- numbers -----------------------------------------------------------------------------------------------------------


@intrinsic
def number(typing: Any, numbers: Any, at: Any) -> Any:
    """float32: numbers[at]"""
    is_short = numbers.dtype == types.uint16

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(address(context, builder, signature.args[0], *args))
        if is_short:
            value = builder.bitcast(builder.shl(builder.zext(value, INT), ir.Constant(INT, 16)), FLOAT)
        return value

    return types.float32(numbers, types.int64), generate


@intrinsic
def put(typing: Any, numbers: Any, at: Any, value: Any) -> Any:
    """numbers[at] = value, rounded to the nearest bfloat16 (of two the even one) where they are that."""
    is_short = numbers.dtype == types.uint16

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, at, value = args
        if is_short:
            bits, high = builder.bitcast(value, INT), ir.Constant(INT, 16)
            odd = builder.and_(builder.lshr(bits, high), ir.Constant(INT, 1))
            rounded = builder.add(builder.add(bits, ir.Constant(INT, 0x7FFF)), odd)
            value = builder.trunc(builder.lshr(rounded, high), SHORT)
        builder.store(value, address(context, builder, signature.args[0], numbers, at))
        return context.get_dummy_value()

    return types.void(numbers, types.int64, types.float32), generate


def _joining(with_high: bool) -> Callable[..., Any]:
    """Machine code for ``WIDE`` words: the numbers from ``low`` on, with those from ``high`` on as the later ones of pairs."""

    @intrinsic
    def joined(typing: Any, numbers: Any, low: Any, high: Any, words: Any, at: Any) -> Any:
        is_short = numbers.dtype == types.uint16

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            numbers, low, high, words, at = args

            def line(start: Any) -> Any:
                where = address(context, builder, signature.args[0], numbers, start)
                value = builder.load(builder.bitcast(where, ir.PointerType(SHORTS if is_short else FLOATS)))
                value.align = 2 if is_short else 4
                return builder.zext(value, INTS) if is_short else value

            value = line(low)
            if is_short and with_high:
                value = builder.or_(value, builder.shl(line(high), ir.Constant(INTS, [16] * WIDE)))
            out = address(context, builder, signature.args[3], words, at)
            builder.store(value, builder.bitcast(out, ir.PointerType(value.type))).align = 4
            return context.get_dummy_value()

        n = types.int64
        return types.void(numbers, n, n, words, n), generate

    return joined


joined, alone = _joining(True), _joining(False)


@compiled
def summed_over_rows(numbers: Array, at: int, width: int, rows: int, per: int, words: Array) -> None:
    """Words of ``rows`` rows of numbers, ``width`` a multiple of WIDE, as a product reads them that sums over rows: of bfloat16
    (``per`` is 2) two rows become one of pairs."""
    for r in range(rows // per):
        low, out = at + per * r * width, r * width
        for n in range(0, width, WIDE):
            joined(numbers, low + n, low + width + n, words, out + n)
    if rows % per:
        low, out = at + (rows - 1) * width, (rows // per) * width
        for n in range(0, width, WIDE):
            alone(numbers, low + n, low + n, words, out + n)


# -- products ----------------------------------------------------------------------------------------------------------


def _tile_of(rows: int, parts: int) -> Callable[..., Any]:
    """Machine code for ``multiply`` with so many rows and ``WIDE * parts`` columns: numba keeps no sums in registers around a loop,
    this does."""

    @intrinsic
    def tile(
        typing: Any, a: Any, a_at: Any, a_row: Any, a_step: Any, b: Any, b_at: Any, b_step: Any, count: Any,
        s: Any, s_at: Any, s_row: Any, c: Any, c_at: Any, c_row: Any, least: Any,
    ) -> Any:  # fmt: skip
        kind, multiplied = (INTS, dot) if a.dtype == types.uint32 else (FLOATS, fused)
        to_bf16 = c.dtype == types.uint16

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, a_at, a_row, a_step, b, b_at, b_step, count, s, s_at, s_row, c, c_at, c_row, least = args
            of_a, of_b, of_s, of_c = (signature.args[n] for n in (0, 4, 8, 11))

            def long(n: int) -> Any:
                return ir.Constant(LONG, n)

            def row_of(kind: Any, array: Any, at: Any, row: Any, r: int) -> Any:
                return address(context, builder, kind, array, builder.add(at, builder.mul(row, long(r))))

            def part(pointer: Any, p: int) -> Any:
                return builder.gep(pointer, [long(p * WIDE)])

            left = [row_of(of_a, a, a_at, a_row, r) for r in range(rows)]
            right = address(context, builder, of_b, b, b_at)
            starts = [row_of(of_s, s, s_at, s_row, r) for r in range(rows)]
            first = [[load(builder, part(starts[r], p), FLOATS) for p in range(parts)] for r in range(rows)]

            def step(k: Any, total: list[list[Any]]) -> list[list[Any]]:
                line = builder.gep(right, [builder.mul(k, b_step)])
                wide, made = [load(builder, part(line, p), kind) for p in range(parts)], []
                for r in range(rows):
                    one = spread(builder, builder.load(builder.gep(left[r], [builder.mul(k, a_step)])), kind)
                    made.append([multiplied(builder, total[r][p], one, wide[p]) for p in range(parts)])
                return made

            floor = spread(builder, least, FLOATS)
            for r, sums in enumerate(repeated(builder, count, first, step)):
                target = row_of(of_c, c, c_at, c_row, r)
                for p, value in enumerate(sums):
                    held = builder.select(builder.fcmp_ordered("<", value, floor), floor, value)
                    if to_bf16:
                        narrow = ir.InlineAsm(ir.FunctionType(SHORTS, [FLOATS]), NARROW, "=v,v", side_effect=False)
                        held = builder.call(narrow, [held])
                    out = builder.bitcast(part(target, p), ir.PointerType(held.type))
                    builder.store(held, out).align = 2 if to_bf16 else 4
            return context.get_dummy_value()

        n = types.int64
        return types.void(a, n, n, n, b, n, n, n, s, n, n, c, n, n, types.float32), generate

    return tile


tile6x4, tile6x2, tile6x1 = _tile_of(ROWS, PARTS), _tile_of(ROWS, 2), _tile_of(ROWS, 1)
tile1x4, tile1x2, tile1x1 = _tile_of(1, PARTS), _tile_of(1, 2), _tile_of(1, 1)


@compiled
def multiply(
    a: Array, a_at: int, a_row: int, a_step: int, b: Array, b_at: int, b_step: int, count: int,
    s: Array, s_at: int, s_row: int, c: Array, c_at: int, c_row: int, least: float, rows: int, columns: int,
) -> None:  # fmt: skip
    """For r below ``rows`` and n below ``columns``, a multiple of WIDE:

        c[c_at + r * c_row + n] = s[s_at + r * s_row + n]
                                  + sum over k of a[a_at + r * a_row + k * a_step] * b[b_at + k * b_step + n]

    ``least`` where that is less.  k stays below ``count``, which is at least 1; a and b are words, s float32, c numbers.
    """
    n = 0
    while n < columns:
        parts = PARTS if columns - n >= WIDE * PARTS else 2 if columns - n >= WIDE * 2 else 1
        r = 0
        while r < rows:
            whole = rows - r >= ROWS
            x, y, start, z = a_at + r * a_row, b_at + n, s_at + r * s_row + n, c_at + r * c_row + n
            if parts == PARTS and whole:
                tile6x4(a, x, a_row, a_step, b, y, b_step, count, s, start, s_row, c, z, c_row, least)
            elif parts == PARTS:
                tile1x4(a, x, a_row, a_step, b, y, b_step, count, s, start, s_row, c, z, c_row, least)
            elif parts == 2 and whole:
                tile6x2(a, x, a_row, a_step, b, y, b_step, count, s, start, s_row, c, z, c_row, least)
            elif parts == 2:
                tile1x2(a, x, a_row, a_step, b, y, b_step, count, s, start, s_row, c, z, c_row, least)
            elif whole:
                tile6x1(a, x, a_row, a_step, b, y, b_step, count, s, start, s_row, c, z, c_row, least)
            else:
                tile1x1(a, x, a_row, a_step, b, y, b_step, count, s, start, s_row, c, z, c_row, least)
            r += ROWS if whole else 1
        n += WIDE * parts
