"""DNN: all fields and numbers of a candidate side by side, through a feed-forward network with a head a task.

The behaviour of a user enters as the mean of past items, carts and orders apart (as in YouTube's ranking network, Covington
et al., 2016).

Legend: N candidates, D width of everything side by side, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from aisle.nn.mlp import mlp
from aisle.ranking._inputs import Inputs, Shape, flat_width
from aisle.ranking._neural import NeuralRanker


class Dnn(NeuralRanker):
    """hidden: widths of the layers, first to last."""

    hidden: tuple[int, ...] = (256, 128, 64)

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return DnnTrunk(shape, self.hidden, len(tasks), self.dropout)


class DnnTrunk(nn.Module):
    def __init__(self, shape: Shape, hidden: Sequence[int], tasks: int, dropout: float) -> None:
        super().__init__()
        self.layers = mlp(flat_width(shape), hidden, dropout=dropout)
        self.heads = nn.Linear(hidden[-1], tasks)

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, K]"""
        return self.heads(self.layers(inputs.flat()))


METHOD = Dnn
