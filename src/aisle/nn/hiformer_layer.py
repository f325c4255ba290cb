"""The Hiformer layer: queries, keys and values that are each a combination of all tokens (arXiv 2311.05884).

    c = [x_1; ...; x_T]      [q_1; ...; q_T] = c Qhat      [k_1; ...; k_T] = c Khat      [v_1; ...; v_T] = c Vhat

with Qhat, Khat, Vhat in R^(Td x Td), then attention, output projection and feed-forward network as in a heterogeneous layer.
Low rank: Khat = L R with L in R^(Td x r) and R in R^(r x Td); the heads share L, so r counts for all of them together.
As the last layer, only the task tokens ask.

Legend: Q requests, N candidates, S request tokens, I candidate tokens, T = S + I, A asking tokens, d width, r rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle.nn.hetero_layer import BlockLinear, attend, truncated
from aisle.nn.tokens import Tokens, of_candidates

LARGEST_RANK = 256


def default_rank(tokens: int, width: int) -> int:
    """T d / 8, at most 256."""
    return min(LARGEST_RANK, max(1, tokens * width // 8))


class Composite(nn.Module):
    """c -> c What for asked tokens: [T tokens of d] -> [A, N, d].

    rank: 0 for a full matrix. wanted: the numbers of the tokens whose rows are wanted, in order.
    """

    def __init__(self, tokens: int, width: int, wanted: int, rank: int) -> None:
        super().__init__()
        self.wanted, self.width = wanted, width
        size, out = tokens * width, wanted * width
        self.left = nn.Parameter(truncated(torch.empty(size, rank), size**-0.5)) if rank else None
        self.right = nn.Parameter(truncated(torch.empty(rank or size, out), (rank or size) ** -0.5))

    def forward(self, request_RSd: Tensor, item_NId: Tensor, owner: Tensor | None) -> Tensor:
        """The request's share of the product is made once a request."""
        first = self.left if self.left is not None else self.right
        part_S, part_I = first.split([request_RSd.shape[1], item_NId.shape[1]])
        of_request = request_RSd @ part_S
        mixed = item_NId @ part_I + (of_request if owner is None else of_request[owner])
        if self.left is not None:
            mixed = mixed @ self.right
        return mixed.view(len(item_NId), self.wanted, self.width).transpose(0, 1)


class HiformerLayer(nn.Module):
    """tokens, blocks: of the token matrix. rank: of each composite projection, 0 for full ones.

    asking: how many of the last tokens are queries; 0 for all of them, so that more layers can follow.
    composite_queries: False keeps each query a projection of its own token; keys and values are composite always.
    """

    def __init__(
        self,
        tokens: int,
        blocks: int,
        width: int,
        heads: int,
        hidden: int,
        *,
        rank: int,
        asking: int = 0,
        composite_queries: bool = True,
        depth: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.asking, self.dropout = heads, asking or tokens, dropout
        out_std = 0.02 / math.sqrt(2 * depth)
        self.gain = nn.Parameter(torch.ones(blocks, width))
        self.shift = nn.Parameter(torch.zeros(blocks, width))
        self.query: nn.Module = (
            Composite(tokens, width, self.asking, rank)
            if composite_queries
            else BlockLinear(blocks, width, width, norm=False, std=0.02)
        )
        self.key = Composite(tokens, width, tokens, rank)
        self.value = Composite(tokens, width, tokens, rank)
        self.out = BlockLinear(blocks, width, width, norm=False, std=out_std)
        self.up = BlockLinear(blocks, width, hidden, norm=True, std=0.02)
        self.down = BlockLinear(blocks, hidden, width, norm=False, std=out_std)

    def forward(self, tokens: Tokens, block_T: Tensor) -> Tokens:
        """The asking tokens one layer on (as candidate tokens where only some of them ask)."""
        num_request = len(tokens.request)
        block_S, block_I = block_T.split([num_request, len(tokens.item)])
        normed_S, normed_I = self._normed(tokens.request, block_S), self._normed(tokens.item, block_I)
        flat_S, flat_I = _flat(normed_S), _flat(normed_I)
        owner = tokens.owner if num_request else None
        block_A = block_T[-self.asking :]
        if isinstance(self.query, Composite):
            q_A = self.query(flat_S, flat_I, owner)
        else:
            asked = torch.cat([of_candidates(normed_S, owner), normed_I])[-self.asking :]
            q_A = self.query(asked, block_A)
        seen_A = attend(q_A, self.key(flat_S, flat_I, owner), self.value(flat_S, flat_I, owner), self.heads)
        x_A = self._last(tokens) + self._dropped(self.out(seen_A, block_A))
        hidden_A = functional.gelu(self.up(x_A, block_A))
        x_A = x_A + self._dropped(self.down(self._dropped(hidden_A), block_A))
        if self.asking < len(block_T):
            return Tokens(x_A[:0], x_A)
        return Tokens(x_A[:num_request], x_A[num_request:])

    def _normed(self, x_TRd: Tensor, block_T: Tensor) -> Tensor:
        normed = functional.layer_norm(x_TRd, x_TRd.shape[-1:])
        return torch.addcmul(self.shift[block_T][:, None], normed, self.gain[block_T][:, None])

    def _last(self, tokens: Tokens) -> Tensor:
        """[A, N, d]: the asking tokens."""
        if self.asking <= len(tokens.item):
            return tokens.item[-self.asking :]
        return tokens.all()[-self.asking :]

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


def _flat(x_TRd: Tensor) -> Tensor:
    """[R, T d]: all tokens of a row side by side."""
    return x_TRd.transpose(0, 1).flatten(1)
