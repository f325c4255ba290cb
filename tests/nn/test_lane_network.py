"""The compiled network gives what the modules it stands for give, up to bf16."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from aisle.nn.hetero_layer import HeteroLayer, block_numbers, freeze
from aisle.nn.hiformer_layer import HiformerLayer
from aisle.nn.lane_machine import usable as has_dot
from aisle.nn.lane_network import LaneNetwork, usable
from aisle.nn.mlp import mlp
from aisle.nn.tokens import TokenMaker, Tokens

WIDTH, HEADS, TASKS = 16, 2, 2
SIDES = ([(5, 0, 5, 2), (9, 3, 4, 1)], [(6, 6, 0, 1), (11, 2, 4, 2)])
"""(width, numbers, vectors before them, tokens) of each block."""

COUNTS = [2, 1, 1, 2, 1, 1]
"""Tokens of each block, the tasks' last."""

needs_dot = pytest.mark.skipif(not has_dot(), reason="this processor has no dot product of bf16")


class Parts(NamedTuple):
    makers: tuple[list[TokenMaker], list[TokenMaker]]
    kind: Tensor
    tasks: Tensor
    layers: list[HeteroLayer]
    composite: list[HiformerLayer]
    heads: list[nn.Sequential]


def parts(*, num: int = 2, rank: int = 5, composite: int = 1) -> Parts:
    torch.manual_seed(0)
    depth = (len(COUNTS), WIDTH, HEADS, 4 * WIDTH)
    made = Parts(
        tuple([TokenMaker(w, numbers, vectors, n * WIDTH) for w, numbers, vectors, n in side] for side in SIDES),
        torch.randn(sum(COUNTS) - TASKS, WIDTH),
        torch.randn(TASKS, WIDTH),
        [HeteroLayer(*depth) for _ in range(num)],
        [HiformerLayer(sum(COUNTS), *depth, rank=rank, asking=TASKS) for _ in range(composite)],
        [nn.Sequential(nn.LayerNorm(2 * WIDTH), *mlp(2 * WIDTH, [WIDTH], 1, act=nn.GELU)) for _ in range(TASKS)],
    )
    for module in [*made.makers[0], *made.makers[1], *made.layers, *made.composite, *made.heads]:
        module.eval().requires_grad_(False)
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        freeze(module)
    return made


def given(requests: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    owner = torch.sort(torch.randint(0, requests, (rows,))).values
    widths = [sum(width for width, *_ in side) for side in SIDES]
    return torch.randn(requests, widths[0]), torch.randn(rows, widths[1]), owner


def network(own: Parts, *, masked: bool = False, threads: int = 1) -> LaneNetwork:
    return LaneNetwork(
        *own.makers, own.kind, own.tasks, own.layers, own.composite, own.heads, block_numbers(COUNTS),
        masked=masked, threads=threads,
    )  # fmt: skip


def by_modules(own: Parts, request_QD: Tensor, item_ND: Tensor, owner: Tensor, *, masked: bool) -> Tensor:
    sides = []
    for makers, x_RD in zip(own.makers, (request_QD, item_ND), strict=True):
        widths = [maker.linear.in_features for maker in makers]
        made = torch.cat([maker(x) for maker, x in zip(makers, x_RD.split(widths, 1), strict=True)], 1)
        sides.append(made.view(len(x_RD), -1, WIDTH).transpose(0, 1))
    num = len(sides[0])
    task_ANd = own.tasks[:, None].expand(-1, len(item_ND), -1)
    item = torch.cat([sides[1] + own.kind[num:, None], task_ANd])
    tokens, block_T = Tokens(sides[0] + own.kind[:num, None], item, owner), block_numbers(COUNTS)
    for layer in own.layers:
        tokens = layer(tokens, block_T, masked=masked)
    mean_Nd = tokens.all()[:-TASKS].mean(0)
    for last in own.composite:
        tokens = last(tokens, block_T)
    return torch.cat(
        [head(torch.cat([x, mean_Nd], 1)) for head, x in zip(own.heads, tokens.item[-TASKS:], strict=True)], 1
    )


@needs_dot
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("requests", "rows", "threads"), [(1, 130, 2), (3, 70, 1), (70, 90, 1), (2, 1, 2)])
def test_equals_the_modules(masked: bool, requests: int, rows: int, threads: int) -> None:
    own, inputs = parts(), given(requests, rows)
    with torch.inference_mode():
        logits = network(own, masked=masked, threads=threads)(*inputs)
        expected = by_modules(own, *inputs, masked=masked)
    # A product of bf16 keeps 8 bits: 2 ** -8 of sums whose deviation is about 1, through three layers.
    assert torch.allclose(logits, expected, atol=0.03)
    assert (logits - expected).square().mean().sqrt() < 0.01 * (1 + expected.std(correction=0))


@needs_dot
@pytest.mark.parametrize("masked", [False, True])
def test_without_a_composite_layer(masked: bool) -> None:
    own, inputs = parts(num=1, composite=0), given(2, 40)
    with torch.inference_mode():
        logits, expected = network(own, masked=masked)(*inputs), by_modules(own, *inputs, masked=masked)
    assert (logits - expected).square().mean().sqrt() < 0.01


@needs_dot
def test_every_candidate_by_itself() -> None:
    """A candidate's answer does not depend on who stands beside it, nor on the thread that finds it: to the last bit."""
    own, (request, item, owner) = parts(), given(1, 500)
    some = torch.arange(37, 90)
    with torch.inference_mode():
        whole = network(own)(request, item, owner)
        assert torch.equal(whole[some], network(own)(request, item[some], owner[some]))
        assert torch.equal(whole, network(own, threads=3)(request, item, owner))


@needs_dot
def test_among_other_requests() -> None:
    """Nor on the requests that are answered with it."""
    own, (request, item, owner) = parts(), given(3, 100)
    with torch.inference_mode():
        for masked in (False, True):
            whole = network(own, masked=masked)(request, item, owner)
            own_rows = owner == 1
            alone = network(own, masked=masked)(request[1:2], item[own_rows], owner[own_rows] - 1)
            assert torch.equal(whole[own_rows], alone)


@needs_dot
def test_no_candidates() -> None:
    assert network(parts())(*given(1, 0)).shape == (0, TASKS)


def test_what_it_does_not_stand_for() -> None:
    own = parts()
    assert usable(own.layers, own.composite, TASKS) == has_dot()
    assert not usable(own.layers, parts(rank=0).composite, TASKS)
    assert not usable([HeteroLayer(1, WIDTH, HEADS, 32, mixer=True)], [], TASKS)
    assert not usable(own.layers, [*own.composite, *own.composite], TASKS)
    assert not usable([HeteroLayer(1, 12, 6, 48)], [], TASKS), "heads narrower than a tile"
