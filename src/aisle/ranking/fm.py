"""FM: factorisation machine (Rendle, 2010): what two ids have in common, as the product of their vectors.

    logit(x) = b + sum_f w_f(x) + sum_(f < g) <v_f(x), v_g(x)>

over the fields of a candidate and its request.  Each id's w is a learned product with its vector; a number has a weight of its
own, and the numbers of a block enter the products as one more vector, a learned combination of them.

Legend: N candidates, F fields, d width, K tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking._neural import NeuralRanker

SIDES = ("request", "item")


class Fm(NeuralRanker):
    """See ``ranking._neural.NeuralRanker``; FM has no setting of its own."""

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return FmTrunk(shape, len(tasks))


class FmTrunk(nn.Module):
    """Second order by 2 sum_(f<g) <v_f, v_g> = |sum_f v_f|^2 - sum_f |v_f|^2, weighted by dimension for each task."""

    def __init__(self, shape: Shape, tasks: int) -> None:
        super().__init__()
        numbers = {f"request_{b}": n for b, n in shape.request_numbers.items()}
        numbers |= {f"item_{b}": n for b, n in shape.item_numbers.items()}
        self.of_numbers = nn.ModuleDict({name: nn.Linear(n, shape.dim) for name, n in numbers.items()})
        self.request_names = [f.name for f in shape.fields if f.name not in shape.item_fields and not f.is_past]
        self.item_names = [f.name for f in shape.fields if f.name in shape.item_fields]
        self.shape = shape
        fields = len(self.request_names) + len(self.item_names) + len(numbers) + 3 * len(shape.pasts)
        self.heads = nn.ModuleDict(
            {
                "first": nn.Linear(fields * shape.dim, tasks),
                "numbers": nn.Linear(sum(numbers.values()), tasks, bias=False),
                "second": nn.Linear(shape.dim, tasks, bias=False),
            }
        )
        nn.init.constant_(self.heads["second"].weight, 1.0)

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, K]"""
        numbers = self._numbers(inputs)
        of_request, of_item = self._vectors(inputs, numbers)
        vector_NFd = torch.cat([of_request[inputs.owner], of_item], 1).float()
        pair_Nd = 0.5 * (vector_NFd.sum(1).square() - vector_NFd.square().sum(1))
        spread = [x[inputs.owner] if name.startswith("request") else x for name, x in numbers.items()]
        number_ND = torch.cat(spread, 1).float()
        first_NK = self.heads["first"](vector_NFd.flatten(1)) + self.heads["numbers"](number_ND)
        return first_NK + self.heads["second"](pair_Nd)

    def _numbers(self, inputs: Inputs) -> dict[str, Tensor]:
        """side_block -> its numbers, which stand at the end of a block."""
        request = {f"request_{b}": inputs.request[b][:, -n:] for b, n in self.shape.request_numbers.items()}
        return request | {f"item_{b}": inputs.item[b][:, -n:] for b, n in self.shape.item_numbers.items()}

    def _vectors(self, inputs: Inputs, numbers: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """[Q, F1, d] and [N, F2, d]."""
        as_vectors = {name: self.of_numbers[name](x) for name, x in numbers.items()}
        of_request, of_item = ([v for name, v in as_vectors.items() if name.startswith(side)] for side in SIDES)
        past = [part for kind in inputs.past for part in inputs.past_mean(kind).split(self.shape.dim, 1)]
        request = [*(inputs.vectors[name] for name in self.request_names), *past, *of_request]
        item = [*(inputs.vectors[name] for name in self.item_names), *of_item]
        return torch.stack(request, 1), torch.stack(item, 1)


METHOD = Fm
