"""Cross layers of DCN V2 (arXiv 2008.13535): x_(l+1) = x_0 * (W_l x_l + b_l) + x_l, W_l of low rank where asked.

Legend: N rows, d width, r rank.
"""

from __future__ import annotations

from torch import Tensor, nn


class CrossLayers(nn.Module):
    """layers: bounded degree of the polynomial, minus one. rank: W = U V with V in R^(r x d); 0 for full matrices."""

    def __init__(self, width: int, layers: int, rank: int = 0) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
            if rank
            else nn.Linear(width, width)
            for _ in range(layers)
        )

    def forward(self, x_Nd: Tensor) -> Tensor:
        first_Nd = x_Nd
        for step in self.steps:
            x_Nd = first_Nd * step(x_Nd) + x_Nd
        return x_Nd
