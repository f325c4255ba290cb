"""FM's own: its second order is the sum over all pairs of fields.

Legend: Q requests, N candidates, d width.
"""

from __future__ import annotations

from itertools import combinations

import torch

from aisle.ranking._features import ITEM_FIELDS, ITEM_NUMBERS, PAST, REQUEST_FIELDS, REQUEST_NUMBERS
from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking.fm import FmTrunk

DIM, Q, N = 4, 2, 5
NUMBERS = [{block: len(names) for block, names in side.items()} for side in (REQUEST_NUMBERS, ITEM_NUMBERS)]
SHAPE = Shape((*REQUEST_FIELDS, *ITEM_FIELDS), *NUMBERS, DIM, frozenset(field.name for field in ITEM_FIELDS))


def given(trunk: FmTrunk) -> Inputs:
    def blocks(rows: int, *, request: bool) -> dict[str, torch.Tensor]:
        return {block: torch.randn(rows, width) for block, width in SHAPE.widths(request=request).items()}

    vectors = {name: torch.randn(Q, DIM) for name in trunk.request_names}
    vectors |= {name: torch.randn(N, DIM) for name in trunk.item_names}
    past = {kind: torch.randn(Q, PAST, SHAPE.past_dim) for kind in SHAPE.pasts}
    there = {kind: torch.rand(Q, PAST) < 0.5 for kind in SHAPE.pasts}
    sides = (blocks(Q, request=True), blocks(N, request=False))
    return Inputs(*sides, vectors, past, there, torch.randn(N, SHAPE.past_dim), torch.arange(N) % Q, SHAPE.item_fields)


def test_the_second_order_is_the_sum_over_all_pairs_of_fields() -> None:
    torch.manual_seed(0)
    trunk = FmTrunk(SHAPE, tasks=1).eval()
    inputs = given(trunk)
    for head in ("first", "numbers"):
        for parameter in trunk.heads[head].parameters():
            torch.nn.init.zeros_(parameter)
    with torch.inference_mode():
        of_request, of_item = trunk._vectors(inputs, trunk._numbers(inputs))
        field_NFd = torch.cat([of_request[inputs.owner], of_item], 1)
        by_pairs_N = sum(
            (field_NFd[:, f] * field_NFd[:, g]).sum(1) for f, g in combinations(range(field_NFd.shape[1]), 2)
        )
        torch.testing.assert_close(trunk(inputs)[:, 0], by_pairs_N, rtol=1e-4, atol=1e-3)
