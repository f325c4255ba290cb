"""A ranking Transformer as it is served on a processor with AVX-512 BF16: token makers, heterogeneous layers, a composite one and
heads, compiled, LANES candidates side by side.  The same function as the modules it is made of, up to the rounding of bf16.

Legend: Q requests, N candidates, S request tokens, I candidate tokens, A task tokens, T = S + I + A, d width, D width of a side.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle.core.lists import Array
from aisle.nn.hetero_layer import BlockLinear, HeteroLayer
from aisle.nn.hiformer_layer import Composite, HiformerLayer
from aisle.nn.lane_kernels import begun, begun_masked, scored
from aisle.nn.lane_machine import LANES, TILE
from aisle.nn.lane_machine import usable as has_dot
from aisle.nn.lane_parts import (
    COMPOSITE,
    HEAD,
    LAYER,
    MAKER,
    Known,
    Memory,
    Network,
    Room,
    Sizes,
    laid_out,
    room_of,
)
from aisle.nn.lanes import pair_tiles_of, tiles_of
from aisle.nn.tokens import SOFT, TokenMaker


def usable(layers: Sequence[HeteroLayer], composite: Sequence[HiformerLayer], tasks: int) -> bool:
    """Whether ``LaneNetwork`` stands for these layers here: attention in all of them, then at most one composite layer of low rank
    in which the task tokens ask."""
    if not has_dot() or len(composite) > 1 or not layers or any(layer.mixer for layer in layers):
        return False
    width = layers[0].qkv.weight.shape[1]
    if width % (2 * TILE) or (width // layers[0].heads) % TILE:
        return False
    return all(
        isinstance(layer.query, Composite) and layer.key.left is not None and layer.asking == tasks
        for layer in composite
    )


class LaneNetwork:
    """The blocks of requests float32[Q, D], of candidates float32[N, D] and the request of each candidate int64[N] -> logits
    float32[N, A].

    request, item  what makes the tokens of each side, block by block, from columns one after the other
    kind_Td        added to the tokens that they make; task_Ad are the task tokens
    heads          a norm and two linear layers each: [task token; mean of the others] -> its logit
    block_T        the block of each token
    masked         request tokens do not look at candidates
    threads        that share the candidates of a call
    """

    def __init__(
        self,
        request: Sequence[TokenMaker],
        item: Sequence[TokenMaker],
        kind_Td: Tensor,
        task_Ad: Tensor,
        layers: Sequence[HeteroLayer],
        composite: Sequence[HiformerLayer],
        heads: Sequence[nn.Sequential],
        block_T: Tensor,
        *,
        masked: bool,
        threads: int = 1,
    ) -> None:
        self._threads, self._rooms = threads, threading.local()
        width, hidden = layers[0].up.weight.shape[1:]
        rank = _even(composite[0].key.left.shape[1]) if composite else 0
        of_request = sum(maker.linear.out_features for maker in request) // width
        sizes = (len(block_T), of_request, len(task_Ad), masked * of_request, width, hidden, layers[0].heads, rank)
        self._sizes = Sizes(*sizes)
        self._alone = self._sizes._replace(tokens=of_request, first=0)
        widest = max(maker.linear.in_features for maker in (*request, *item))
        self._at, *self._lines = laid_out(self._sizes, widest)
        kept = _Kept()
        asking = block_T[-len(task_Ad) :]
        self._network = Network(
            soft=SOFT,
            task=kept.numbers(task_Ad),
            request=_makers(request, kind_Td[:of_request], self._at.x, kept),
            item=_makers(item, kind_Td[of_request:], self._at.x + of_request * width, kept),
            layers=np.array(
                [_layer(layer, block_T, kept) for layer in layers]
                + [_layer(layer, asking, kept) for layer in composite],
                LAYER,
            ),
            composite=np.array([_composite(layer, block_T, kept) for layer in composite], COMPOSITE),
            heads=np.array([_head(head, kept) for head in heads], HEAD),
        )
        self._w, self._c = kept.arrays()

    def __call__(self, request_QD: Tensor, item_ND: Tensor, owner_N: Tensor) -> Tensor:
        s, net = self._sizes, self._network
        known = Known.of(s, len(request_QD), len(net.layers) - len(net.composite))
        memory, room = self._memory()
        if s.first:
            begun_masked(s, self._alone, self._at, memory, net, _numbers(request_QD), room.row, known)
        else:
            begun(s, self._at, memory, net, _numbers(request_QD), room.row, known)
        columns_ND, owners_N, taken_1 = _numbers(item_ND), owner_N.numpy(), np.zeros(1, np.int64)
        logit_NK = np.empty((len(owners_N), s.asking), np.float32)

        def work() -> None:
            memory, room = self._memory()
            scored(
                s, self._at, memory, net, known, columns_ND, owners_N, taken_1, room.row, room.owner, logit_NK
            )  # fmt: skip

        # Each thread takes the next candidates when it is ready: one that begins late or is held up has fewer of them.
        groups = -(-len(owners_N) // LANES)
        others = [_pool().submit(work) for _ in range(min(self._threads, groups) - 1)]
        work()
        for other in others:
            if not other.cancel():
                other.result()
        return torch.from_numpy(logit_NK)

    def _memory(self) -> tuple[Memory, Room]:
        """The weights, and this thread's lines."""
        if not hasattr(self._rooms, "own"):
            room = room_of(*self._lines)
            self._rooms.own = Memory(self._w, self._c, room.f, room.p), room
        return self._rooms.own


