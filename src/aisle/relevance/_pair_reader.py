"""One BERT that reads query and item together: [CLS] query [SEP] item [SEP].

Legend: B pairs of a batch, T tokens, N pairs, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.nn.encoders.pair_network import PairNetwork
from aisle.nn.encoders.pieces import Pieces
from aisle.relevance._item_texts import ItemTexts
from aisle.relevance._scale import Scale
from aisle.relevance._serving import Reader

MAX_QUERY_TOKENS = 24
"""Of a query that are read: a longer one would leave its items no room."""


class PairReader(Reader):
    """
    network     gives log-chances of grades
    pieces      its vocabulary
    max_tokens  of a pair; what is longer loses the end of its item
    texts       what is read of items
    """

    def __init__(self, network: PairNetwork, pieces: Pieces, scale: Scale, max_tokens: int, texts: ItemTexts) -> None:
        self.network, self.pieces, self.max_tokens, self.texts, self._scale = network, pieces, max_tokens, texts, scale

    @property
    def scale(self) -> Scale:
        return self._scale

    def heads(self, queries: Sequence[str]) -> list[Array]:
        """[CLS] query [SEP]"""
        pieces = self.pieces
        return [
            np.concatenate([[pieces.cls_id], tokens[:MAX_QUERY_TOKENS], [pieces.sep_id]])
            for tokens in pieces.encode(queries)
        ]

    def tails(self, items: Items, rows: Array) -> list[Array]:
        """item [SEP]"""
        room = self.max_tokens - 3
        return [
            np.concatenate([tokens[:room], [self.pieces.sep_id]])
            for tokens in self.pieces.encode(self.texts(items, rows))
        ]

    def batch(self, heads: Sequence[Array], tails: Sequence[Array]) -> tuple[Tensor, Tensor, Tensor]:
        """(token, type, is_token), [B, T] each; a pair that is too long loses the end of its item."""
        room = [self.max_tokens - len(h) for h in heads]
        kept = [t if len(t) <= r else np.concatenate([t[: r - 1], t[-1:]]) for t, r in zip(tails, room, strict=True)]
        length = np.array([[len(h), len(t)] for h, t in zip(heads, kept, strict=True)])
        place_T = np.arange(int(length.sum(1).max()))
        is_token = place_T < length.sum(1)[:, None]
        token = np.full(is_token.shape, self.pieces.pad_id, np.int64)
        token[is_token] = np.concatenate([part for pair in zip(heads, kept, strict=True) for part in pair])
        kind = (is_token & (place_T >= length[:, :1])).astype(np.int64)
        return torch.from_numpy(token), torch.from_numpy(kind), torch.from_numpy(is_token)

    def chances_of(self, heads: Sequence[Array], tails: Sequence[Array]) -> Array:
        device = self.network.out.weight.device
        with torch.inference_mode():
            logp_NC = self.network(*(t.to(device) for t in self.batch(heads, tails)))
        chance_NC: Array = logp_NC.exp().float().cpu().numpy()
        return chance_NC

    def ready(self, dtype: torch.dtype) -> None:
        """For serving: matrix products in this precision."""
        self.network.eval().requires_grad_(False)
        for part in self.network.bert.modules():
            if isinstance(part, nn.Linear):
                part.to(dtype)
