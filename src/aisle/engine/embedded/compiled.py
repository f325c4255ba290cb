"""How loops are compiled.  Imports numba, so nothing imports this file before an index that needs it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from aisle.core.lists import Array

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` compiled on its first call, kept on disk where the package or the user's cache can be written to.

    numba looks at NUMBA_CACHE_DIR first, then beside this file, then into the user's cache; where it finds no place the
    loops are compiled once a process.
    """
    return _compiled(function)


def summing(function: F) -> F:
    """As ``compiled``, and sums may be added up in another order: as many at a time as the processor can.

    The order is the same in every call, so that a row's score does not depend on what stands beside it.
    """
    return _compiled(function, fastmath={"reassoc", "contract", "nsz"})


def _compiled(function: F, **options: Any) -> F:
    compiler: Any = njit(nogil=True, **options)
    caching: Any = njit(cache=True, nogil=True, **options)
    try:
        return cast(F, caching(function))
    except RuntimeError:  # no folder for the cache
        return cast(F, compiler(function))


def inlined(function: Callable[..., Any]) -> Any:
    """``function`` says which machine code a call stands for; the context is numba's to give."""
    return intrinsic(function)


@inlined
def float_of_bits(context: Any, bits: Any) -> Any:
    """uint32 read as float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


@inlined
def float_of_half(context: Any, bits: Any) -> Any:
    """uint16 read as float16 and widened to float32, sixteen at a time where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@inlined
def lowest_bit(context: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set of a uint64, which is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@inlined
def bit_count(context: Any, bits: Any) -> Any:
    """How many bits of a uint64 are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@inlined
def prefetch(context: Any, array: Any, at: Any) -> Any:
    """Ask the memory for what stands at ``array[at]`` (one-dimensional), without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        declare: Any = cgutils.get_or_insert_function
        call = declare(builder.module, function, "llvm.prefetch.p0")
        to_read, keep, data_cache = ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)
        builder.call(call, [builder.bitcast(builder.gep(data, [args[1]]), pointer), to_read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


def frozen(array: Array) -> Array:
    """The array as a plain contiguous one that cannot be written to: loops are compiled for that kind only."""
    out = np.ascontiguousarray(np.asarray(array)).view()
    out.flags.writeable = False
    return out


def rows_where(mask: Array, other: Array | None = None) -> Array:
    """int32: where a mask (bool[I], few of which hold) is true, and another one of as many rows too, in order; several times
    as fast as ``flatnonzero``."""
    mask = _aligned(mask)
    other = mask if other is None else _aligned(other)
    whole = len(mask) & ~7
    rows = np.empty(np.count_nonzero(mask) + 1, np.int32)
    used = _collect_rows(
        frozen(mask[:whole].view(np.uint64)), frozen(other[:whole].view(np.uint64)), frozen(mask), frozen(other), rows
    )
    return rows[:used]


def _aligned(mask: Array) -> Array:
    """The mask, in memory so that eight rows can be read as one number."""
    mask = np.ascontiguousarray(mask)
    return mask.copy() if mask.__array_interface__["data"][0] % 8 else mask


@compiled
def _collect_rows(mask_8: Array, other_8: Array, mask: Array, other: Array, out_N: Array) -> int:
    """Fill ``out_N``, which has one place more than is used; ``mask_8`` is the mask, eight rows in one number."""
    used: Any = 0
    for at in range(len(mask_8)):
        if mask_8[at] & other_8[at]:
            for row in range(at << 3, (at + 1) << 3):
                # Written whether it counts or not: processors cannot foresee such a branch.
                out_N[used] = row
                used += np.int64(mask[row] and other[row])
    for row in range(len(mask_8) << 3, len(mask)):
        out_N[used] = row
        used += np.int64(mask[row] and other[row])
    return int(used)
