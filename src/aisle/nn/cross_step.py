"""Cross layers with whole matrices as one step of autograd, over loops of our own (``cross_kernels``).

Imports numba; nothing imports this file before a network learns.

Legend: N rows, d width, L layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aisle.nn import cross_kernels as kernels
from aisle.nn.blocks import in_parts, numbers_of, parts_of, room_for, words_of
from aisle.nn.mlp_kernels import packed

BLOCK = 96
"""Rows that go through all layers together; a block's share of reading and writing the sums of a matrix's gradient is small."""


class Crossed(torch.autograd.Function):
    """[N, d], in bfloat16 where ``in_bf16``; gradients of weights and biases are float32."""

    @staticmethod
    def forward(ctx: Any, x_Nd: Tensor, in_bf16: bool, *parameters: Tensor) -> Tensor:
        """``parameters``: weight [d, d] and bias [d] of each layer, in turn."""
        x_Nd = x_Nd.to(torch.bfloat16 if in_bf16 else torch.float32).contiguous()
        (num, d), layers, per = x_Nd.shape, len(parameters) // 2, 2 if in_bf16 else 1
        x, z_LNd, out_Nd = numbers_of(x_Nd), x_Nd.new_empty(layers, num, d), torch.empty_like(x_Nd)
        forth, back = (room_for(layers * d * d, x.dtype) for _ in range(2))
        for n, weight_dd in enumerate(parameters[0::2]):
            packed(weight_dd.detach().numpy(), per, forth, back, n * d * d)
        bias, parts = torch.cat(parameters[1::2]).detach().numpy(), parts_of(num, BLOCK)
        given = (x, words_of(x), words_of(forth), bias, layers, d, per, num, numbers_of(z_LNd), numbers_of(out_Nd))

        def part(n: int) -> None:
            c = room_for(BLOCK * d, x.dtype)
            kernels.forward(*given, *parts[n], BLOCK, c, words_of(c))

        in_parts(part, len(parts))
        ctx.save_for_backward(x_Nd, z_LNd)
        ctx.settings = back, per
        return out_Nd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_Nd: Tensor) -> tuple[Tensor | None, ...]:
        (x_Nd, z_LNd), (back, per) = ctx.saved_tensors, ctx.settings
        layers, num, d = z_LNd.shape
        x, parts, x_grad = numbers_of(x_Nd), parts_of(num, BLOCK), torch.empty_like(x_Nd)
        weight_grad, bias_grad = torch.empty(len(parts), layers, d, d), torch.empty(len(parts), layers, d)
        grad = numbers_of(grad_Nd.to(x_Nd.dtype).contiguous())
        given = (x, grad, numbers_of(z_LNd), words_of(back), layers, d, per, num, numbers_of(x_grad))

        def part(n: int) -> None:
            c, row = room_for(max(1, layers - 1) * BLOCK * d, x.dtype), room_for(BLOCK * d, x.dtype)
            delta, of_x = (room_for(BLOCK * d, np.float32) for _ in range(2))
            over_rows, inputs = (room_for(BLOCK * d, words_of(x).dtype) for _ in range(2))
            sums = (weight_grad[n].view(-1).numpy(), bias_grad[n].view(-1).numpy())
            room = (c, delta, of_x, row, words_of(row), over_rows, inputs)
            kernels.backward(*given, *sums, *parts[n], BLOCK, *room)

        in_parts(part, len(parts))
        each = zip(weight_grad.sum(0), bias_grad.sum(0), strict=True)
        return x_grad, None, *[grad for pair in each for grad in pair]
