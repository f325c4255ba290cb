"""Arithmetic over columns, written as text: ``"ctr * price_cents ** 0.5"``.  Parsed and checked, never evaluated as code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "log": np.log,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "where": np.where,
    "nan_to": lambda column, value: np.where(np.isnan(column), value, column),
}
LARGEST = float(np.finfo(np.float32).max)
_ARGUMENTS = {"minimum": 2, "maximum": 2, "where": 3, "nan_to": 2}
"""How many arguments a function takes, where it is not one."""


@lru_cache(maxsize=256)
def parse(text: str) -> ast.expr:
    """The checked tree of an expression.  Raises SettingError for anything but numbers, columns, + - * / ** and functions."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise SettingError(
            f"{text!r} is not an expression; write arithmetic over columns, such as 'ctr * relevance'"
        ) from None
    for node in ast.walk(tree):
        _check(node, text)
    return tree


def _check(node: ast.AST, text: str) -> None:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise SettingError(f"{text!r} calls something unknown; there are {', '.join(sorted(_FUNCTIONS))}")
        wanted = _ARGUMENTS.get(node.func.id, 1)
        if len(node.args) != wanted:
            raise SettingError(f"{text!r} gives {node.func.id} {len(node.args)} arguments; it takes {wanted}")
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise SettingError(f"{text!r} holds {node.value!r}; only numbers and column names are allowed")
        if abs(node.value) > LARGEST:
            raise SettingError(f"{text[:80]!r} holds a number beyond 3.4e38, the largest that a column can hold")
    elif not isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, ast.USub, *_BINARY)):
        raise SettingError(
            f"{text!r} holds {type(node).__name__}; only numbers, columns, + - * / ** and functions are allowed"
        )


@lru_cache(maxsize=256)
def columns_of(text: str) -> frozenset[str]:
    """Names of the columns an expression reads."""
    return frozenset(n.id for n in ast.walk(parse(text)) if isinstance(n, ast.Name)) - set(_FUNCTIONS)


def evaluate(text: str, columns: Mapping[str, Array], num_rows: int) -> Array:
    """float32[N] value of the expression; log(0) is -inf and 0 / 0 is NaN, without a warning.

    Raises UnknownName (from ``columns``) for a column that is not there.
    """
    with np.errstate(all="ignore"):
        value = _value(parse(text), columns)
    return np.broadcast_to(np.asarray(value, np.float32), (num_rows,))


def _value(node: ast.expr, columns: Mapping[str, Array]) -> Any:
    if isinstance(node, ast.Constant):
        return np.float32(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return columns[node.id].astype(np.float32)
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, columns)
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, columns), _value(node.right, columns))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _FUNCTIONS[node.func.id](*(_value(a, columns) for a in node.args))
    raise SettingError(f"an expression cannot hold {type(node).__name__}")
