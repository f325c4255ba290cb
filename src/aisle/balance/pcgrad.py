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

from aisle.balance._gradients import known, per_task, push
from aisle.core.balance import MeanOverWorkers, alone
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.method import Part, State

SALT = 0x9C6


class PCGrad(Part):
    """tasks: names of the losses."""

    tasks: tuple[str, ...] = ("click", "cart", "order")

    def model_post_init(self, context: Any) -> None:
        if not self.tasks:
            raise SettingError("PCGrad was given no tasks; name the losses that it joins")

    def build(self, env: Env) -> PCGradBalancer:
        return PCGradBalancer(self.tasks, env.seed)


class PCGradBalancer:
    """Surgery on what is shared; a head, which no other task touches, keeps the gradient of its own loss."""

    wants_reference = False

    def __init__(self, tasks: Sequence[str], seed: int) -> None:
        self.tasks = tuple(tasks)
        self.seed = seed
        self.num_steps = 0

    @property
    def active(self) -> tuple[str, ...]:
        return self.tasks

    def step(
        self,
        losses: Mapping[str, Tensor],
        shared: Sequence[Tensor],
        reference: Mapping[str, float] | None = None,
        mean: MeanOverWorkers = alone,
    ) -> Mapping[str, float]:
        present = [losses[task] for task in known(losses, self.tasks)]
        if not present:
            return {}
        random = np.random.default_rng((self.seed, SALT, self.num_steps))
        self.num_steps += 1
        shared = [x for x in shared if x.requires_grad]
        if not shared or len(present) == 1:
            sum(present[1:], present[0]).backward()
            return {"conflicts": 0.0}
        grad_KP = per_task(present, shared)
        combined_P, conflicts = surgery(grad_KP, random)
        # The sum reaches heads and shared tensors alike; what surgery changes on the shared ones is sent after it.
        sum(present[1:], present[0]).backward(retain_graph=True)
        push(shared, combined_P - grad_KP.sum(0))
        return {"conflicts": conflicts}

    def advance(self, levels: Mapping[str, float]) -> bool:
        return False

    def state(self) -> State:
        return State(values={"seed": self.seed, "num_steps": self.num_steps})

    def load(self, state: State) -> None:
        self.seed, self.num_steps = int(state.values["seed"]), int(state.values["num_steps"])


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
