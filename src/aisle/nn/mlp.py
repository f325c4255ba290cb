"""Plain feed-forward networks.  Legend: N rows, d width, e width of the next layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(
    width: int, hidden: Sequence[int], out: int = 0, *, dropout: float = 0.0, act: type[nn.Module] = nn.ReLU
) -> Mlp:
    """Linear layers with an activation after each hidden one: [N, width] -> [N, out], or the last hidden width when out is 0."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), act(), *([nn.Dropout(dropout)] if dropout else [])]
        width = size
    return Mlp(*layers, *([nn.Linear(width, out)] if out else []))


class Mlp(nn.Sequential):
    """Layer after layer.  Where it learns from many rows on a processor, with nothing but ReLU in between, all layers are one
    step of autograd over loops of our own (``mlp_step``): a product is about a third faster there in float32, and between two
    of them nothing is written that only the next one reads.

    MANY: rows from which this pays.
    """

    MANY = 2048

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        pattern = [nn.Linear, nn.ReLU] * len(layers)
        self._plain = len(layers) > 1 and [type(layer) for layer in layers] == pattern[: len(layers)]

    def forward(self, x_Nd: Tensor) -> Tensor:
        """[N, width] -> [N, width of the last layer]"""
        many = x_Nd.dim() == 2 and len(x_Nd) >= self.MANY and x_Nd.device.type == "cpu"
        if not (self._plain and many and self.training and torch.is_grad_enabled()):
            return super().forward(x_Nd)
        in_bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        hidden = list(self)[: len(self) // 2 * 2]
        parameters = [p for layer in hidden for p in layer.parameters()]
        if not (in_bf16 or x_Nd.dtype == torch.float32) or any(p.dtype != torch.float32 for p in parameters):
            return super().forward(x_Nd)
        from aisle.nn.mlp_step import Layers, fits

        if not fits(x_Nd.shape[1], [len(bias) for bias in parameters[1::2]], in_bf16):
            return super().forward(x_Nd)
        out_Ne: Tensor = Layers.apply(x_Nd, in_bf16, True, *parameters)
        for layer in list(self)[len(hidden) :]:
            out_Ne = layer(out_Ne)
        return out_Ne


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
