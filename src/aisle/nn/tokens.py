"""Tokens of a ranking Transformer: those of the request once a request, those of the candidates once a candidate.

Legend: Q requests, N candidates, R rows of either, S request tokens, I candidate tokens, T = S + I, d width, D width of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SOFT = 1.0
"""Added to the variance of a block's vectors, which begins at 1e-4: nearly no norm until vectors have grown.  With 1e-5 the noise
of rare ids is as loud as what was learned of others, and the network over-fits within an epoch (docs/log.md)."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """
    request  [S, Q, d]  what is known of a request; [S, N, d] once these tokens have looked at a candidate
    item     [I, N, d]
    owner    int64[N]   the row of ``request`` that belongs to each candidate; None when its rows are the candidates
    """

    request: Tensor
    item: Tensor
    owner: Tensor | None = None

    def spread(self) -> Tokens:
        """The same with the request tokens repeated for every candidate."""
        return self if self.owner is None else Tokens(of_candidates(self.request, self.owner), self.item)

    def all(self) -> Tensor:
        """[T, N, d], request tokens first."""
        return torch.cat([self.spread().request, self.item])


class TokenMaker(nn.Module):
    """GELU(W [LN(vectors); numbers] + c).

    The numbers are standardised already, and a norm over them would take away how large they are together.  The norm of
    the vectors is a soft one: an id that was hardly met keeps a vector near 0, and is not blown up to the length of others.

    width: of the block; after ``vectors`` columns come ``numbers`` ones, then more vectors.
    """

    def __init__(self, width: int, numbers: int, vectors: int, out: int) -> None:
        super().__init__()
        self.at = (vectors, vectors + numbers)
        self.norm = nn.LayerNorm(width - numbers, eps=SOFT) if width > numbers else None
        self.linear = nn.Linear(width, out)

    def forward(self, x_RD: Tensor) -> Tensor:
        begin, end = self.at
        if self.norm is not None:
            normed = self.norm(torch.cat([x_RD[:, :begin], x_RD[:, end:]], 1) if end > begin else x_RD)
            x_RD = torch.cat([normed, x_RD[:, begin:end]], 1) if end > begin else normed
        return functional.gelu(self.linear(x_RD))


def of_candidates(x_TRd: Tensor, owner_N: Tensor | None) -> Tensor:
    """[T, N, d]: each candidate's rows of what was computed once a request."""
    return x_TRd if owner_N is None else x_TRd.index_select(1, owner_N)


def mean_cosine(x_TNd: Tensor) -> float:
    """Mean cosine between two different tokens of a candidate, -1 to 1: near 1 the tokens have become the same."""
    unit_TNd = torch.nn.functional.normalize(x_TNd.float(), dim=-1)
    tokens = x_TNd.shape[0]
    total_N = unit_TNd.sum(0).square().sum(-1) - tokens
    return float((total_N / max(1, tokens * (tokens - 1))).mean())
