"""Optimisers of the tables: which numbers a row keeps, and the step over the touched rows.

Only rows with a gradient change.  ``lr`` may be replaced a step, as a schedule does.

Legend: U rows, D width of a vector.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from aisle.core.lists import Array
from aisle.core.method import Settings

LONGEST_BIAS = 20_000
"""Steps of a row after which its bias correction is left at its last value: (1 - .999 ** 20000) is 1 - 2e-9."""


class Adam(Settings):
    """Row-wise AdamW as sparse trainers apply it (arXiv:2509.20883).

        m = beta1 m + (1 - beta1) g             v = beta2 v + (1 - beta2) g^2
        w = (1 - lr decay) w - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)

    eps stands beside the uncorrected sqrt(v), so that torch's AdamW is met exactly with eps 0 or after many steps only.

    step   what t counts: ``global`` the steps of the table, as the original does, which lets an id that arrives late take
           too large first steps (3.2 lr at the first, 6.5 lr at the tenth); ``row`` the steps of the row itself
    decay  ``decay_by = "lr"``: factor 1 - lr decay; ``"one"``: factor 1 - decay, as the TensorFlow variant does
    """

    kind: Literal["adam"] = "adam"
    lr: float = Field(1e-3, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    decay: float = Field(0.0, ge=0, lt=1)
    decay_by: Literal["lr", "one"] = "lr"
    step: Literal["global", "row"] = "global"

    def slots(self, dim: int) -> dict[str, int]:
        """Slot -> numbers a row."""
        return {"m": dim, "v": dim} | ({"own_step": 1} if self.step == "row" else {})

    def bias(self, steps: int) -> float:
        """Factor of lr at step ``steps``, counted from 1."""
        return math.sqrt(1 - self.beta2**steps) / (1 - self.beta1**steps)

    def keep(self, lr: float) -> float:
        """Factor of the weight."""
        return 1 - (lr * self.decay if self.decay_by == "lr" else self.decay)

    def apply(self, rows: Any, row_U: Array, value: Array, scale: float, step: int, lr: float) -> None:
        from aisle.sparse.recis import optimiser_kernels as kernels

        f = np.float32
        places = np.array([rows.place["m"], rows.place["v"], rows.place.get("own_step", -1)])
        bias = _bias_of_rows(self.beta1, self.beta2) if self.step == "row" else np.array([self.bias(step)], f)
        rule = (f(self.keep(lr)), f(self.beta1), f(self.beta2), f(lr), f(self.eps))
        kernels.adam(row_U, value, f(scale), *rows.arrays, places, rule, bias, rows.words, step)


@lru_cache(8)
def _bias_of_rows(beta1: float, beta2: float) -> Array:
    """float32[LONGEST_BIAS + 1]: ``Adam.bias`` by the number of a row's steps."""
    t = np.arange(1, LONGEST_BIAS + 1, dtype=np.float64)
    bias = np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return np.concatenate([[0.0], bias]).astype(np.float32)


class Adagrad(Settings):
    """Adagrad with one sum a row, of the mean square over its numbers, or one sum a number.

    s = s + g^2                 w = (1 - lr decay) w - lr g / (sqrt(s) + eps)
    """

    kind: Literal["adagrad"] = "adagrad"
    lr: float = Field(1e-2, gt=0)
    eps: float = Field(1e-8, gt=0)
    decay: float = Field(0.0, ge=0, lt=1)
    sums: Literal["row", "number"] = "row"

    def slots(self, dim: int) -> dict[str, int]:
        return {"s": 1 if self.sums == "row" else dim}

    def keep(self, lr: float) -> float:
        return 1 - lr * self.decay

    def apply(self, rows: Any, row_U: Array, value: Array, scale: float, step: int, lr: float) -> None:
        from aisle.sparse.recis import optimiser_kernels as kernels

        f = np.float32
        rule = (f(self.keep(lr)), f(lr), f(self.eps))
        kernels.adagrad(row_U, value, f(scale), *rows.arrays, rows.place["s"], self.sums == "row", rule, step)


class Sgd(Settings):
    """w = (1 - lr decay) w - lr g"""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(1e-2, gt=0)
    decay: float = Field(0.0, ge=0, lt=1)

    def slots(self, dim: int) -> dict[str, int]:
        return {}

    def keep(self, lr: float) -> float:
        return 1 - lr * self.decay

    def apply(self, rows: Any, row_U: Array, value: Array, scale: float, step: int, lr: float) -> None:
        from aisle.sparse.recis import optimiser_kernels as kernels

        f = np.float32
        kernels.sgd(row_U, value, f(scale), *rows.arrays, (f(self.keep(lr)), f(lr)), step)


Optimiser = Annotated[Adam | Adagrad | Sgd, Field(discriminator="kind")]
