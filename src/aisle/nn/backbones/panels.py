"""Products of many rows with one weight, without leaving compiled loops.

A weight stands in *panels*: PANEL columns of it side by side, row after row, so that a product reads it in a line while a tile
of sums stays in registers (the innermost loop of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM
TOMS 2008).  float32; sums may be added up in another order than torch's.

Imports numba; nothing imports this file before a small model samples.

Legend: arrays are flat, ``at`` is a place in one, ``step`` the distance between two of its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from aisle.core.lists import Array
from aisle.nn.lanes import compiled

PANEL = 32
"""Columns that are computed together: two registers of AVX-512, four of AVX2."""

TILE = 8 if binding.get_host_cpu_features().get("avx512f", False) else 3
"""Rows that are computed together: as many as leave the sums of TILE x PANEL in registers."""

WIDE = 16
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS = ir.VectorType(FLOAT, WIDE), ir.VectorType(INT, WIDE)
FUSED = ("contract",)


def _tile_of(rows: int) -> Callable[..., Any]:
    """Machine code for ``rows`` rows of a product with one panel: numba keeps no array in registers around a loop, this does.

    tile(a, a_at, a_step, w, w_at, depth, c, c_at, c_step, add): c = a[rows, depth] w[depth, PANEL], added to what stands in c
    where ``add`` is 1; each array by its place, and by the distance between two of its rows.
    """

    @intrinsic
    def tile(
        typing: Any, a: Any, a_at: Any, a_step: Any, w: Any, w_at: Any, depth: Any, c: Any, c_at: Any, c_step: Any, add: Any
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, a_at, a_step, w, w_at, depth, c, c_at, c_step, add = args
            kinds = {name: signature.args[n] for name, n in (("a", 0), ("w", 3), ("c", 6))}

            def number(n: int) -> Any:
                return ir.Constant(LONG, n)

            def pointer(name: str, array: Any, place: Any) -> Any:
                return builder.gep(context.make_array(kinds[name])(context, builder, array).data, [place])

            def floats(base: Any, place: Any) -> Any:
                return builder.bitcast(builder.gep(base, [place]), ir.PointerType(FLOATS))

            def loaded(place: Any) -> Any:
                value = builder.load(place)
                value.align = 4
                return value

            parts = range(PANEL // WIDE)
            inputs, panel, out = pointer("a", a, a_at), pointer("w", w, w_at), pointer("c", c, c_at)
            row_of = [builder.gep(inputs, [builder.mul(a_step, number(i))]) for i in range(rows)]
            target = [
                [floats(out, builder.add(builder.mul(c_step, number(i)), number(p * WIDE))) for p in parts]
                for i in range(rows)
            ]
            nothing = ir.Constant(FLOATS, [0.0] * WIDE)
            adds = builder.icmp_signed("!=", add, number(0))
            start = [[builder.select(adds, loaded(target[i][p]), nothing) for p in parts] for i in range(rows)]
            before = builder.block
            loop, after = builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
            builder.cbranch(builder.icmp_signed(">", depth, number(0)), loop, after)
            builder.position_at_end(loop)
            k = builder.phi(LONG)
            k.add_incoming(number(0), before)
            total = [[builder.phi(FLOATS) for _ in parts] for _ in range(rows)]
            line = [loaded(floats(panel, builder.add(builder.mul(k, number(PANEL)), number(p * WIDE)))) for p in parts]
            sums = []
            for i in range(rows):
                first = builder.insert_element(
                    ir.Constant(FLOATS, ir.Undefined), builder.load(builder.gep(row_of[i], [k])), ir.Constant(INT, 0)
                )
                factor = builder.shuffle_vector(first, ir.Constant(FLOATS, ir.Undefined), ir.Constant(INTS, [0] * WIDE))
                products = [builder.fmul(factor, line[p], flags=FUSED) for p in parts]
                sums.append([builder.fadd(total[i][p], products[p], flags=FUSED) for p in parts])
                for p in parts:
                    total[i][p].add_incoming(start[i][p], before)
                    total[i][p].add_incoming(sums[i][p], loop)
            following = builder.add(k, number(1))
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
            builder.position_at_end(after)
            for i in range(rows):
                for p in parts:
                    end = builder.phi(FLOATS)
                    end.add_incoming(start[i][p], before)
                    end.add_incoming(sums[i][p], loop)
                    total[i][p] = end
            for i in range(rows):
                for p in parts:
                    builder.store(total[i][p], target[i][p]).align = 4
            return context.get_dummy_value()

        n = types.int64
        return types.void(a, n, n, w, n, n, c, n, n, n), generate

    return tile


tile_of_many, tile_of_one = _tile_of(TILE), _tile_of(1)


@compiled
def product(
    a: Array, a_at: int, a_step: int, rows: int, depth: int, w: Array, w_at: int, panels: int,
    c: Array, c_at: int, c_step: int, add: int,
) -> None:  # fmt: skip
    """c[rows, panels * PANEL] = a[rows, depth] times panels of w; added to what stands there where ``add`` is 1."""
    whole = rows - rows % TILE
    for j in range(panels):
        panel, column = w_at + j * depth * PANEL, c_at + j * PANEL
        for i in range(0, whole, TILE):
            tile_of_many(a, a_at + i * a_step, a_step, w, panel, depth, c, column + i * c_step, c_step, add)
        for i in range(whole, rows):
            tile_of_one(a, a_at + i * a_step, a_step, w, panel, depth, c, column + i * c_step, c_step, add)
