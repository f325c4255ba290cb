"""Plain feed-forward networks.  Legend: N rows, d width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(
    width: int, hidden: Sequence[int], out: int = 0, *, dropout: float = 0.0, act: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Linear layers with an activation after each hidden one: [N, width] -> [N, out], or the last hidden width when out is 0."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), act(), *([nn.Dropout(dropout)] if dropout else [])]
        width = size
    return nn.Sequential(*layers, *([nn.Linear(width, out)] if out else []))


def num_parameters(module: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


class Dice(nn.Module):
    """x p + a x (1 - p) with p = sigmoid of x standardised over the batch (arXiv 1706.06978)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-3)
        self.slope = nn.Parameter(torch.zeros(width))

    def forward(self, x_Nd: Tensor) -> Tensor:
        gate_Nd = torch.sigmoid(self.norm(x_Nd))
        return x_Nd * gate_Nd + self.slope * x_Nd * (1 - gate_Nd)
