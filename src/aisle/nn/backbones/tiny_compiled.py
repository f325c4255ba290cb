"""Decoding of the small model by compiled loops: on a processor, in float32, where nothing is learned from it.

A step of a small model is dozens of operations on small arrays, and most of its time goes into calling them.  Here it is one
call for each thread: its share of the prompts goes through all layers.  Numbers are those of the torch forward but for the order
of sums.

Legend: S = Q G answers, Q prompts, G answers a prompt, L layers, D width, K key heads, E width of a head, P prompt tokens,
R answer tokens, V vocabulary, N outputs and M inputs of a weight.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aisle.core.lists import Array
from aisle.nn.backbones import tiny_kernels as kernels
from aisle.nn.backbones.backbone import Decoding
from aisle.nn.backbones.panels import PANEL
from aisle.nn.backbones.tiny import EPS, Tiny

HIDDEN = -1e30
"""What is added to the score of a place that holds no token."""


class CompiledDecoding(Decoding):
    """
    kept       a pair a layer: keys and values [Q, K, P, E] of the prompts
    last_QD    output at each prompt's last token
    length_Q   tokens of each prompt
    seen_SV    bool: tokens that each answer's text holds; None for a model that is not told
    turn       cosine and sine [positions, E] of the rotary angles
    """

    def __init__(
        self,
        model: Tiny,
        kept: Sequence[tuple[Tensor, Tensor]],
        last_QD: Tensor,
        length_Q: Tensor,
        group: int,
        max_new: int,
        seen_SV: Tensor | None,
        turn: tuple[Tensor, Tensor],
    ) -> None:
        shape = model.shape
        self.first_QV = model.logits(last_QD)
        self.group, self.past = group, 0
        self.sizes = (
            shape.layers, shape.width, shape.heads, shape.key_heads, shape.head_dim, shape.hidden, model.vocab_size
        )  # fmt: skip
        self.weights = _weights(model)
        half = shape.head_dim // 2
        self.turn = tuple(flat(of[..., :half]) for of in turn)
        self.seen_SV = np.zeros(0, np.bool_) if seen_SV is None else seen_SV.numpy()
        self.length_Q = length_Q.numpy()
        rows, longest, room, layers = len(length_Q) * group, up(kept[0][0].shape[2]), up(max_new), shape.layers
        fill = longest - kept[0][0].shape[2]
        keys = torch.stack([functional.pad(k, (0, 0, 0, fill)) for k, _ in kept])
        values = torch.stack([functional.pad(v, (0, 0, 0, fill)) for _, v in kept])
        self.prompt = by_layer(in_panels(keys)), by_layer(in_panels(values.transpose(-1, -2)))
        self.room, self.longest = room, longest
        self.own = tuple(
            np.zeros((layers, rows * shape.key_heads * room * width), np.float32)
            for width in (shape.head_dim, up(shape.head_dim))
        )
        self.hidden_QT = np.full((len(length_Q), longest + room), HIDDEN, np.float32)
        self.hidden_QT[np.arange(longest + room) < self.length_Q[:, None]] = 0
        self.logits = np.empty((rows, up(model.vocab_size)), np.float32)
        share = -(-len(length_Q) // torch.get_num_threads())
        self.parts = [
            _Part(first, min(share, len(length_Q) - first), group, model, longest + room)
            for first in range(0, len(length_Q), share)
        ]

    def first(self) -> Tensor:
        return self.first_QV

    def next(self, token_S: Tensor) -> Tensor:
        """float32[S, V]; the next call writes over them."""
        token = token_S.contiguous().numpy()
        self.hidden_QT[:, self.longest + self.past] = 0
        work = [lambda part=part: self._run(part, token) for part in self.parts]
        helpers = [_helpers(len(work) - 1, os.getpid()).submit(call) for call in work[1:]]
        work[0]()
        for helper in helpers:
            helper.result()
        self.past += 1
        return torch.from_numpy(self.logits)[:, : self.sizes[-1]]

    def keep(self, row_S: Tensor) -> None:
        row = row_S.numpy()
        for own in self.own:
            answers = own.reshape(len(own), len(row), -1)
            answers[:] = answers[:, row]
        if len(self.seen_SV):
            self.seen_SV = self.seen_SV[row]

    def _run(self, part: _Part, token_S: Array) -> None:
        kernels.forward(
            token_S, part.first, part.prompts, self.group, self.sizes, EPS, *self.weights, *self.turn, self.seen_SV.ravel(),
            *self.prompt, self.length_Q, *self.own, self.room, self.past, self.hidden_QT.ravel(),
            *part.arrays, self.logits.ravel(),
        )  # fmt: skip


class _Part:
    """The prompts of one thread, and room for what is computed between two of their tokens."""

    def __init__(self, first: int, prompts: int, group: int, model: Tiny, attended: int) -> None:
        shape, rows = model.shape, prompts * group
        inner = shape.heads * shape.head_dim
        widths = (
            up(shape.width), up(shape.width), up(inner + 2 * shape.key_heads * shape.head_dim), inner, up(2 * shape.hidden),
            shape.hidden,
        )  # fmt: skip
        self.first, self.prompts = first, prompts
        room = [np.zeros(rows * width, np.float32) for width in widths]
        self.arrays = (*room, np.zeros(group * attended, np.float32), np.zeros(group * up(shape.head_dim), np.float32))


def up(width: int) -> int:
    """The next whole number of panels, in columns."""
    return -(-width // PANEL) * PANEL


def in_panels(weight: Tensor) -> Tensor:
    """[..., N panels, M, PANEL] of [..., N, M], filled up with zeros."""
    weight = functional.pad(weight, (0, 0, 0, up(weight.shape[-2]) - weight.shape[-2]))
    return weight.unflatten(-2, (-1, PANEL)).transpose(-1, -2)


def flat(tensor: Tensor) -> Array:
    array: Array = tensor.detach().contiguous().view(-1).numpy()
    return array


def by_layer(tensor: Tensor) -> Array:
    array: Array = tensor.detach().flatten(1).contiguous().numpy()
    return array


def _weights(model: Tiny) -> tuple[Array, ...]:
    """As ``forward`` takes them: what a norm multiplies by stands in the weights behind it, attention's scale in the queries'."""
    blocks = list(model.blocks)
    none = torch.zeros(0)

    def layers(pieces: Sequence[Tensor]) -> Array:
        return by_layer(torch.stack(list(pieces)))

    return (
        flat(model.tokens.weight),
        flat(none if model.repeated is None else model.repeated),
        flat(in_panels(model.tokens.weight * model.norm.weight)),
        layers([in_panels(b.qkv.weight * b.attention_norm.weight) for b in blocks]),
        layers([in_panels(b.out.weight) for b in blocks]),
        layers([in_panels(b.gate_up.weight * b.forward_norm.weight) for b in blocks]),
        layers([in_panels(b.down.weight) for b in blocks]),
        layers([b.query_norm.weight * model.shape.head_dim**-0.5 for b in blocks]),
        layers([b.key_norm.weight for b in blocks]),
    )


@lru_cache(maxsize=4)
def _helpers(count: int, process: int) -> ThreadPoolExecutor:
    """Threads do not pass into a process that is forked off, so each process has its own."""
    return ThreadPoolExecutor(count, thread_name_prefix="decoding")
