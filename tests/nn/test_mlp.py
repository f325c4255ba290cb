"""Feed-forward networks and cross layers, which are one step of autograd where they learn from many rows."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from aisle.nn.cross_layers import CrossLayers
from aisle.nn.mlp import mlp
from aisle.nn.tiles import multiply, usable

N, WIDTH = 2111, 48
JOINED = "LayersBackward"
on_avx512 = pytest.mark.skipif(not usable(False), reason="no AVX-512 here")
on_bf16 = pytest.mark.skipif(not usable(True), reason="no AVX-512 BF16 here")


def name_of(tensor):
    return type(tensor.grad_fn).__name__


def learned(network, x, *, bf16=False):
    """(output, gradient of x, gradients of the parameters) of a loss over the network's output."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = network(x)
    (out.float() * torch.linspace(-1, 2, out.numel()).reshape(out.shape)).sum().backward()
    return out.detach(), x.grad, [p.grad for p in network.parameters()]


def near(one, two):
    """Sums over all rows, added up in different orders."""
    return (one - two).norm() <= 2e-4 * two.norm()


def both(out):
    """(a network, the same layers one by one)"""
    torch.manual_seed(0)
    joined = mlp(WIDTH, [32, 80, 16], out)
    return joined, nn.Sequential(*copy.deepcopy(list(joined)))


@on_avx512
@pytest.mark.parametrize("out", [0, 1, 3, 20])
def test_in_float32_it_is_its_layers_one_by_one(out):
    joined, apart = both(out)
    x = torch.randn(N, WIDTH)
    assert (name_of(joined(x)) == JOINED) == (out < 20)
    (found, found_x, found_grads), (right, right_x, grads) = learned(joined, x), learned(apart, x)
    torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-5)
    assert all(map(near, [found_x, *found_grads], [right_x, *grads]))


@on_bf16
@pytest.mark.parametrize("out", [0, 1, 3, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_bf16_it_is_as_near_to_float32_as_its_layers_one_by_one(out, dtype):
    joined, apart = both(out)
    exact = copy.deepcopy(apart)
    x = torch.randn(N, WIDTH).to(dtype)
    found, found_x, found_grads = learned(joined, x, bf16=True)
    assert (found.dtype, found_x.dtype) == (torch.bfloat16, dtype)
    plain, plain_x, plain_grads = learned(apart, x, bf16=True)
    right, right_x, grads = learned(exact, x.float())
    every = ([found, found_x, *found_grads], [plain, plain_x, *plain_grads], [right, right_x, *grads])
    for ours, theirs, truth in zip(*every, strict=True):
        assert (ours.float() - truth).norm() <= 1.5 * (theirs.float() - truth).norm()


@on_avx512
def test_parts_of_two_threads_add_up(monkeypatch):
    joined, _ = both(0)
    x, found = torch.randn(N, WIDTH), []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        joined.zero_grad()
        found.append(learned(joined, x))
    torch.testing.assert_close(found[0][:2], found[1][:2])
    assert all(map(near, found[0][2], found[1][2]))


@on_avx512
def test_rows_that_need_no_gradient_get_none():
    joined, apart = both(0)
    x = torch.randn(N, WIDTH)
    for network in (joined, apart):
        network(x).sum().backward()
    assert all(near(one.grad, two.grad) for one, two in zip(joined.parameters(), apart.parameters(), strict=True))


def test_other_networks_and_few_rows_go_layer_by_layer():
    x = torch.randn(N, WIDTH)
    plain = mlp(WIDTH, [16])
    cases = [mlp(WIDTH, [16], dropout=0.5), mlp(WIDTH, [16], act=nn.GELU), mlp(WIDTH, [24]), plain.double()]
    assert all(name_of(network(x.to(next(network.parameters()).dtype))) != JOINED for network in cases)
    plain = plain.float()
    assert name_of(plain(x[:100])) != JOINED
    with torch.no_grad():
        assert torch.equal(plain(x), nn.Sequential(*plain)(x))


@on_avx512
@pytest.mark.parametrize(("rows", "columns", "count"), [(1, 16, 1), (6, 64, 5), (13, 112, 7)])
def test_products_of_both_layouts(rows, columns, count):
    rng = np.random.default_rng(0)
    a, b, start = (rng.standard_normal(s).astype(np.float32) for s in ((rows, count), (count, columns), columns))
    right = np.maximum(a @ b + start, 0.1)
    for first, row, step in ((a.ravel(), count, 1), (a.T.ravel(), 1, rows)):
        c = np.zeros(rows * columns, np.float32)
        multiply(
            first, 0, row, step, b.ravel(), 0, columns, count, start, 0, 0, c, 0, columns, np.float32(0.1), rows, columns
        )  # fmt: skip
        np.testing.assert_allclose(c.reshape(rows, columns), right, rtol=1e-5, atol=1e-6)


@on_avx512
@pytest.mark.parametrize("layers", [1, 3])
def test_cross_layers_in_float32_are_their_formula(layers):
    torch.manual_seed(0)
    joined = CrossLayers(WIDTH, layers)
    apart = copy.deepcopy(joined)
    x = torch.randn(N, WIDTH)
    assert name_of(joined(x)) == "CrossedBackward"
    found, found_x, found_grads = learned(joined, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aisle.nn.cross_layers.learns_at_once", lambda *given: False)
        right, right_x, grads = learned(apart, x)
    assert all(map(near, [found, found_x, *found_grads], [right, right_x, *grads]))


@on_bf16
def test_cross_layers_in_bf16_are_as_near_to_float32_as_one_by_one():
    torch.manual_seed(0)
    joined = CrossLayers(WIDTH, 3)
    apart, exact = copy.deepcopy(joined), copy.deepcopy(joined)
    x = torch.randn(N, WIDTH).bfloat16()
    found, found_x, found_grads = learned(joined, x, bf16=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aisle.nn.cross_layers.learns_at_once", lambda *given: False)
        plain, plain_x, plain_grads = learned(apart, x, bf16=True)
        right, right_x, grads = learned(exact, x.float())
    every = ([found, found_x, *found_grads], [plain, plain_x, *plain_grads], [right, right_x, *grads])
    for ours, theirs, truth in zip(*every, strict=True):
        assert (ours.float() - truth).norm() <= 1.5 * (theirs.float() - truth).norm()
