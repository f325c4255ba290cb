"""DIN: the past of a user seen from the candidate (Zhou et al., 2018, arXiv 1706.06978).

    v(u, i) = sum_l a(e_l, e_i) e_l        a: a small network over e_l, e_i, their difference and product; not normalised

beside everything else through a network with Dice activations.

Legend: N candidates, D width of everything side by side, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from aisle.nn.mlp import Dice
from aisle.nn.sequences import TargetAttention
from aisle.ranking._inputs import Inputs, Shape, flat_width
from aisle.ranking._neural import NeuralRanker


class Din(NeuralRanker):
    """attention: hidden width of the activation unit. hidden: widths of the network after it."""

    attention: int = Field(32, ge=1)
    hidden: tuple[int, ...] = (256, 128, 64)

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return DinTrunk(shape, self, len(tasks))


class DinTrunk(nn.Module):
    def __init__(self, shape: Shape, settings: Din, tasks: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {kind: TargetAttention(shape.past_dim, settings.attention) for kind in shape.pasts}
        )
        layers: list[nn.Module] = []
        width = flat_width(shape) + shape.past_dim * len(shape.pasts)
        for size in settings.hidden:
            layers += [nn.Linear(width, size), Dice(size), nn.Dropout(settings.dropout)]
            width = size
        self.layers = nn.Sequential(*layers)
        self.heads = nn.Linear(width, tasks)

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, K]"""
        seen = [
            self.attention[kind](past, inputs.there[kind], inputs.target, inputs.owner)
            for kind, past in inputs.past.items()
        ]
        return self.heads(self.layers(torch.cat([inputs.flat(), *seen], 1)))


METHOD = Din
