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
    of them nothing is written that only the next one reads.  Hooks of single layers are not called then, and gradients have no
    gradients."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        pattern = [nn.Linear, nn.ReLU] * len(layers)
        self._plain = len(layers) > 1 and [type(layer) for layer in layers] == pattern[: len(layers)]

    def forward(self, x_Nd: Tensor) -> Tensor:
        """[N, width] -> [N, width of the last layer]"""
        num = len(self) // 2 * 2
        linear, last = list(self)[:num:2], list(self)[num:]
        if not self._plain or not learns_at_once(x_Nd, linear):
            return super().forward(x_Nd)
        from aisle.nn.mlp_step import Layers

        few = [p for p in last if isinstance(p, nn.Linear) and p.out_features <= FEW and p.bias is not None]
        parameters = [p for layer in (*linear, *few) for p in layer.parameters()]
        out_Ne: Tensor = Layers.apply(x_Nd, in_bf16(), few[0].out_features if few else 0, *parameters)
        return last[0](out_Ne) if last and not few else out_Ne


FEW = 8
"""Outputs at most that go with the layers before them."""
MANY = 2048
"""Rows from which layers that learn at once surely pay."""


def in_bf16() -> bool:
    """Whether products on the processor are in bfloat16 now."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def learns_at_once(x_Nd: Tensor, linear: Sequence[nn.Module]) -> bool:
    """Whether these layers of float32, with biases, learn now, from many rows, in widths and on a processor that suit our loops."""
    many = x_Nd.dim() == 2 and len(x_Nd) >= MANY and x_Nd.device.type == "cpu" and torch.is_grad_enabled()
    if not many or not all(layer.training for layer in linear) or not (in_bf16() or x_Nd.dtype == torch.float32):
        return False
    from aisle.nn.tiles import WIDE, usable

    weights = [layer.weight for layer in linear if isinstance(layer, nn.Linear) and layer.bias is not None]
    suits = all(w.dtype == torch.float32 and not any(size % WIDE for size in w.shape) for w in weights)
    return len(weights) == len(linear) and suits and usable(in_bf16())


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
