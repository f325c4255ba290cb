"""A BERT that reads two texts together and gives the chances of ordered grades.

Legend: B pairs, T tokens, D width, C grades from worst to best, K = C - 1 cuts between them.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle.nn.encoders.bert import Bert, Layer


class PairNetwork(nn.Module):
    """Tokens of pairs -> log chances float32[B, C]."""

    def __init__(self, bert: Bert, num_grades: int, head: Literal["softmax", "ordinal"]) -> None:
        super().__init__()
        self.bert, self.is_ordinal = bert, head == "ordinal"
        width = bert.norm.normalized_shape[0]
        self.out = nn.Linear(width, 1 if self.is_ordinal else num_grades)
        if self.is_ordinal:
            # Cut c is the first one plus c - 1 gaps, so cuts can never change places.
            self.first = nn.Parameter(torch.tensor(-2.0))
            self.gap = nn.Parameter(torch.full((num_grades - 2,), 2.0))

    @torch.no_grad()
    def start_at(self, share_C: Tensor) -> None:
        """Give grades the chances ``share_C`` wherever the texts say nothing.

        The cuts move by the learning rate a step: fine-tuning at 1e-4 would never bring them from a place of their own to
        where the shop's grades lie.
        """
        share_C = share_C.clamp(min=1e-3) / share_C.clamp(min=1e-3).sum()
        if not self.is_ordinal:
            self.out.bias.copy_(share_C.log())
            return
        at_least_K = share_C.flip(0).cumsum(0).flip(0)[1:]
        cut_K = -torch.logit(at_least_K)
        self.first.copy_(cut_K[0])
        self.gap.copy_(torch.log(torch.expm1(cut_K.diff().clamp(min=1e-3))))  # the inverse of softplus
        self.out.bias.zero_()

    def forward(self, token_BT: Tensor, type_BT: Tensor, is_token_BT: Tensor) -> Tensor:
        first_BD = self.bert.first(token_BT, type_BT, is_token_BT)
        out = self.out(first_BD.to(self.out.weight.dtype)).float()
        return self._ordered(out) if self.is_ordinal else out.log_softmax(1)

    def _ordered(self, score_B1: Tensor) -> Tensor:
        """log (P(>= c) - P(>= c + 1)), by the logarithm of a difference of sigmoids, which does not underflow."""
        cut_K = torch.cat([self.first[None], self.first + functional.softplus(self.gap).cumsum(0)])
        logit_BK = score_B1 - cut_K
        at_least_BK, below_BK = functional.logsigmoid(logit_BK), functional.logsigmoid(-logit_BK)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))
        width_K = (cut_K[1:] - cut_K[:-1]).clamp(min=1e-6)
        between_BK = at_least_BK[:, :-1] + below_BK[:, 1:] + torch.log1p(-torch.exp(-width_K))
        return torch.cat([below_BK[:, :1], between_BK, at_least_BK[:, -1:]], 1)


def bert_config(bert: Bert) -> dict[str, Any]:
    """What makes the same network, in the words of a checkpoint's config.json."""
    layer = cast(Layer, bert.layers[0])
    return {
        "hidden_size": bert.tokens.embedding_dim,
        "vocab_size": bert.tokens.num_embeddings,
        "max_position_embeddings": bert.places.num_embeddings,
        "type_vocab_size": bert.types.num_embeddings,
        "layer_norm_eps": bert.norm.eps,
        "num_attention_heads": layer.heads,
        "intermediate_size": layer.up.out_features,
        "num_hidden_layers": len(bert.layers),
    }
