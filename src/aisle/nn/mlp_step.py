"""Linear layers with ReLU between them as one step of autograd, over loops of our own (``mlp_kernels``).

Imports numba; nothing imports this file before a network learns.

Legend: N rows, d and e widths in and out of a layer.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aisle.core.lists import Array
from aisle.nn import mlp_kernels as kernels
from aisle.nn.threads import SideBySide
from aisle.nn.tiles import WIDE, usable

BLOCK, BLOCK_BF16 = 48, 96
"""Rows that go through all layers together: whole tiles, whose factors fit into a core's first cache."""


def fits(width: int, hidden: list[int], in_bf16: bool) -> bool:
    """Whether this processor and these widths suit the loops."""
    return usable(in_bf16) and all(size % WIDE == 0 for size in (width, *hidden))


class Layers(torch.autograd.Function):
    """[N, e] of the last layer in the precision of ``in_bf16``; gradients of weights and biases are float32."""

    @staticmethod
    def forward(ctx: Any, x_Nd: Tensor, in_bf16: bool, ends_in_relu: bool, *parameters: Tensor) -> Tensor:
        """``parameters``: weight [e, d] and bias [e] of each layer, in turn."""
        x_Nd = x_Nd.to(torch.bfloat16 if in_bf16 else torch.float32).contiguous()
        weights, biases = parameters[0::2], parameters[1::2]
        width = np.array([x_Nd.shape[1], *(len(bias) for bias in biases)])
        num, per = len(x_Nd), 2 if in_bf16 else 1
        kind = np.uint16 if in_bf16 else np.float32
        forth, back = (np.empty(sum(weight.numel() for weight in weights), kind) for _ in range(2))
        at = 0
        for weight_ed in weights:
            kernels.packed(weight_ed.detach().numpy(), per, forth, back, at)
            at += weight_ed.numel()
        bias = torch.cat(biases).detach().numpy()
        held = torch.empty(num * int(width[1:].sum()), dtype=x_Nd.dtype)
        numbers = _numbers(held)
        given = (_words(_numbers(x_Nd)), _words(forth), bias, width, per, ends_in_relu, num, numbers, _words(numbers))

        def part(n: int) -> None:
            kernels.forward(*given, *bounds[n], block)

        block = BLOCK_BF16 if in_bf16 else BLOCK
        bounds = _bounds(num, block)
        _side_by_side(len(bounds))(part, len(bounds))
        ctx.save_for_backward(x_Nd, held)
        ctx.width, ctx.back, ctx.bounds, ctx.block, ctx.ends_in_relu = width, back, bounds, block, ends_in_relu
        return held[num * int(width[1:-1].sum()) :].view(num, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_Ne: Tensor) -> tuple[Tensor | None, ...]:
        x_Nd, held = ctx.saved_tensors
        width, bounds, block = ctx.width, ctx.bounds, ctx.block
        num = len(x_Nd)
        numbers, per = _numbers(x_Nd), 4 // x_Nd.element_size()
        x_grad = torch.empty_like(x_Nd if ctx.needs_input_grad[0] else x_Nd[:0])
        weight_grad = torch.empty(len(bounds), int((width[:-1] * width[1:]).sum()))
        bias_grad = torch.empty(len(bounds), int(width[1:].sum()))
        grad = _numbers(grad_Ne.to(x_Nd.dtype).contiguous())
        given = (numbers, grad, _numbers(held), _words(ctx.back), width, per, ctx.ends_in_relu, num, _numbers(x_grad))
        most, widest = int(width.max()), int(width[1:].max())

        def part(n: int) -> None:
            row = np.empty(block * widest, numbers.dtype)
            over_rows, inputs = (np.empty(block * size, _words(row).dtype) for size in (widest, most))
            room = (np.empty(block * most, np.float32), row, _words(row), over_rows, inputs, np.zeros(most, np.float32))
            sums = (weight_grad[n].numpy(), bias_grad[n].numpy())
            kernels.backward(*given, *sums, *bounds[n], block, *room)

        _side_by_side(len(bounds))(part, len(bounds))
        sizes = [(int(e), int(d)) for d, e in pairwise(width)]
        of_weights = weight_grad.sum(0).split([e * d for e, d in sizes])
        of_biases = bias_grad.sum(0).split([e for e, _ in sizes])
        each = zip(of_weights, of_biases, sizes, strict=True)
        grads = [grad for weight, bias, size in each for grad in (weight.view(size), bias)]
        return x_grad if ctx.needs_input_grad[0] else None, None, None, *grads


def _bounds(num: int, block: int) -> list[tuple[int, int]]:
    """Equal parts of the rows in whole blocks, one a thread of torch."""
    blocks = -(-num // block)
    parts = min(torch.get_num_threads(), blocks)
    ends = [min(num, block * (blocks * n // parts)) for n in range(parts + 1)]
    return list(pairwise(ends))


@cache
def _side_by_side(threads: int) -> SideBySide:
    return SideBySide(threads)


def _numbers(tensor: Tensor) -> Array:
    """A tensor's memory, flat: float32, or bfloat16 as uint16."""
    flat = tensor.detach().view(-1)
    return flat.view(torch.int16).numpy().view(np.uint16) if flat.dtype == torch.bfloat16 else flat.numpy()


def _words(numbers: Array) -> Array:
    """The same memory as products read it."""
    return numbers.view(np.uint32) if numbers.dtype == np.uint16 else numbers