class _Kept:
    """Weights one after the other."""

    def __init__(self) -> None:
        self._pairs: list[Array] = []
        self._numbers: list[Array] = []
        self.numbers(torch.zeros(TILE))

    def numbers(self, vector: Tensor) -> int:
        return _place(self._numbers, vector.detach().float().contiguous().numpy().ravel())

    def tiles(self, weight: Tensor) -> int:
        """[M, K] in float32"""
        return _place(self._numbers, tiles_of(weight.numpy()))

    def pairs(self, weight: Tensor) -> int:
        """[..., M, K] in bf16"""
        return _place(self._pairs, pair_tiles_of(weight.numpy()))

    def arrays(self) -> tuple[Array, Array]:
        return np.concatenate(self._pairs), np.concatenate(self._numbers)


def _place(parts: list[Array], array: Array) -> int:
    at = sum(map(len, parts))
    parts.append(array)
    return at


def _numbers(x: Tensor) -> Array:
    return x.float().contiguous().numpy()


def _makers(makers: Sequence[TokenMaker], kind_Td: Tensor, line: int, kept: _Kept) -> Array:
    """Those of one side; the first of its tokens stands at ``line``."""
    records, begin, kind = [], 0, kept.numbers(kind_Td)
    for maker in makers:
        numbers, after = maker.at
        lines, width = maker.linear.weight.shape
        columns = (begin, begin + numbers, begin + after, begin + width)
        records.append((*columns, line, lines, *_maker(maker, kept), kind))
        begin, line, kind = begin + width, line + lines, kind + lines
    return np.array(records, MAKER)


def _maker(maker: TokenMaker, kept: _Kept) -> tuple[int, int]:
    weight_eD, bias = maker.linear.weight, maker.linear.bias
    if maker.norm is not None:
        # The norm's gain and shift are folded into the columns of the vectors, which lead.
        vectors = len(maker.norm.weight)
        bias = bias + weight_eD[:, :vectors] @ maker.norm.bias
        weight_eD = torch.cat([weight_eD[:, :vectors] * maker.norm.weight, weight_eD[:, vectors:]], 1)
    return kept.tiles(weight_eD), kept.numbers(bias)


def _head(head: nn.Sequential, kept: _Kept) -> tuple[int, ...]:
    norm, first, *_, last = head
    weight, bias = kept.tiles(first.weight * norm.weight), kept.numbers(first.bias + first.weight @ norm.bias)
    return weight, bias, kept.numbers(last.weight[0]), kept.numbers(last.bias)


def _layer(layer: HeteroLayer | HiformerLayer, block_T: Tensor, kept: _Kept) -> tuple[int, ...]:
    """The matrices of these tokens; a composite layer has projections of its own."""
    first = _linear(layer.qkv, block_T, kept) if isinstance(layer, HeteroLayer) else (0, 0)
    rest = [place for own in (layer.out, layer.up, layer.down) for place in _linear(own, block_T, kept)]
    return (*first, *rest)


def _linear(linear: BlockLinear, block_T: Tensor, kept: _Kept) -> tuple[int, int]:
    bias_T1e, weight_Tde = linear.of_tokens(block_T)
    return kept.pairs(weight_Tde.transpose(1, 2)), kept.numbers(bias_T1e)


def _composite(layer: HiformerLayer, block_T: Tensor, kept: _Kept) -> tuple[int, ...]:
    gain_C, shift_C = layer.gain[block_T].flatten(), layer.shift[block_T].flatten()
    lefts, rights = [], []
    for made in (layer.query, layer.key, layer.value):
        pad = _even(made.left.shape[1]) - made.left.shape[1]
        lefts.append(functional.pad(made.left, (0, pad)))
        rights.append(kept.pairs(functional.pad(made.right, (0, 0, 0, pad)).T))
    # The norm's gain and shift are folded into the left factors.
    left_Cr = torch.cat(lefts, 1)
    return kept.pairs((gain_C[:, None] * left_Cr).T), kept.numbers(shift_C @ left_Cr), *rights


def _even(rank: int) -> int:
    """The next multiple of TILE, so that a pair never spans two factors."""
    return -(-rank // TILE) * TILE


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="lanes")
