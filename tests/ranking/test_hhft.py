"""HHFT: tokens from blocks, its limiting cases, and what is shared over the candidates of a request.

Legend: Q requests, N candidates.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from aisle.nn.hetero_layer import HeteroLayer, freeze
from aisle.nn.lane_machine import usable as has_dot
from aisle.nn.mlp import num_parameters
from aisle.ranking._features import ITEM_FIELDS, ITEM_NUMBERS, PAST, REQUEST_FIELDS, REQUEST_NUMBERS
from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking._serving import short_copy, shortened, without
from aisle.ranking.hhft import Hhft, HhftTrunk, dealt

DIM, Q, N = 4, 3, 9
NUMBERS = [{block: len(names) for block, names in side.items()} for side in (REQUEST_NUMBERS, ITEM_NUMBERS)]
SHAPE = Shape((*REQUEST_FIELDS, *ITEM_FIELDS), *NUMBERS, DIM, frozenset(field.name for field in ITEM_FIELDS))
SMALL = {"width": 16, "heads": 2}


def given(requests: int = Q, dtype: torch.dtype = torch.float32) -> Inputs:
    rng = torch.Generator().manual_seed(0)

    def blocks(rows: int, *, request: bool) -> dict[str, torch.Tensor]:
        widths = SHAPE.widths(request=request)
        return {b: torch.randn(rows, w, generator=rng).to(dtype) for b, w in widths.items()}

    past = {kind: torch.randn(requests, PAST, SHAPE.past_dim, generator=rng).to(dtype) for kind in SHAPE.pasts}
    there = {kind: torch.rand(requests, PAST, generator=rng) < 0.5 for kind in SHAPE.pasts}
    owner = torch.arange(N) % requests
    target = torch.randn(N, SHAPE.past_dim, generator=rng).to(dtype)
    sides = (blocks(requests, request=True), blocks(N, request=False))
    return Inputs(*sides, {}, past, there, target, owner, SHAPE.item_fields)


def repeated(inputs: Inputs) -> Inputs:
    """Every candidate with a request of its own."""

    def of_each(parts):
        return {name: part[inputs.owner] for name, part in parts.items()}

    return replace(
        inputs,
        request=of_each(inputs.request),
        past=of_each(inputs.past),
        there=of_each(inputs.there),
        owner=torch.arange(N),
    )


def trunk(tasks: int = 1, **settings) -> HhftTrunk:
    torch.manual_seed(0)
    made = HhftTrunk(SHAPE, Hhft(**{**SMALL, **settings}), tasks)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made.eval()


VARIANTS = (
    {},
    {"request_mask": True},
    {"past": "hstu"},
    {"past": "mean", "rank": -1},
    {"hiformer": 2},
    {"hiformer": 0},
    {"layers": 0},
    {"first": "hiformer"},
    {"composite": "keys"},
    {"share": True},
    {"partition": "random"},
    {"tokens": {"match": 2, "user": 3}},
    {"mixer": True, "hiformer": 0, "tokens": dict.fromkeys(("user", "query", "match", "item", "shop", "clicks"), 2)},
)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_sharing_a_request_over_its_candidates_changes_no_logit(settings):
    made, inputs = trunk(**settings), given()
    with torch.inference_mode():
        logits = made(inputs)
        assert logits.shape == (N, 1)
        torch.testing.assert_close(made(repeated(inputs)), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_candidate_does_not_depend_on_the_others(settings):
    made, inputs = trunk(**settings), given()
    some = torch.tensor([4, 0, 7])
    item = {name: part[some] for name, part in inputs.item.items()}
    alone = replace(inputs, item=item, target=inputs.target[some], owner=inputs.owner[some])
    with torch.inference_mode():
        torch.testing.assert_close(made(alone), made(inputs)[some], rtol=1e-4, atol=1e-4)


def test_tokens_are_those_of_the_blocks_and_the_tasks():
    made = trunk(tasks=3, tokens={"match": 2})
    # user, query, context, clicks, orders | item, shop, statistics, match twice | three tasks
    assert made.makers.counts == [1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    assert made.makers.num_request == 5
    assert made.encoder.block_T.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11]
    assert made(given()).shape == (N, 3)


def test_with_shared_weights_there_is_one_set_and_no_composite():
    made = trunk(share=True, hiformer=0)
    assert made.encoder.layers[0].qkv.weight.shape[0] == 1
    assert not made.encoder.composite
    matrices = sum(p.numel() for n, p in made.encoder.layers.named_parameters() if "weight" in n)
    assert matrices == 2 * (4 * 16 * 16 + 2 * 16 * 64)


def test_one_token_a_block_without_level_2_is_heterogeneous_attention():
    made, inputs = trunk(hiformer=0, layers=1, past="mean"), given()
    assert isinstance(made.encoder.layers[0], HeteroLayer)
    tokens = made.makers(inputs)
    layer = made.encoder.layers[0](tokens, made.encoder.block_T)
    task, mean = made.encoder(tokens)
    torch.testing.assert_close(task, layer.item[-1:])
    torch.testing.assert_close(mean, layer.all()[:-1].mean(0))


def test_only_the_mask_keeps_candidates_out_of_request_tokens():
    for masked in (False, True):
        made, inputs = trunk(request_mask=masked, hiformer=0, past="mean"), given()
        tokens = made.makers(inputs)
        other = made.makers(replace(inputs, item={n: p + 1 for n, p in inputs.item.items()}))
        for layer in made.encoder.layers:
            tokens = layer(tokens, made.encoder.block_T, masked=masked)
            other = layer(other, made.encoder.block_T, masked=masked)
        assert torch.allclose(tokens.spread().request, other.spread().request) == masked


def test_a_past_that_is_empty_is_a_token_of_its_own():
    made, inputs = trunk(past="mean"), given()
    none = replace(inputs, there={kind: there & False for kind, there in inputs.there.items()})
    pooled = made.makers._pooled(none, "clicks")
    torch.testing.assert_close(pooled, made.makers.empty["clicks"].expand(Q, -1))


def test_dealing_changes_fields_with_fields_and_numbers_with_numbers():
    widths = SHAPE.widths(request=False)
    order = dealt(SHAPE, widths, request=False)
    assert sorted(order.tolist()) == list(range(sum(widths.values())))
    item = 3 * DIM  # item, category and words lead
    assert (order != torch.arange(len(order))).any()
    for start in range(0, item, DIM):
        run = order[start : start + DIM]
        assert (run.diff() == 1).all(), "a vector stays in one piece"
    plain, mixed = trunk(), trunk(partition="random")
    assert num_parameters(plain) == num_parameters(mixed)
    assert not torch.allclose(plain(given()), mixed(given()))


def test_every_parameter_learns():
    made, inputs = trunk(tasks=2), given()
    for there in inputs.there.values():
        there[0] = False  # one request without a past, for the vector that stands for none
    made(inputs).square().sum().backward()
    idle = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not idle


def test_bf16_orders_candidates_as_float32_does():
    made, inputs = trunk(), given()
    with torch.inference_mode():
        whole, short = made(inputs), short_copy(made)(shortened(inputs))
    assert short.dtype == torch.float32
    assert float((whole - short).abs().max()) < 0.1 * float(whole.std())


LANES = [v for v in VARIANTS if not v.keys() & {"first", "mixer"} and v.get("layers") != 0 and v.get("rank") != -1]


@pytest.mark.skipif(not has_dot(), reason="this processor has no dot product of bf16")
@pytest.mark.parametrize("settings", [*LANES, {"past": "target"}], ids=str)
def test_what_is_served_is_what_was_trained(settings):
    made, inputs = trunk(tasks=2, **settings), given()
    compiled = freeze(made.requires_grad_(False)).compiled(threads=2)
    assert (compiled is None) == (settings.get("composite") == "keys" or settings.get("hiformer", 0) > 1)
    if compiled is not None:
        with torch.inference_mode():
            whole, short = made(inputs), compiled(inputs)
        assert float((whole - short).square().mean().sqrt()) < 0.05 * float(whole.std(0).max())


def test_a_block_can_be_left_out_to_see_what_it_does():
    made, inputs = trunk(), given()
    with torch.inference_mode():
        for block in ("match", "clicks", "query"):
            assert not torch.allclose(made(without(inputs, block)), made(inputs))
        torch.testing.assert_close(made(without(inputs, "nothing of this name")), made(inputs))
