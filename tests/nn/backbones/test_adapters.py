"""Adapters in the precision of their weights: the same function and gradient as the library's, and its other uses unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aisle.nn.backbones.adapters import LowRank, lean

peft = pytest.importorskip("peft")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(6, 5)

    def forward(self, x):
        return self.proj(x)


def adapted(dtype=torch.float32):
    torch.manual_seed(0)
    model = peft.get_peft_model(Net().to(dtype), peft.LoraConfig(r=2, lora_alpha=6, target_modules=["proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    return model


def grads(model, x):
    model.zero_grad()
    x = x.clone().requires_grad_()
    out = model(x)
    (out.float() ** 2).sum().backward()
    return [out, x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


def test_the_gradient_is_that_of_the_formula():
    torch.manual_seed(1)
    shapes = ((4, 5), (4, 6), (2, 6), (5, 2))
    args = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *a: LowRank.apply(*a, 1.5), args)


def test_it_is_the_library_s_adapter():
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2))
    model = adapted()
    expected = grads(model, x)
    lean(model)
    for found, wanted in zip(grads(model, x), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_half_width_weights_keep_adapters_whole():
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2)).bfloat16()
    model = adapted(torch.bfloat16)
    expected = grads(model, x)
    lean(model)
    found = grads(model, x)
    assert [f.dtype for f in found] == [e.dtype for e in expected]
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 0.03 * other.abs().max()


def test_the_model_without_adapters_is_lent_and_merging_still_works():
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    model = adapted()
    lean(model)
    with torch.no_grad():
        before = model(x)
        with model.disable_adapter():
            plain = model(x)
        base = model.base_model.model.proj.base_layer
        torch.testing.assert_close(plain, base(x))
        torch.testing.assert_close(model.merge_and_unload()(x), before, atol=1e-5, rtol=1e-5)
    assert (before - plain).abs().max() > 0.1
