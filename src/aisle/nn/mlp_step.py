"""Linear layers with ReLU after each, and a few outputs behind them, as one step of autograd over loops of our own
(``mlp_kernels``).

Imports numba; nothing imports this file before a network learns.

Legend: N rows, d and e widths in and out of a layer, K outputs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aisle.nn import mlp_kernels as kernels
from aisle.nn.blocks import in_parts, numbers_of, parts_of, room_for, words_of

BLOCK, BLOCK_BF16 = 48, 96
"""Rows that go through all layers together: whole tiles, whose factors fit into a core's first cache."""


class Layers(torch.autograd.Function):
    """[N, K], or [N, e] of the last layer where K is 0, in bfloat16 where ``in_bf16``; gradients of weights are float32."""

    @staticmethod
    def forward(ctx: Any, x_Nd: Tensor, in_bf16: bool, outputs: int, *parameters: Tensor) -> Tensor:
        """``parameters``: weight [e, d] and bias [e] of each layer, in turn, then those of the outputs, where there are any."""
        x_Nd = x_Nd.to(torch.bfloat16 if in_bf16 else torch.float32).contiguous()
        layers = len(parameters) // 2 - (outputs > 0)
        weights, biases = parameters[0 : 2 * layers : 2], parameters[1 : 2 * layers : 2]
        num, width = len(x_Nd), np.array([x_Nd.shape[1], *map(len, biases)])
        per, block = (2, BLOCK_BF16) if in_bf16 else (1, BLOCK)
        x, size = numbers_of(x_Nd), int((width[:-1] * width[1:]).sum())
        forth, back, at = room_for(size, x.dtype), room_for(size, x.dtype), 0
        for weight_ed in weights:
            kernels.packed(weight_ed.detach().numpy(), per, forth, back, at)
            at += weight_ed.numel()
        held = x_Nd.new_empty(num * int(width[1:].sum()))
        out_NK = x_Nd.new_empty(num, outputs)
        tail, tail_bias = (
            (p.detach().flatten().numpy().copy() for p in parameters[2 * layers :]) if outputs else (_NOTHING,) * 2
        )
        parts, bias, own = parts_of(num, block), torch.cat(biases).detach().numpy(), numbers_of(held)
        given = (
            words_of(x), words_of(forth), bias, width, per, num, tail, tail_bias, own, words_of(own), numbers_of(out_NK),
        )  # fmt: skip
        in_parts(lambda n: kernels.forward(*given, *parts[n], block), len(parts))
        ctx.save_for_backward(x_Nd, held)
        ctx.settings = width, back, per, block, outputs, tail
        return out_NK if outputs else held[num * int(width[1:-1].sum()) :].view(num, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NK: Tensor) -> tuple[Tensor | None, ...]:
        (x_Nd, held), (width, back, per, block, outputs, tail) = ctx.saved_tensors, ctx.settings
        num, x, parts = len(x_Nd), numbers_of(x_Nd), parts_of(len(x_Nd), block)
        x_grad = torch.empty_like(x_Nd if ctx.needs_input_grad[0] else x_Nd[:0])
        sizes = [(int(e), int(d)) for d, e in pairwise(width)]
        of_weights, of_biases = [e * d for e, d in sizes], [e for e, _ in sizes]
        counts = [sum(of_weights), sum(of_biases), outputs * sizes[-1][0], outputs]
        sums = torch.empty(len(parts), sum(counts))
        grad = numbers_of(grad_NK.to(x_Nd.dtype).contiguous())
        given = (x, grad, numbers_of(held), words_of(back), width, per, num, tail, outputs, numbers_of(x_grad))
        widest, most = max(of_biases), int(width.max())

        def part(n: int) -> None:
            row = room_for(block * widest, x.dtype)
            over_rows, inputs = (room_for(block * size, words_of(x).dtype) for size in (widest, most))
            delta, nothing = room_for(block * most, np.float32), np.zeros(most, np.float32)
            room = (delta, row, words_of(row), over_rows, inputs, nothing)
            kernels.backward(*given, *(own.numpy() for own in sums[n].split(counts)), *parts[n], block, *room)

        in_parts(part, len(parts))
        weight, bias, tail_weight, tail_bias = sums.sum(0).split(counts)
        each = zip(weight.split(of_weights), bias.split(of_biases), sizes, strict=True)
        grads = [grad for weight, bias, size in each for grad in (weight.view(size), bias)]
        if outputs:
            grads += [tail_weight.view(outputs, -1), tail_bias]
        return x_grad if ctx.needs_input_grad[0] else None, None, None, *grads


_NOTHING = np.zeros(0, np.float32)
