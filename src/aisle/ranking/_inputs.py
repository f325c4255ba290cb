"""From features to what a ranking network reads: vectors of ids beside numbers, by block.

Legend: Q requests, N candidates, L places of the past, d width of an id's vector, D width of a block, K tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.lists import Array, splits_of
from aisle.core.tables import Ids, Tables
from aisle.nn.fixed_lookup import IdField
from aisle.nn.sequences import masked_mean
from aisle.ranking._features import TARGET, Features, Field

Lookup = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

RATES = {"click": "ctr", **{task: f"{task}_rate" for task in ("cart", "order", "return", "remove")}}
"""Task -> the column of its probability."""

POSITIONS = 64
"""Places of a page that have a bias of their own; later ones share the last."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Features as tensors; ``position`` int64[N] and ``label`` float32[N, K] when training."""

    request_ids: Mapping[str, Tensor]
    item_ids: Mapping[str, Tensor]
    request_numbers: Mapping[str, Tensor]
    item_numbers: Mapping[str, Tensor]
    owner: Tensor
    position: Tensor | None = None
    label: Tensor | None = None

    @classmethod
    def of(cls, features: Features, position: Array | None = None, label: Array | None = None) -> Batch:
        def tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
            # torch wants memory that it may write to; what a request brought may be read-only.
            return {name: torch.from_numpy(np.require(array, requirements="CW")) for name, array in arrays.items()}

        return cls(
            tensors(features.request_ids),
            tensors(features.item_ids),
            tensors(features.request_numbers),
            tensors(features.item_numbers),
            torch.from_numpy(features.owner),
            None if position is None else torch.from_numpy(position.astype(np.int64)),
            None if label is None else torch.from_numpy(label),
        )


@dataclass(frozen=True)
class Shape:
    """What a network is built for.

    fields           every id field
    request_numbers  block -> how many numbers, once a request
    item_numbers     block -> how many numbers, once a candidate
    dim              width of an id's vector
    """

    fields: Sequence[Field]
    request_numbers: Mapping[str, int]
    item_numbers: Mapping[str, int]
    dim: int
    item_fields: frozenset[str] = frozenset()

    @classmethod
    def of(cls, features: Features, fields: Sequence[Field], dim: int) -> Shape:
        widths = [
            {b: n.shape[1] for b, n in side.items()} for side in (features.request_numbers, features.item_numbers)
        ]
        return cls(fields, *widths, dim, frozenset(features.item_ids))

    @property
    def pasts(self) -> tuple[str, ...]:
        """The blocks that are sequences."""
        return tuple(dict.fromkeys(f.block for f in self.fields if f.is_past))

    @property
    def past_dim(self) -> int:
        """Width of a place of the past, and of the target."""
        return self.dim * len(TARGET)

    def widths(self, *, request: bool) -> dict[str, int]:
        """Block -> width of its fields and numbers side by side, pasts left out; of the request or of a candidate."""
        numbers = self.request_numbers if request else self.item_numbers
        own = [f for f in self.fields if (f.name not in self.item_fields) == request and not f.is_past]
        blocks = dict.fromkeys([*(f.block for f in own), *numbers])
        return {b: self.dim * sum(f.block == b for f in own) + numbers.get(b, 0) for b in blocks}

    def id_fields(self) -> dict[str, IdField]:
        return {f.name: IdField(f.table, f.length, f.is_past) for f in self.fields}


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """
    request, item  block -> [Q, D], [N, D]: vectors and numbers side by side
    vectors        field -> [Q, d] or [N, d]
    past           kind -> [Q, L, 3 d]: item, category and brand of each place
    there          kind -> bool[Q, L]: whether there is such a place
    target         [N, 3 d]: the same of each candidate
    owner          int64[N]
    """

    request: Mapping[str, Tensor]
    item: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]
    past: Mapping[str, Tensor]
    there: Mapping[str, Tensor]
    target: Tensor
    owner: Tensor
    item_fields: frozenset[str] = field(default_factory=frozenset)

    def flat(self) -> Tensor:
        """[N, D]: everything of a candidate side by side, each past as the mean of its places."""
        return torch.cat([self.request_side()[self.owner], *self.item.values()], 1)

    def request_side(self) -> Tensor:
        """[Q, D]: everything of a request side by side."""
        return torch.cat([*self.request.values(), *(self.past_mean(kind) for kind in self.past)], 1)

    def past_mean(self, kind: str) -> Tensor:
        """[Q, 3 d]: the mean of the places."""
        return masked_mean(self.past[kind], self.there[kind])


def flat_width(shape: Shape) -> int:
    """The width of ``Inputs.flat``."""
    widths = [*shape.widths(request=True).values(), *shape.widths(request=False).values()]
    return sum(widths) + shape.past_dim * len(shape.pasts)


