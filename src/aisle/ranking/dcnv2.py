"""DCN V2: cross layers beside a deep network (Wang et al., 2021, arXiv 2008.13535).

    x_(l+1) = x_0 * (W_l x_l + b_l) + x_l

Legend: N candidates, D width of everything side by side, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aisle.nn.cross_layers import CrossLayers
from aisle.nn.mlp import mlp
from aisle.ranking._inputs import Inputs, Shape, flat_width
from aisle.ranking._neural import NeuralRanker


class DcnV2(NeuralRanker):
    """cross: how many cross layers. rank: of their matrices, 0 for full ones. hidden: widths of the deep network.

    structure: the deep network beside the cross layers (``parallel``) or on top of them (``stacked``).
    """

    cross: int = Field(2, ge=1)
    rank: int = Field(64, ge=0)
    hidden: tuple[int, ...] = (256, 128, 64)
    structure: Literal["parallel", "stacked"] = "parallel"

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return DcnV2Trunk(shape, self, len(tasks))


class DcnV2Trunk(nn.Module):
    def __init__(self, shape: Shape, settings: DcnV2, tasks: int) -> None:
        super().__init__()
        width = flat_width(shape)
        self.stacked = settings.structure == "stacked"
        self.cross = CrossLayers(width, settings.cross, settings.rank)
        self.layers = mlp(width, settings.hidden, dropout=settings.dropout)
        self.heads = nn.Linear(settings.hidden[-1] + (0 if self.stacked else width), tasks)

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, K]"""
        x_ND = inputs.flat()
        crossed_ND = self.cross(x_ND)
        if self.stacked:
            return self.heads(self.layers(crossed_ND))
        return self.heads(torch.cat([crossed_ND, self.layers(x_ND)], 1))


METHOD = DcnV2
