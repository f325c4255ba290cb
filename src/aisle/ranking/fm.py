"""FM: factorisation machine (Rendle, 2010): what two ids have in common, as the product of their vectors.

    logit(x) = b + sum_f w_f(x) + sum_(f < g) <v_f(x), v_g(x)>

over the fields of a candidate and its request; the numbers of a block enter as one more vector, a learned combination of them,
and each id's w is a learned product with its vector.

Legend: N candidates, F fields, d width, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking._neural import NeuralRanker


class Fm(NeuralRanker):
    """See ``ranking._neural.NeuralRanker``; FM has no setting of its own."""

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        return FmTrunk(shape, len(tasks))


class FmTrunk(nn.Module):
    """Second order by 2 sum_(f<g) <v_f, v_g> = |sum_f v_f|^2 - sum_f |v_f|^2, weighted by dimension for each task."""

    def __init__(self, shape: Shape, tasks: int) -> None:
        super().__init__()
        numbers = {**{f"request/{b}": n for b, n in shape.request_numbers.items()}}
        numbers |= {f"item/{b}": n for b, n in shape.item_numbers.items()}
        self.of_numbers = nn.ModuleDict({b.replace("/", "_"): nn.Linear(n, shape.dim) for b, n in numbers.items()})
        self.request_names = [f.name for f in shape.fields if f.name not in shape.item_fields and not f.is_past]
        self.item_names = [f.name for f in shape.fields if f.name in shape.item_fields]
        self.shape = shape
        fields = len(self.request_names) + len(self.item_names) + len(numbers) + 3 * len(shape.pasts)
        self.heads = nn.ModuleDict(
            {"first": nn.Linear(fields * shape.dim, tasks), "second": nn.Linear(shape.dim, tasks, bias=False)}
        )
        nn.init.constant_(self.heads["second"].weight, 1.0)

    def forward(self, inputs: Inputs) -> Tensor:
        request, item = self._vectors(inputs)
        vector_NFd = torch.cat([request[inputs.owner], item], 1)
        pair_Nd = 0.5 * (vector_NFd.sum(1).square() - vector_NFd.square().sum(1))
        return self.heads["first"](vector_NFd.flatten(1)) + self.heads["second"](pair_Nd)

    def _vectors(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """[Q, F1, d] and [N, F2, d]."""
        shape, ends = self.shape, {}
        for side, blocks, widths in (
            ("request", inputs.request, shape.request_numbers),
            ("item", inputs.item, shape.item_numbers),
        ):
            ends[side] = [self.of_numbers[f"{side}_{b}"](blocks[b][:, -n:]) for b, n in widths.items()]
        past = [part for kind in inputs.past for part in inputs.past_mean(kind).split(shape.dim, 1)]
        request = [*(inputs.vectors[name] for name in self.request_names), *past, *ends["request"]]
        item = [*(inputs.vectors[name] for name in self.item_names), *ends["item"]]
        return torch.stack(request, 1), torch.stack(item, 1)


METHOD = Fm
