"""Tokens of a ranking Transformer: those of the request once a request, those of the candidates once a candidate.

Legend: Q requests, N candidates, S request tokens, I candidate tokens, T = S + I, d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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


def of_candidates(x_TRd: Tensor, owner_N: Tensor | None) -> Tensor:
    """[T, N, d]: each candidate's rows of what was computed once a request."""
    return x_TRd if owner_N is None else x_TRd.index_select(1, owner_N)


def mean_cosine(x_TNd: Tensor) -> float:
    """Mean cosine between two different tokens of a candidate, -1 to 1: near 1 the tokens have become the same."""
    unit_TNd = torch.nn.functional.normalize(x_TNd.float(), dim=-1)
    tokens = x_TNd.shape[0]
    total_N = unit_TNd.sum(0).square().sum(-1) - tokens
    return float((total_N / max(1, tokens * (tokens - 1))).mean())
