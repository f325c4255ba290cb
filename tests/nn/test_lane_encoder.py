"""The compiled encoder gives what the layers it stands for give, up to bf16."""

from __future__ import annotations

import pytest
import torch

from aisle.nn.hetero_layer import HeteroLayer, block_numbers, freeze
from aisle.nn.hiformer_layer import HiformerLayer
from aisle.nn.lane_encoder import LaneEncoder, usable
from aisle.nn.lanes import usable as has_dot
from aisle.nn.tokens import Tokens

WIDTH, HEADS, COUNTS, OF_REQUEST = 16, 2, [2, 1, 1, 2, 1], 3
TASKS = 1

needs_dot = pytest.mark.skipif(not has_dot(), reason="this processor has no dot product of bf16")


def layers(*, num: int = 2, rank: int = 5) -> tuple[list[HeteroLayer], list[HiformerLayer]]:
    torch.manual_seed(0)
    tokens = sum(COUNTS)
    hetero = [HeteroLayer(len(COUNTS), WIDTH, HEADS, 4 * WIDTH) for _ in range(num)]
    composite = [HiformerLayer(tokens, len(COUNTS), WIDTH, HEADS, 4 * WIDTH, rank=rank, asking=TASKS)]
    for layer in [*hetero, *composite]:
        layer.eval().requires_grad_(False)
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        freeze(layer)
    return hetero, composite


def tokens(requests: int, rows: int) -> Tokens:
    torch.manual_seed(1)
    owner = torch.sort(torch.randint(0, requests, (rows,))).values
    item = torch.randn(sum(COUNTS) - OF_REQUEST, rows, WIDTH)
    return Tokens(torch.randn(OF_REQUEST, requests, WIDTH), item, owner)


def by_layers(
    hetero: list[HeteroLayer], composite: list[HiformerLayer], given: Tokens, *, masked: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    block_T = block_numbers(COUNTS)
    for layer in hetero:
        given = layer(given, block_T, masked=masked)
    mean_Nd = given.all()[:-TASKS].mean(0)
    for last in composite:
        given = last(given, block_T)
    return given.item[-TASKS:], mean_Nd


@needs_dot
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("requests", "rows", "threads"), [(1, 130, 2), (3, 70, 1), (2, 1, 2)])
def test_equals_the_layers(masked: bool, requests: int, rows: int, threads: int) -> None:
    hetero, composite = layers()
    given = tokens(requests, rows)
    encoder = LaneEncoder(hetero, composite, block_numbers(COUNTS), tasks=TASKS, masked=masked, threads=threads)
    with torch.inference_mode():
        task, mean = encoder(given)
        expected_task, expected_mean = by_layers(hetero, composite, given, masked=masked)
    # A product of bf16 keeps 8 bits: 2 ** -8 of sums whose deviation is about 1, through three layers.
    assert torch.allclose(task, expected_task, atol=0.06)
    assert torch.allclose(mean, expected_mean, atol=0.06)
    assert (task - expected_task).square().mean().sqrt() < 0.01


@needs_dot
def test_without_a_composite_layer() -> None:
    hetero, _ = layers(num=1)
    given = tokens(2, 40)
    with torch.inference_mode():
        task, _ = LaneEncoder(hetero, [], block_numbers(COUNTS), tasks=TASKS, masked=False)(given)
        expected, _ = by_layers(hetero, [], given, masked=False)
    assert (task - expected).square().mean().sqrt() < 0.01


@needs_dot
def test_every_candidate_by_itself() -> None:
    """A candidate's answer does not depend on who stands beside it: to the last bit."""
    hetero, composite = layers()
    given = tokens(1, 100)
    encoder = LaneEncoder(hetero, composite, block_numbers(COUNTS), tasks=TASKS, masked=False)
    some = torch.arange(37, 90)
    with torch.inference_mode():
        whole, _ = encoder(given)
        part, _ = encoder(Tokens(given.request, given.item[:, some], given.owner[some]))
    assert torch.equal(whole[:, some], part)


@needs_dot
def test_no_candidates() -> None:
    hetero, composite = layers()
    task, mean = LaneEncoder(hetero, composite, block_numbers(COUNTS), tasks=TASKS, masked=False)(tokens(1, 0))
    assert task.shape == (TASKS, 0, WIDTH)
    assert mean.shape == (0, WIDTH)


def test_what_it_does_not_stand_for() -> None:
    hetero, composite = layers()
    assert usable(hetero, composite, TASKS) == has_dot()
    assert not usable(hetero, layers(rank=0)[1], TASKS)
    assert not usable([HeteroLayer(1, WIDTH, HEADS, 32, mixer=True)], [], TASKS)
    assert not usable(hetero, [*composite, *composite], TASKS)
    assert not usable([HeteroLayer(1, 12, 6, 48)], [], TASKS), "heads narrower than a tile"
