"""MMoE: shared experts, mixed anew for each task by a gate of its own (Ma et al., KDD 2018).

    f_k(x) = sum_e g_k(x)_e expert_e(x)        g_k = softmax(W_k x)        logit_k = tower_k(f_k(x))

Legend: N candidates, D width of everything side by side, E experts, K tasks, h width of an expert.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from aisle.nn.mlp import mlp
from aisle.ranking._inputs import Inputs, Shape, flat_width
from aisle.ranking._neural import NeuralRanker


class Mmoe(NeuralRanker):
    """experts: how many. hidden: widths of each expert's layers. tower: hidden width of each task's own network."""

    experts: int = Field(4, ge=1)
    hidden: tuple[int, ...] = (128, 64)
    tower: int = Field(32, ge=1)

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return MmoeTrunk(shape, self, len(tasks))


class MmoeTrunk(nn.Module):
    def __init__(self, shape: Shape, settings: Mmoe, tasks: int) -> None:
        super().__init__()
        width = flat_width(shape)
        self.experts = nn.ModuleList(
            mlp(width, settings.hidden, dropout=settings.dropout) for _ in range(settings.experts)
        )
        self.heads = nn.ModuleDict(
            {
                "gates": nn.ModuleList(nn.Linear(width, settings.experts) for _ in range(tasks)),
                "towers": nn.ModuleList(mlp(settings.hidden[-1], [settings.tower], 1) for _ in range(tasks)),
            }
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, K]"""
        x_ND = inputs.flat()
        expert_NEh = torch.stack([expert(x_ND) for expert in self.experts], 1)
        mixed = [torch.softmax(gate(x_ND), 1)[:, None] @ expert_NEh for gate in self.heads["gates"]]
        return torch.cat([tower(m[:, 0]) for tower, m in zip(self.heads["towers"], mixed, strict=True)], 1)


METHOD = Mmoe
