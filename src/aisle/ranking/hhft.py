"""HHFT: Hierarchical Heterogeneous Feature Transformer, a ranking Transformer whose tokens are blocks of features of one
meaning (arXiv 2511.20235).

Level 0, fields to tokens:  each block makes its tokens, t_b = GELU(W_b LN(x_b) + c_b), plus a learned vector of the token's kind;
         each task has a token of its own
Level 1, ``layers`` heterogeneous layers:  projections, norms and feed-forward networks of each block's own
Level 2, ``hiformer`` composite layers:  queries, keys and values that are each a combination of all tokens, of low rank; in the
         last one only the task tokens ask
Head     logit_k = MLP(LN([task token k; mean of the tokens])); the norm closes the chain of pre-norm layers

What belongs to the request (user, query, context, pasts) becomes tokens once a request, and so do their projections in the
first layer; with ``request_mask`` they never look at candidates and are one set a request to the end.

Legend: Q requests, N candidates, S request tokens, I candidate tokens (task tokens last), T = S + I, d width, D width of a block,
K tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from aisle.nn.hetero_layer import HeteroLayer, block_numbers
from aisle.nn.hiformer_layer import HiformerLayer, default_rank
from aisle.nn.mlp import mlp
from aisle.nn.sequences import Hstu, TargetAttention, masked_mean
from aisle.nn.tokens import TokenMaker, Tokens
from aisle.ranking._features import PAST
from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking._neural import NeuralRanker


class Hhft(NeuralRanker):
    """
    width, heads, layers   of the heterogeneous encoder (level 1); the feed-forward width is 4 times the width
    hiformer               composite layers (level 2); 0 for none
    rank                   of each composite projection; 0 for T d / 8, at most 256; -1 for full matrices
    tokens                 block -> how many tokens it makes; 1 where it is not named
    past                   how a past becomes its block's vector: ``mean``, or ``hstu``, a small sequence encoder before the mean;
                           ``target`` adds what the candidate sees in it to the candidate's ``match`` block
    request_mask           request tokens do not look at candidates: faster, see the card for its cost
    share                  one set of weights for all blocks: an ordinary encoder
    partition              ``random`` deals the fields out to blocks of the same sizes: the control for what meaning brings
    composite              which projections are composite: ``all``, or ``keys`` (and values) with queries of single tokens
    first                  which level comes first
    mixer                  the parameter-free mixing of RankMixer in place of attention; the number of tokens must divide the width
    """

    width: int = Field(64, ge=1)
    heads: int = Field(4, ge=1)
    layers: int = Field(2, ge=0)
    hiformer: int = Field(1, ge=0)
    rank: int = Field(0, ge=-1)
    tokens: dict[str, int] = {}
    past: Literal["mean", "hstu", "target"] = "mean"
    request_mask: bool = False
    share: bool = False
    partition: Literal["semantic", "random"] = "semantic"
    composite: Literal["all", "keys"] = "all"
    first: Literal["encoder", "hiformer"] = "encoder"
    mixer: bool = False

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return HhftTrunk(shape, self, len(tasks))

    @classmethod
    def tiny(cls) -> Self:
        return cls(**cls.tiny_settings(), width=16, heads=2, layers=1)


class HhftTrunk(nn.Module):
    """Inputs -> logits [N, K]."""

    def __init__(self, shape: Shape, settings: Hhft, tasks: int) -> None:
        super().__init__()
        self.makers = TokenMakers(shape, settings, tasks)
        self.encoder = Encoder(self.makers.counts, settings, tasks)
        width = settings.width
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(2 * width), *mlp(2 * width, [width], 1, act=nn.GELU)) for _ in range(tasks)
        )

    def forward(self, inputs: Inputs) -> Tensor:
        task_KNd, mean_Nd = self.encoder(self.makers(inputs))
        # What a head reads is float32 whatever the tokens are.
        logits = [head(torch.cat([task, mean_Nd], 1).float()) for head, task in zip(self.heads, task_KNd, strict=True)]
        return torch.cat(logits, 1)

    def compiled(self, threads: int = 1) -> Callable[[Inputs], Tensor] | None:
        """The same on frozen weights, compiled for this processor with the encoder in bf16 (``threads`` share the candidates); None
        where it cannot be."""
        from aisle.nn.lane_network import LaneNetwork, usable

        own, makers = self.encoder, self.makers
        if own.hiformer_first or not usable(own.layers, own.composite, own.tasks):
            return None
        network = LaneNetwork(
            makers.of_request, makers.of_item, makers.kind, makers.task, own.layers, own.composite, self.heads,
            own.block_T, masked=own.masked, threads=threads,
        )  # fmt: skip
        return lambda inputs: network(*makers.columns(inputs), inputs.owner)


class TokenMakers(nn.Module):
    """Level 0.  ``counts``: tokens of each block, request blocks first, the tasks' tokens last (a block each)."""

    def __init__(self, shape: Shape, settings: Hhft, tasks: int) -> None:
        super().__init__()
        self.width, self.past = settings.width, settings.past
        request = {**shape.widths(request=True), **dict.fromkeys(shape.pasts, shape.past_dim)}
        item = shape.widths(request=False)
        if self.past == "target":
            item["match"] = item.get("match", 0) + shape.past_dim * len(shape.pasts)
            self.seen = nn.ModuleDict({kind: TargetAttention(shape.past_dim) for kind in shape.pasts})
        if self.past == "hstu":
            self.hstu = nn.ModuleDict({kind: Hstu(shape.past_dim, PAST) for kind in shape.pasts})
        self.empty = nn.ParameterDict({kind: nn.Parameter(torch.zeros(shape.past_dim)) for kind in shape.pasts})
        self.widths = (list(request.values()), list(item.values()))
        names = (list(request), list(item))
        tokens = [[settings.tokens.get(name, 1) for name in side] for side in names]
        self.num_request = sum(tokens[0])
        self.counts = [*tokens[0], *tokens[1], *[1] * tasks]
        numbers = (shape.request_numbers, shape.item_numbers)
        self.of_request, self.of_item = (
            nn.ModuleList(
                TokenMaker(width, own.get(name, 0), own_vectors(shape, name, request=side == 0), n * settings.width)
                for (name, width), n in zip(blocks.items(), made, strict=True)
            )
            for side, (blocks, own, made) in enumerate(zip((request, item), numbers, tokens, strict=True))
        )
        self.kind = nn.Parameter(0.02 * torch.randn(sum(self.counts) - tasks, settings.width))
        self.task = nn.Parameter(0.02 * torch.randn(tasks, settings.width))
        # Fields and numbers change places with their like, so that every block keeps its size.
        sides = enumerate((request, item))
        self.deal = (
            [dealt(shape, blocks, request=side == 0) for side, blocks in sides]
            if settings.partition == "random"
            else None
        )

    def forward(self, inputs: Inputs) -> Tokens:
        request_QD, item_ND = self.columns(inputs)
        S, N = self.num_request, len(inputs.owner)
        request_SQd = self._made(request_QD, 0, self.of_request, self.kind[:S])
        made_INd = self._made(item_ND, 1, self.of_item, self.kind[S:])
        task_KNd = self.task[:, None].expand(-1, N, -1)
        return Tokens(request_SQd, torch.cat([made_INd, task_KNd.to(made_INd.dtype)]), inputs.owner)

    def columns(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """[Q, D] and [N, D]: the blocks of each side, one after the other, as they are dealt."""
        request = [*inputs.request.values(), *(self._pooled(inputs, kind) for kind in inputs.past)]
        item = [
            self._with_seen(inputs, block) if name == "match" and self.past == "target" else block
            for name, block in inputs.item.items()
        ]
        sides = torch.cat(request, 1), torch.cat(item, 1)
        if self.deal is None:
            return sides
        request_QD, item_ND = (x[:, deal.to(x.device)] for x, deal in zip(sides, self.deal, strict=True))
        return request_QD, item_ND

    def _made(self, x_RD: Tensor, side: int, makers: nn.ModuleList, kind_Td: Tensor) -> Tensor:
        """[T, R, d]: the tokens of one side."""
        parts = x_RD.split(self.widths[side], 1)
        flat_RTd = torch.cat([maker(part) for maker, part in zip(makers, parts, strict=True)], 1)
        return flat_RTd.view(len(x_RD), len(kind_Td), self.width).transpose(0, 1) + kind_Td[:, None]

    def _pooled(self, inputs: Inputs, kind: str) -> Tensor:
        """[Q, 3 d]: the past of each request, a learned vector where there is none."""
        past, there = inputs.past[kind], inputs.there[kind]
        if self.past == "hstu":
            past = self.hstu[kind](past, there)
        mean = masked_mean(past, there)
        return torch.where(there.any(1, keepdim=True), mean, self.empty[kind].to(mean.dtype))

    def _with_seen(self, inputs: Inputs, block: Tensor) -> Tensor:
        seen = [
            self.seen[kind](past, inputs.there[kind], inputs.target, inputs.owner) for kind, past in inputs.past.items()
        ]
        return torch.cat([block, *seen], 1)


class Encoder(nn.Module):
    """Levels 1 and 2: tokens -> task tokens [K, N, d] and the mean of the others as they enter the last layer [N, d].

    counts: tokens of each block. tasks: how many of the last tokens are the tasks'.
    """

    def __init__(self, counts: Sequence[int], settings: Hhft, tasks: int) -> None:
        super().__init__()
        self.masked, self.tasks = settings.request_mask, tasks
        self.hiformer_first = settings.first == "hiformer"
        blocks = 1 if settings.share else len(counts)
        self.register_buffer("block_T", block_numbers(counts, shared=settings.share), persistent=False)
        depth = settings.layers + settings.hiformer
        width, num = settings.width, sum(counts)
        common = {"depth": depth, "dropout": settings.dropout}
        self.layers = nn.ModuleList(
            HeteroLayer(blocks, width, settings.heads, 4 * width, mixer=settings.mixer, **common)
            for _ in range(settings.layers)
        )
        rank = default_rank(num, width) if settings.rank == 0 else max(settings.rank, 0)
        self.composite = nn.ModuleList(
            HiformerLayer(
                num,
                blocks,
                width,
                settings.heads,
                4 * width,
                rank=rank,
                asking=self.tasks if n == settings.hiformer - 1 and not self.hiformer_first else 0,
                composite_queries=settings.composite == "all",
                **common,
            )
            for n in range(settings.hiformer)
        )

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        opening, closing = (self.composite, []) if self.hiformer_first else ([], list(self.composite))
        for layer in opening:
            tokens = layer(tokens, self.block_T)
        for layer in self.layers:
            tokens = layer(tokens, self.block_T, masked=self.masked)
        for layer in closing[:-1]:
            tokens = layer(tokens, self.block_T)
        mean_Nd = self._mean(tokens)
        for layer in closing[-1:]:
            tokens = layer(tokens, self.block_T)
        return tokens.item[-self.tasks :], mean_Nd

    def _mean(self, tokens: Tokens) -> Tensor:
        """[N, d]: the mean of the feature tokens, request tokens summed once a request."""
        own = tokens.item[: -self.tasks]
        of_request = tokens.request.sum(0)
        if tokens.owner is not None:
            of_request = of_request[tokens.owner]
        return (own.sum(0) + of_request) / (len(own) + len(tokens.request))


def own_vectors(shape: Shape, block: str, *, request: bool) -> int:
    """How many columns of a block are its fields' vectors; a past is vectors throughout, and is counted from its end."""
    own = [f for f in shape.fields if f.block == block and not f.is_past]
    return shape.dim * sum((f.name not in shape.item_fields) == request for f in own)


def dealt(shape: Shape, blocks: Mapping[str, int], *, request: bool) -> Tensor:
    """int64[D]: the columns of one side in another order: vectors change places with vectors, numbers with numbers, by chance."""
    numbers = shape.request_numbers if request else shape.item_numbers
    starts: list[int] = []
    singles: list[int] = []
    at = 0
    for name, width in blocks.items():
        loose = numbers.get(name, 0)
        own = sum(
            f.block == name and not f.is_past and (f.name not in shape.item_fields) == request for f in shape.fields
        )
        # A block is its fields' vectors, then its numbers, then whatever came of pasts.
        columns = list(range(at, at + width))
        vectors = columns[: own * shape.dim] + columns[own * shape.dim + loose :]
        starts += vectors[:: shape.dim]
        singles += columns[own * shape.dim : own * shape.dim + loose]
        at += width
    rng = np.random.default_rng(0)
    order = np.arange(at)
    for source, target in zip(rng.permutation(starts), starts, strict=True):
        order[target : target + shape.dim] = np.arange(source, source + shape.dim)
    order[singles] = rng.permutation(singles)
    return torch.from_numpy(order)


METHOD = Hhft
