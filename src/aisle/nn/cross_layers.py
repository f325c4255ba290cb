"""Cross layers of DCN V2 (arXiv 2008.13535): x_(l+1) = x_0 * (W_l x_l + b_l) + x_l, W_l of low rank where asked.

Legend: N rows, d width, r rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aisle.nn.mlp import in_bf16, learns_at_once


class CrossLayers(nn.Module):
    """layers: bounded degree of the polynomial, minus one. rank: W = U V with V in R^(r x d); 0 for full matrices.

    Full matrices that learn from many rows on a processor are one step of autograd over loops of our own (``cross_step``).
    """

    def __init__(self, width: int, layers: int, rank: int = 0) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
            if rank
            else nn.Linear(width, width)
            for _ in range(layers)
        )

    def forward(self, x_Nd: Tensor) -> Tensor:
        as_products = x_Nd.dtype == (torch.bfloat16 if in_bf16() else torch.float32)
        if as_products and learns_at_once(x_Nd, self.steps):
            from aisle.nn.cross_step import Crossed

            out_Nd: Tensor = Crossed.apply(x_Nd, in_bf16(), *self.steps.parameters())
            return out_Nd
        first_Nd = x_Nd
        for step in self.steps:
            x_Nd = first_Nd * step(x_Nd) + x_Nd
        return x_Nd
