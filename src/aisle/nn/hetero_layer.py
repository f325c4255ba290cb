"""A Transformer layer whose tokens belong to blocks: each block has its own norms, projections and feed-forward network.

Pre-norm, for token i of block b and head h:

    q_i = LN_b(x_i) Wq_b,h    k_i = LN_b(x_i) Wk_b,h    v_i = LN_b(x_i) Wv_b,h
    x_i <- x_i + concat_h(sum_j softmax_j(q_i k_j / sqrt(d_k)) v_j) Wo_b
    x_i <- x_i + W2_b GELU(W1_b LN'_b(x_i))

With one block for all tokens it is an ordinary encoder layer; with one token a block, the heterogeneous attention of Hiformer
(arXiv 2311.05884).  What request tokens need for their projections is computed once a request.

Legend: Q requests, N candidates, R rows (Q or N), S request tokens, I candidate tokens, T = S + I, M blocks, d width,
f hidden width, H heads, k = d / H.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle.core.errors import SettingError
from aisle.nn.tokens import Tokens, of_candidates

LARGEST_SCORE = 80.0


class BlockLinear(nn.Module):
    """y_i = LN_b(x_i) W_b + c_b, or without the norm: [T, R, d] -> [T, R, e].

    First weights have a deviation of 0.5 / sqrt(width), which is the usual 0.02 at a width of 625, times ``shrink``.
    """

    def __init__(self, blocks: int, width: int, out: int, *, norm: bool, shrink: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(truncated(torch.empty(blocks, width, out), shrink * 0.5 * width**-0.5))
        self.bias = nn.Parameter(torch.zeros(blocks, out))
        self.gain = nn.Parameter(torch.ones(blocks, width)) if norm else None
        self.shift = nn.Parameter(torch.zeros(blocks, width)) if norm else None
        self._frozen: dict[tuple[int, int], tuple[Tensor, Tensor]] | None = None

    def forward(self, x_TRd: Tensor, block_T: Tensor) -> Tensor:
        if self.gain is not None:
            x_TRd = functional.layer_norm(x_TRd, x_TRd.shape[-1:])
        bias_T1e, weight_Tde = self.of_tokens(block_T)
        return torch.baddbmm(bias_T1e, x_TRd, weight_Tde)

    def freeze(self) -> None:
        """From here on the weights are constant, and what follows from them is worked out once."""
        self._frozen = {}

    def of_tokens(self, block_T: Tensor) -> tuple[Tensor, Tensor]:
        """Bias [T, 1, e] and matrix [T, d, e] of each token."""
        if self._frozen is None:
            return self._folded(block_T)
        part = (block_T.storage_offset(), len(block_T))
        if part not in self._frozen:
            self._frozen[part] = self._folded(block_T)
        return self._frozen[part]

    def _folded(self, block_T: Tensor) -> tuple[Tensor, Tensor]:
        weight_Mde, bias_Me = self.weight, self.bias
        if self.gain is not None and self.shift is not None:
            # The norm's gain and shift are folded into the matrix: fewer passes over the rows.
            bias_Me = bias_Me + torch.einsum("md,mde->me", self.shift, weight_Mde)
            weight_Mde = self.gain[:, :, None] * weight_Mde
        return bias_Me[block_T][:, None], weight_Mde[block_T]


class HeteroLayer(nn.Module):
    """blocks: how many sets of weights. depth: of the whole network, for the scale of the output projections.

    mixer: instead of attention, the parameter-free mixing of RankMixer (arXiv 2507.15551): every token is cut into T pieces,
    and token h becomes the h-th pieces of all; T must divide d.

    Raises SettingError when heads do not divide the width.
    """

    def __init__(
        self,
        blocks: int,
        width: int,
        heads: int,
        hidden: int,
        *,
        depth: int = 1,
        dropout: float = 0.0,
        mixer: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise SettingError(f"{heads} heads do not divide a width of {width}; choose a divisor")
        self.heads, self.mixer, self.dropout = heads, mixer, dropout
        shrink = (2 * depth) ** -0.5
        if not mixer:
            self.qkv = BlockLinear(blocks, width, 3 * width, norm=True)
            self.out = BlockLinear(blocks, width, width, norm=False, shrink=shrink)
        self.up = BlockLinear(blocks, width, hidden, norm=True)
        self.down = BlockLinear(blocks, hidden, width, norm=False, shrink=shrink)

    def forward(self, tokens: Tokens, block_T: Tensor, *, masked: bool = False) -> Tokens:
        """The tokens one layer on.  ``masked``: request tokens do not look at candidates, and stay one set a request."""
        block_S, block_I = block_T.split([len(tokens.request), len(tokens.item)])
        tokens = self._mixed(tokens) if self.mixer else self._attended(tokens, block_S, block_I, masked)
        return Tokens(self._fed(tokens.request, block_S), self._fed(tokens.item, block_I), tokens.owner)

    def _attended(self, tokens: Tokens, block_S: Tensor, block_I: Tensor, masked: bool) -> Tokens:
        own_S3 = self.qkv(tokens.request, block_S)
        item_I3 = self.qkv(tokens.item, block_I)
        spread_S3 = of_candidates(own_S3, tokens.owner)
        q_T, k_T, v_T = torch.cat([spread_S3, item_I3]).chunk(3, -1)
        if masked:
            q_S, k_S, v_S = own_S3.chunk(3, -1)
            seen_S = attend(q_S, k_S, v_S, self.heads)
            seen_I = attend(q_T[len(block_S) :], k_T, v_T, self.heads)
            request, owner = tokens.request, tokens.owner
        else:
            seen_S, seen_I = attend(q_T, k_T, v_T, self.heads).split([len(block_S), len(block_I)])
            request, owner = of_candidates(tokens.request, tokens.owner), None
        return Tokens(
            request + self._dropped(self.out(seen_S, block_S)),
            tokens.item + self._dropped(self.out(seen_I, block_I)),
            owner,
        )

    def _mixed(self, tokens: Tokens) -> Tokens:
        x_TNd = tokens.all()
        num, rows, width = x_TNd.shape
        if width % num:
            raise SettingError(
                f"{num} tokens do not divide a width of {width}; the mixer cuts every token into as many"
            )
        pieces_TNTp = x_TNd.view(num, rows, num, width // num)
        mixed_TNd = x_TNd + pieces_TNTp.permute(2, 1, 0, 3).reshape(num, rows, width)
        request, item = mixed_TNd.split([len(tokens.request), len(tokens.item)])
        return Tokens(request, item)

    def _fed(self, x_TRd: Tensor, block_T: Tensor) -> Tensor:
        if not len(x_TRd):
            return x_TRd
        hidden_TRf = functional.gelu(self.up(x_TRd, block_T))
        return x_TRd + self._dropped(self.down(self._dropped(hidden_TRf), block_T))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


def attend(q_TRd: Tensor, k_URd: Tensor, v_URd: Tensor, heads: int) -> Tensor:
    """[T, R, d]: scaled dot-product attention of T queries over U keys, each row by itself."""
    rows, width = q_TRd.shape[1], q_TRd.shape[2]
    size = width // heads

    def split(x: Tensor) -> Tensor:
        """[R * H, T, k], in one copy."""
        return x.view(len(x), rows, heads, size).permute(1, 2, 0, 3).reshape(rows * heads, len(x), size)

    q_BTk, k_BUk, v_BUk = split(q_TRd), split(k_URd), split(v_URd)
    # Over rows as short as a set of tokens, torch's softmax takes ten times as long as this.  exp(80) fits float32.
    score_BTU = torch.bmm(q_BTk, k_BUk.transpose(1, 2)).float() * size**-0.5
    weight_BTU = score_BTU.clamp(-LARGEST_SCORE, LARGEST_SCORE).exp()
    weight_BTU = weight_BTU / weight_BTU.sum(-1, keepdim=True)
    seen_BTk = torch.bmm(weight_BTU.to(v_BUk.dtype), v_BUk)
    return seen_BTk.view(rows, heads, len(q_TRd), size).permute(2, 0, 1, 3).reshape(len(q_TRd), rows, width)


def truncated(weight: Tensor, std: float) -> Tensor:
    """The tensor, filled from a bell curve cut at two deviations."""
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def block_numbers(tokens_of_block: Sequence[int], *, shared: bool = False) -> Tensor:
    """int64[T]: the block of each token; all 0 when the blocks share their weights."""
    counts = torch.tensor(tokens_of_block)
    numbers = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return torch.zeros_like(numbers) if shared else numbers


def freeze(module: nn.Module) -> nn.Module:
    """The module, to be served: every layer of blocks works out once what follows from its weights."""
    for layer in module.modules():
        if isinstance(layer, BlockLinear):
            layer.freeze()
    return module