class InputLayer(nn.Module):
    """Batch -> Inputs by a lookup of ids (tables or ``FixedLookup``)."""

    def __init__(self, shape: Shape, lookup: Lookup) -> None:
        super().__init__()
        self.shape = shape
        self.lookup = lookup

    def forward(self, batch: Batch) -> Inputs:
        shape = self.shape
        vectors = self.lookup({**batch.request_ids, **batch.item_ids})
        request = self._blocks(vectors, batch.request_numbers, request=True)
        item = self._blocks(vectors, batch.item_numbers, request=False)
        past = {k: torch.cat([vectors[f"{k}_{what}"] for what in TARGET], -1) for k in shape.pasts}
        there = {k: batch.request_ids[f"{k}_item"] >= 0 for k in shape.pasts}
        target = torch.cat([vectors[what] for what in TARGET], 1)
        return Inputs(request, item, vectors, past, there, target, batch.owner, shape.item_fields)

    def _blocks(
        self, vectors: Mapping[str, Tensor], numbers: Mapping[str, Tensor], *, request: bool
    ) -> dict[str, Tensor]:
        out = {}
        for block in self.shape.widths(request=request):
            own = [
                vectors[f.name]
                for f in self.shape.fields
                if f.block == block and not f.is_past and (f.name not in self.shape.item_fields) == request
            ]
            out[block] = torch.cat([*own, *([numbers[block]] if block in numbers else [])], 1)
        return out


class TableLookup(nn.Module):
    """The lookup by ``aisle.core.tables``, in one call: candidates, places of the past and requests are its samples, each with
    ids in the features that it has.  A past item has the vector of the candidate field of its name.  An id of -1 has none."""

    def __init__(self, tables: Tables, shape: Shape) -> None:
        super().__init__()
        self.tables, self.shape = tables, shape

    def forward(self, columns: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        arrays = {name: column.numpy() for name, column in columns.items()}
        pasts = self.shape.pasts
        there = {kind: arrays[f"{kind}_{TARGET[0]}"] >= 0 for kind in pasts}
        num_item, num_request = len(arrays[TARGET[0]]), len(next(iter(there.values())))
        sizes = [num_item, *(int(mask.sum()) for mask in there.values()), num_request]
        ids = {}
        for own in self.shape.fields:
            if own.is_past:
                continue
            parts: list[Array | None] = [None] * len(sizes)
            parts[0 if own.name in self.shape.item_fields else -1] = arrays[own.name]
            if own.name in TARGET:
                for at, kind in enumerate(pasts, start=1):
                    parts[at] = arrays[f"{kind}_{own.name}"][there[kind]]
            ids[own.name] = joined_ids(parts, sizes)
        vectors = {name: rows.split(sizes) for name, rows in self.tables(ids).items()}
        out = {name: parts[0 if name in self.shape.item_fields else -1] for name, parts in vectors.items()}
        for at, kind in enumerate(pasts, start=1):
            place = torch.from_numpy(np.flatnonzero(there[kind]))
            for what in TARGET:
                out[f"{kind}_{what}"] = _at_places(vectors[what][at], place, there[kind].shape)
        return out


def joined_ids(parts: Sequence[Array | None], sizes: Sequence[int]) -> Ids:
    """One column over samples of several kinds: int64[B] or [B, L] with -1 for none; None where a kind has no such field."""
    counts, ids = [], []
    for part, size in zip(parts, sizes, strict=True):
        there = np.zeros(size, np.int64) if part is None else part >= 0
        counts.append(there.sum(1) if there.ndim == 2 else there)
        if part is not None:
            ids.append(part[there])
    return Ids(np.concatenate(ids), splits_of(np.concatenate(counts)))


def _at_places(rows_Pd: Tensor, place_P: Tensor, shape: tuple[int, int]) -> Tensor:
    """[Q, L, d]: the vectors at their places, 0 elsewhere."""
    out = rows_Pd.new_zeros(shape[0] * shape[1], rows_Pd.shape[1])
    return out.index_copy(0, place_P, rows_Pd).view(*shape, -1)


class Ranker(nn.Module):
    """inputs -> trunk -> logits [N, K] on top of each task's ``base``, plus, when training, a bias of the place: what is seen
    first is clicked more."""

    base: Tensor

    def __init__(self, inputs: InputLayer, trunk: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        self.inputs, self.trunk, self.tasks = inputs, trunk, tuple(tasks)
        self.place = nn.Embedding(POSITIONS, len(self.tasks))
        nn.init.zeros_(self.place.weight)
        self.register_buffer("base", torch.zeros(len(self.tasks)))

    def begin_at(self, labels: Mapping[str, Tensor]) -> None:
        """Let outputs begin at the log-odds of each task's rate, from its labels (0 or 1) of the rows that carry it; called
        before training, which then has no steps to spend on how rare a task is."""
        # Half a row of each kind more: a task that never occurred begins rare, not at minus infinity.
        rate_K = torch.stack([(labels[t].double().sum() + 0.5) / (len(labels[t]) + 1) for t in self.tasks])
        self.base.copy_(torch.logit(rate_K))

    def forward(self, batch: Batch) -> Tensor:
        """float32[N, K]"""
        logit_NK = self.trunk(self.inputs(batch)).float() + self.base
        if batch.position is not None:
            logit_NK = logit_NK + self.place(batch.position.clamp(max=POSITIONS - 1))
        return logit_NK

    def shared_parameters(self) -> list[Tensor]:
        """What all tasks learn: everything but heads and places."""
        own = ("trunk.heads", "place")
        return [p for name, p in self.named_parameters() if not name.startswith(own)]


def losses(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """task -> mean binary cross-entropy of its label over all candidates (so an order is learned from every impression)."""
    logit_NK = module(batch)
    assert batch.label is not None
    loss_NK = nn.functional.binary_cross_entropy_with_logits(logit_NK, batch.label, reduction="none")
    return dict(zip(module.tasks, loss_NK.mean(0).unbind(), strict=True))
