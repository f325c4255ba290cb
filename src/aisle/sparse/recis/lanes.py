"""Eight and sixteen float32 at once: the vector instructions that compiled loops are made of, and prefetching.

Left to itself the compiler guards each short inner loop against overlapping arrays and then runs it number by number: the
copy of 16 numbers took 50 ns instead of 8.  These functions load, compute and store without such a guard, so an array
must not overlap another one that the same loop writes.  A width known when compiling takes half the time again, so rows of
16 numbers have a way of their own through ``copy_row`` and ``add_row``.

Legend: places count float32 from the start of an array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

LANES = 8
WIDE = 16
"""One cache line."""

FLOAT = ir.FloatType()
INT = ir.IntType(32)
SHORT = ir.IntType(16)
VECTOR = ir.VectorType(FLOAT, LANES)
POINTER = ir.PointerType(ir.IntType(8))
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` compiled on its first call, without the interpreter's lock, and kept on disk where there is a place for it.

    numba looks at NUMBA_CACHE_DIR first, then beside this file, then into the user's cache.
    """
    compiler: Any = njit(nogil=True, error_model="numpy")
    caching: Any = njit(nogil=True, error_model="numpy", cache=True)
    try:
        return cast(F, caching(function))
    except RuntimeError:  # no folder for the cache
        return cast(F, compiler(function))


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    """The address of array[place]."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [place])


def _is_bf16(kind: Any) -> bool:
    """Whether an array holds bfloat16 (as uint16) and not float32.  Other numbers would be read as these, bit by bit.  Raises
    TypingError, when the loop is compiled, for those."""
    if kind.dtype not in (types.float32, types.uint16):
        raise TypingError(f"a loop over lanes was given an array of {kind.dtype}; it takes float32")
    return bool(kind.dtype == types.uint16)


def _load(context: Any, builder: Any, kind: Any, array: Any, place: Any, lanes: int = LANES) -> Any:
    """float32 numbers from float32 or bfloat16."""
    is_bf16, vector, words = _is_bf16(kind), ir.VectorType(FLOAT, lanes), ir.VectorType(INT, lanes)
    held = ir.VectorType(SHORT, lanes) if is_bf16 else vector
    value = builder.load(builder.bitcast(_pointer(context, builder, kind, array, place), ir.PointerType(held)))
    value.align = 2 if is_bf16 else 4
    if is_bf16:
        high = builder.shl(builder.zext(value, words), ir.Constant(words, [16] * lanes))
        value = builder.bitcast(high, vector)
    return value


def _store(context: Any, builder: Any, value: Any, kind: Any, array: Any, place: Any) -> None:
    """float32 numbers to float32, or to the nearest bfloat16 (of two the even one)."""
    is_bf16, lanes = _is_bf16(kind), value.type.count
    if is_bf16:
        words = ir.VectorType(INT, lanes)
        bits = builder.bitcast(value, words)
        sixteen, one, half = (ir.Constant(words, [n] * lanes) for n in (16, 1, 0x7FFF))
        odd = builder.and_(builder.lshr(bits, sixteen), one)
        rounded = builder.lshr(builder.add(builder.add(bits, half), odd), sixteen)
        value = builder.trunc(rounded, ir.VectorType(SHORT, lanes))
    pointer = builder.bitcast(_pointer(context, builder, kind, array, place), ir.PointerType(value.type))
    builder.store(value, pointer).align = 2 if is_bf16 else 4


def _all(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """A vector of one number."""
    undefined = ir.Constant(ir.VectorType(FLOAT, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def _sqrt(builder: Any, value: Any) -> Any:
    function = ir.FunctionType(VECTOR, [VECTOR])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.sqrt.v{LANES}f32"), [value])


@intrinsic
def prefetch(typing: Any, array: Any, place: Any) -> Any:
    """Ask for the memory at ``array[place]`` without waiting."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.bitcast(_pointer(context, builder, signature.args[0], args[0], args[1]), POINTER)
        function = ir.FunctionType(ir.VoidType(), [POINTER, INT, INT, INT])
        call = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        builder.call(call, [pointer, ir.Constant(INT, 0), ir.Constant(INT, 3), ir.Constant(INT, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def number_at(typing: Any, address: Any, n: Any) -> Any:
    """int64 number n of those that begin at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        value = builder.load(builder.gep(first, [args[1]]))
        value.align = 1
        return value

    return types.int64(types.int64, types.int64), generate


def _copies(lanes: int) -> Any:
    """The function (source, i, target, j): target[j:j+lanes] = source[i:i+lanes]."""

    @intrinsic
    def copy(typing: Any, source: Any, i: Any, target: Any, j: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = _load(context, builder, signature.args[0], args[0], args[1], lanes)
            _store(context, builder, value, signature.args[2], args[2], args[3])
            return context.get_dummy_value()

        return types.void(source, types.int64, target, types.int64), generate

    return copy


def _adds(lanes: int) -> Any:
    """The function (factor, source, i, target, j): target[j:j+lanes] += factor * source[i:i+lanes]."""

    @intrinsic
    def add(typing: Any, factor: Any, source: Any, i: Any, target: Any, j: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, source, _, target, _ = signature.args
            loaded = _load(context, builder, source, args[1], args[2], lanes)
            value = builder.fmul(_all(builder, args[0], lanes), loaded)
            total = builder.fadd(_load(context, builder, target, args[3], args[4], lanes), value)
            _store(context, builder, total, target, args[3], args[4])
            return context.get_dummy_value()

        return types.void(types.float32, source, types.int64, target, types.int64), generate

    return add


copy1, copy8, copy16 = _copies(1), _copies(LANES), _copies(WIDE)
add1, add8, add16 = _adds(1), _adds(LANES), _adds(WIDE)


@njit(inline="always")
def copy_row(source: Any, i: Any, target: Any, j: Any, dim: Any) -> None:
    """target[j:j+D] = source[i:i+D], each float32 or, as uint16, bfloat16"""
    if dim == WIDE:
        copy16(source, i, target, j)
    else:
        whole = dim - dim % LANES
        for d in range(0, whole, LANES):
            copy8(source, i + d, target, j + d)
        for d in range(whole, dim):
            copy1(source, i + d, target, j + d)


@njit(inline="always")
def add_row(factor: Any, source: Any, i: Any, target: Any, j: Any, dim: Any) -> None:
    """target[j:j+D] += factor * source[i:i+D]"""
    if dim == WIDE:
        add16(factor, source, i, target, j)
    else:
        whole = dim - dim % LANES
        for d in range(0, whole, LANES):
            add8(factor, source, i + d, target, j + d)
        for d in range(whole, dim):
            add1(factor, source, i + d, target, j + d)


@njit(inline="always")
def ask(data: Any, row: Any, record: Any) -> None:
    """Ask for the record of a row, every line of it: ``data[row * record]`` and R words from there (0: nothing)."""
    first = row * record
    for at in range(first, first + record, WIDE):
        prefetch(data, at)
    if record % WIDE > 0:
        prefetch(data, first + record - 1)


@intrinsic
def squares8(typing: Any, source: Any, i: Any) -> Any:
    """float32: the sum of source[i:i+8] ** 2"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _load(context, builder, signature.args[0], args[0], args[1])
        function = ir.FunctionType(FLOAT, [FLOAT, VECTOR])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        call = cgutils.get_or_insert_function(builder.module, function, name)
        return builder.call(call, [ir.Constant(FLOAT, 0.0), builder.fmul(value, value)], fastmath=("reassoc",))

    return types.float32(source, types.int64), generate


@intrinsic
def adam8(typing: Any, weight: Any, w: Any, data: Any, m: Any, v: Any, grad: Any, g: Any, scale: Any, rule: Any) -> Any:
    """Adam on weight[w:w+8] with moments data[m:m+8] and data[v:v+8] and the gradient scale * grad[g:g+8].

    ``rule`` is (keep, beta1, beta2, step, eps): w = keep * w - step * m / (sqrt(v) + eps).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight, w, data, m, v, grad, g, scale, rule = args
        own, kind = signature.args[0], signature.args[2]
        keep, beta1, beta2, step, eps = (_all(builder, builder.extract_value(rule, n)) for n in range(5))
        one = ir.Constant(VECTOR, [1.0] * LANES)
        gradient = builder.fmul(_all(builder, scale), _load(context, builder, signature.args[5], grad, g))
        first = builder.fadd(
            builder.fmul(beta1, _load(context, builder, kind, data, m)),
            builder.fmul(builder.fsub(one, beta1), gradient),
        )
        second = builder.fadd(
            builder.fmul(beta2, _load(context, builder, kind, data, v)),
            builder.fmul(builder.fsub(one, beta2), builder.fmul(gradient, gradient)),
        )
        change = builder.fdiv(builder.fmul(step, first), builder.fadd(_sqrt(builder, second), eps))
        value = builder.fsub(builder.fmul(keep, _load(context, builder, own, weight, w)), change)
        _store(context, builder, first, kind, data, m)
        _store(context, builder, second, kind, data, v)
        _store(context, builder, value, own, weight, w)
        return context.get_dummy_value()

    number = types.int64
    return types.void(weight, number, data, number, number, grad, number, types.float32, rule), generate


@intrinsic
def adagrad8(typing: Any, weight: Any, w: Any, data: Any, s: Any, grad: Any, g: Any, scale: Any, rule: Any) -> Any:
    """Adagrad, number by number, on weight[w:w+8] with sums at data[s:s+8]; ``rule`` is (keep, lr, eps)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight, w, data, s, grad, g, scale, rule = args
        own, kind = signature.args[0], signature.args[2]
        keep, lr, eps = (_all(builder, builder.extract_value(rule, n)) for n in range(3))
        gradient = builder.fmul(_all(builder, scale), _load(context, builder, signature.args[4], grad, g))
        total = builder.fadd(_load(context, builder, kind, data, s), builder.fmul(gradient, gradient))
        change = builder.fdiv(builder.fmul(lr, gradient), builder.fadd(_sqrt(builder, total), eps))
        value = builder.fsub(builder.fmul(keep, _load(context, builder, own, weight, w)), change)
        _store(context, builder, total, kind, data, s)
        _store(context, builder, value, own, weight, w)
        return context.get_dummy_value()

    number = types.int64
    return types.void(weight, number, data, number, grad, number, types.float32, rule), generate
