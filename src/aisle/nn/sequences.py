"""Sequences of past actions as one vector: by mean, by attention from a candidate, or encoded by HSTU.

Legend: N candidates, Q requests, L places, d width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def masked_mean(x_QLd: Tensor, there_QL: Tensor) -> Tensor:
    """[Q, d]: the mean of the places that are there, 0 where none is."""
    weight_QL = there_QL.to(x_QLd.dtype)
    return torch.einsum("qld,ql->qd", x_QLd, weight_QL) / weight_QL.sum(1, keepdim=True).clamp(min=1)


class TargetAttention(nn.Module):
    """The activation unit of DIN (arXiv 1706.06978): sum_l a(x_l, t) x_l with a small network a, not normalised.

    What depends on the past alone and on the target alone goes through the first layer by itself, so nothing of width 4d is
    ever written out: W [x; t; x - t; x * t] = (Wx + Wd) x + (Wt - Wd) t + Wp (x * t).
    """

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.past = nn.Linear(width, hidden)
        self.target = nn.Linear(width, hidden, bias=False)
        self.product = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)

    def forward(self, past_QLd: Tensor, there_QL: Tensor, target_Nd: Tensor, owner_N: Tensor) -> Tensor:
        """[N, d], 0 where nothing is known of the past."""
        past_NLd = past_QLd[owner_N]
        hidden = self.past(past_QLd)[owner_N] + self.target(target_Nd)[:, None]
        hidden = hidden + self.product(past_NLd * target_Nd[:, None])
        weight_NL = self.out(functional.relu(hidden))[..., 0] * there_QL[owner_N].to(past_QLd.dtype)
        return torch.einsum("nl,nld->nd", weight_NL, past_NLd)


class Hstu(nn.Module):
    """One layer of HSTU (arXiv 2402.17152) over a past: U, V, Q, K = split(SiLU(X W)); A = SiLU(Q K^T + rab) / n;
    Y = (LN(A V) * U) W', where rab is a learned number for each distance between places, later ones only."""

    def __init__(self, width: int, length: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(heads, length))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_QLd: Tensor, there_QL: Tensor) -> Tensor:
        """[Q, L, d]: every place with what came before it."""
        rows, length, width = x_QLd.shape
        u, v, q, k = functional.silu(self.inner(x_QLd)).chunk(4, -1)

        def split(x: Tensor) -> Tensor:
            return x.view(rows, length, self.heads, -1).transpose(1, 2)

        place = torch.arange(length, device=x_QLd.device)
        apart_LL = place[:, None] - place[None]
        earlier_QLL = (apart_LL >= 0) & there_QL[:, None, :]
        score = split(q) @ split(k).transpose(2, 3) + self.distance[:, apart_LL.clamp(min=0)]
        weight = functional.silu(score) * earlier_QLL[:, None].to(x_QLd.dtype)
        count = there_QL.sum(1).clamp(min=1).to(x_QLd.dtype)
        seen = (weight @ split(v)).transpose(1, 2).reshape(rows, length, width) / count[:, None, None]
        return x_QLd + self.outer(self.norm(seen) * u)
