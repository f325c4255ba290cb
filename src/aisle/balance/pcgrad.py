"""PCGrad: where two tasks' gradients oppose each other, each loses its part against the other
(Yu et al., 2020, arXiv:2001.06782).

Legend: K tasks, P numbers in all shared tensors together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aisle.balance._step import Figures, Steps, total
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.method import Part

SALT = 0x9C6


class PCGrad(Part):
    """tasks: names of the losses."""

    tasks: tuple[str, ...] = ("click", "cart", "order")

    def model_post_init(self, context: Any) -> None:
        if not self.tasks:
            raise SettingError("PCGrad was given no tasks; name the losses that it joins")

    def build(self, env: Env) -> PCGradBalancer:
        return PCGradBalancer(self.tasks, env.seed)


class PCGradBalancer(Steps):
    """Surgery on what is shared; a head, which no other task touches, keeps the gradient of its own loss."""

    kept = ("seed", "num_steps")

    def __init__(self, tasks: Sequence[str], seed: int) -> None:
        self.tasks = tuple(tasks)
        self.seed = seed
        self.num_steps = 0

    def _backward(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> Figures:
        present = list(losses.values())
        random = np.random.default_rng((self.seed, SALT, self.num_steps))
        self.num_steps += 1
        shared = [x for x in shared if x.requires_grad]
        if not shared or len(present) == 1:
            total(present).backward()
            return {"conflicts": 0.0}
        grad_KP = per_task(present, shared)
        combined_P, conflicts = surgery(grad_KP, random)
        # The sum reaches heads and shared tensors alike; what surgery changes on the shared ones is sent after it.
        total(present).backward(retain_graph=True)
        push(shared, combined_P - grad_KP.sum(0))
        return {"conflicts": conflicts}


def per_task(losses: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
    """[K, P]: each loss's gradient on the shared tensors, laid out one after the other; 0 where a loss does not reach."""
    rows = []
    for loss in losses:
        grads = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        flat = [(torch.zeros_like(x) if g is None else g).reshape(-1) for x, g in zip(shared, grads, strict=True)]
        rows.append(torch.cat(flat))
    return torch.stack(rows)


def push(shared: Sequence[Tensor], grad_P: Tensor) -> None:
    """Send a gradient into the shared tensors and whatever they were computed from (rows of a table, say)."""
    parts = grad_P.split([x.numel() for x in shared])
    torch.autograd.backward(list(shared), [g.view_as(x) for x, g in zip(shared, parts, strict=True)])


def surgery(grad_KP: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    """The combined gradient [P] and the share of task pairs that opposed each other.

    g_i <- g_i - (g_i . g_j / |g_j|^2) g_j   for every j, in random order, whose original gradient opposes g_i;
    the sum over i comes back.  For K tasks everything happens in the K x K inner products: no pass over P but two.
    """
    inner_KK = (grad_KP @ grad_KP.T).double().cpu().numpy()
    mix_KK = np.eye(len(inner_KK))
    for i in range(len(mix_KK)):
        _project(i, mix_KK, inner_KK, random)
    opposed = inner_KK[np.triu_indices(len(inner_KK), 1)] < 0
    coefficients = torch.as_tensor(mix_KK.sum(0), dtype=grad_KP.dtype, device=grad_KP.device)
    return coefficients @ grad_KP, float(opposed.mean())


def _project(i: int, mix_KK: Array, inner_KK: Array, random: np.random.Generator) -> None:
    """Row i of ``mix_KK``: how much of each original gradient the projected gradient of task i holds."""
    for j in random.permutation(len(mix_KK)):
        along = float(mix_KK[i] @ inner_KK[:, j])
        if j != i and along < 0 and inner_KK[j, j] > 0:
            mix_KK[i, j] -= along / inner_KK[j, j]


METHOD = PCGrad
