"""Pooling of pasts, the plain networks, and the lookup of known ids."""

from __future__ import annotations

import pytest
import torch

from aisle.nn.cross_layers import CrossLayers
from aisle.nn.fixed_lookup import FixedLookup, IdField
from aisle.nn.mlp import Dice, mlp, num_parameters
from aisle.nn.sequences import Hstu, TargetAttention, masked_mean

PAST = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
THERE = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])
OWNER = torch.tensor([0, 0, 1, 2])
TARGET = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))


def test_a_mean_leaves_out_what_is_not_there():
    mean = masked_mean(PAST, THERE)
    torch.testing.assert_close(mean[1], PAST[1, :2].mean(0))
    assert (mean[2] == 0).all()


def test_target_attention_is_the_unit_over_both_their_difference_and_product():
    unit = TargetAttention(8, 6)
    out = unit(PAST, THERE, TARGET, OWNER)
    W = torch.cat([unit.past.weight, unit.target.weight, unit.product.weight], 1)
    for n, q in enumerate(OWNER):
        both = torch.cat([PAST[q], TARGET[n].expand(5, -1), PAST[q] * TARGET[n]], 1)
        weight = unit.out(torch.relu(both @ W.T + unit.past.bias))[:, 0] * THERE[q]
        torch.testing.assert_close(out[n], weight @ PAST[q])
    assert (out[3] == 0).all()


def test_hstu_looks_back_only_and_at_what_is_there():
    unit = Hstu(8, 5).eval()
    torch.nn.init.normal_(unit.distance)
    out = unit(PAST, THERE)
    later = PAST.clone()
    later[:, 3:] += 1.0
    torch.testing.assert_close(unit(later, THERE)[:, :3], out[:, :3])
    missing = PAST.clone()
    missing[1, 2:] = 9.0
    torch.testing.assert_close(unit(missing, THERE)[1, :2], out[1, :2])
    assert torch.isfinite(out).all()


def test_cross_layers_raise_the_degree():
    """Without biases, l layers are a polynomial of degree l + 1: along a line its (l + 2)nd differences vanish."""
    cross = CrossLayers(4, 2).double()
    for parameter in cross.parameters():
        torch.nn.init.normal_(parameter)
    along = torch.arange(6, dtype=torch.float64)[:, None] * torch.randn(4, dtype=torch.float64)
    values = cross(along)
    differences = torch.diff(values, n=4, dim=0)
    assert float(differences.abs().max()) < 1e-8 * float(values.abs().max())
    assert float(torch.diff(values, n=3, dim=0).abs().max()) > 1e-3
    assert num_parameters(CrossLayers(40, 2, rank=4)) < num_parameters(CrossLayers(40, 2))


def test_dice_is_between_the_slope_and_the_line():
    act, x = Dice(8), torch.randn(100, 8)
    act.train()
    out = act(x)
    assert ((out.abs() <= x.abs() + 1e-6) & (out * x >= 0)).all()
    assert mlp(8, [4, 3])(x).shape == (100, 3)
    assert mlp(8, [4], 1)(x).shape == (100, 1)


def test_a_lookup_of_known_ids_has_no_vector_for_none():
    fields = {"one": IdField("t"), "some": IdField("t", 3), "all": IdField("t", 3, keep=True)}
    lookup = FixedLookup(fields, {"t": 4}, 2)
    codes = torch.tensor([[0, 3, -1], [-1, -1, -1]])
    out = lookup({"one": torch.tensor([3, -1]), "some": codes, "all": codes})
    weight = lookup.tables["t"].weight
    torch.testing.assert_close(out["one"], torch.stack([weight[4], torch.zeros(2)]))
    torch.testing.assert_close(out["some"][0], (weight[1] + weight[4]) / 2)
    assert (out["some"][1] == 0).all()
    assert out["all"].shape == (2, 3, 2)
    out["all"].sum().backward()
    assert weight.grad[0].abs().sum() == pytest.approx(0.0)
