"""The encoder of a ranking Transformer as it is served on a processor with AVX-512 BF16: heterogeneous layers and a composite one,
compiled, LANES candidates side by side.  The same function as the layers it is made of, up to the rounding of bf16.

Legend: Q requests, N candidates, S request tokens, I candidate tokens, T = S + I, A task tokens, d width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from aisle.core.lists import Array
from aisle.nn.hetero_layer import BlockLinear, HeteroLayer
from aisle.nn.hiformer_layer import Composite, HiformerLayer
from aisle.nn.lane_kernels import Composite as CompositeWeights
from aisle.nn.lane_kernels import Layer, Room, Sizes, encode, no_composite
from aisle.nn.lanes import LANES, TILE, tiles_of
from aisle.nn.lanes import usable as has_dot
from aisle.nn.tokens import Tokens


def usable(layers: Sequence[HeteroLayer], composite: Sequence[HiformerLayer], tasks: int) -> bool:
    """Whether ``LaneEncoder`` stands for these layers here: attention in all of them, then at most one composite layer of low rank
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


class LaneEncoder:
    """Tokens -> task tokens float32[A, N, d], and the mean of the others float32[N, d].

    block_T: the block of each token.  masked: request tokens do not look at candidates.  threads: that share the
    candidates of a call.
    """

    def __init__(
        self,
        layers: Sequence[HeteroLayer],
        composite: Sequence[HiformerLayer],
        block_T: Tensor,
        *,
        tasks: int,
        masked: bool,
        threads: int = 1,
    ) -> None:
        self._threads = threads
        self._layers, self._masked, self._block_T = list(layers), masked, block_T
        self._weights = tuple(_layer(layer, block_T) for layer in layers)
        self._composite = _composite(composite[0], block_T, tasks) if composite else no_composite()
        width, hidden = layers[0].up.weight.shape[1:]
        rank = _even(composite[0].key.left.shape[1]) if composite else 0
        self._sizes = (len(block_T), tasks, width, hidden, layers[0].heads, rank)

    def __call__(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        request_SQd, item_INd = tokens.request.float(), tokens.item.float().contiguous().numpy()
        total, tasks, width, hidden, heads, rank = self._sizes
        of_request, num = len(request_SQd), item_INd.shape[1]
        sizes = Sizes(total, of_request, tasks, of_request if self._masked else 0, width, hidden, heads, rank)
        known_LSQe, known_L, entering_SQd = self._known(request_SQd)
        owner_N = np.arange(num) if tokens.owner is None else tokens.owner.numpy()
        task_ANd, mean_Nd = np.empty((tasks, num, width), np.float32), np.empty((num, width), np.float32)

        def part(begin: int, end: int) -> None:
            encode(
                sizes, self._weights, self._composite, known_LSQe, known_L, entering_SQd, item_INd, owner_N,
                begin, end, Room.of(sizes), task_ANd, mean_Nd,
            )  # fmt: skip

        _shared_out(part, num, self._threads)
        return torch.from_numpy(task_ANd), torch.from_numpy(mean_Nd)

    def _known(self, request_SQd: Tensor) -> tuple[Array, Array, Array]:
        """Projections of the request tokens in each layer float32[L, S, Q, 3 d], how many of them count, and the tokens that the
        candidates' lanes begin with: computed once a request."""
        s, q, width = request_SQd.shape
        num = len(self._layers) if self._masked else 1
        known_LSQe, known_L = (
            np.zeros((len(self._layers), s, q, 3 * width), np.float32),
            np.zeros(len(self._layers), int),
        )
        alone, block_S = Tokens(request_SQd, request_SQd[:0]), self._block_T[:s]
        for n, layer in enumerate(self._layers[:num] if s else ()):
            known_LSQe[n], known_L[n] = layer.qkv(alone.request, block_S).numpy(), s
            if self._masked:
                alone = layer(Tokens(alone.request[:0], alone.request), block_S)
                alone = Tokens(alone.item, alone.request)
        return known_LSQe, known_L, np.ascontiguousarray(alone.request.numpy())


def _layer(layer: HeteroLayer, block_T: Tensor) -> Layer:
    parts = [array for linear in (layer.qkv, layer.out, layer.up, layer.down) for array in _linear(linear, block_T)]
    return Layer(*parts)


def _composite(layer: HiformerLayer, block_T: Tensor, tasks: int) -> CompositeWeights:
    gain_C, shift_C = layer.gain[block_T].flatten(), layer.shift[block_T].flatten()
    lefts, rights = [], []
    for made in (layer.query, layer.key, layer.value):
        rank = made.left.shape[1]
        pad = _even(rank) - rank
        lefts.append(torch.nn.functional.pad(made.left, (0, pad)))
        rights.append(tiles_of(torch.nn.functional.pad(made.right, (0, 0, 0, pad)).T.numpy()))
    # The norm's gain and shift are folded into the left factors.
    left_Cr = torch.cat(lefts, 1)
    own = [array for linear in (layer.out, layer.up, layer.down) for array in _linear(linear, block_T[-tasks:])]
    return CompositeWeights(tiles_of((gain_C[:, None] * left_Cr).T.numpy()), (shift_C @ left_Cr).numpy(), *rights, *own)


def _linear(linear: BlockLinear, block_T: Tensor) -> tuple[Array, Array]:
    """Matrices [T, e, d] as flat pairs, and biases, of these tokens."""
    bias_T1e, weight_Tde = linear.of_tokens(block_T)
    return tiles_of(weight_Tde.transpose(1, 2).numpy()), bias_T1e.contiguous().numpy().ravel()


def _even(rank: int) -> int:
    """The next multiple of TILE, so that a pair never spans two factors."""
    return -(-rank // TILE) * TILE


def _shared_out(part: Callable[[int, int], None], num: int, threads: int) -> None:
    """The candidates in whole groups of LANES over so many threads, this one among them."""
    groups = -(-num // LANES)
    cuts = np.minimum(np.linspace(0, groups, min(threads, groups) + 1).round().astype(int) * LANES, num).tolist()
    first, *others = pairwise(cuts) if num else [(0, 0)]
    waiting = [_pool().submit(part, begin, end) for begin, end in others]
    part(*first)
    for other in waiting:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="lanes")
