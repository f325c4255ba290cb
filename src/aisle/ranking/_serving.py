"""A fitted ranker of clicks and orders: scores candidates by the very features it was trained on.

Legend: Q requests, N candidates, K tasks.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from aisle.core import registry
from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import State
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.tables import Tables
from aisle.nn.hetero_layer import freeze
from aisle.ranking._features import FeatureMaker, Field, standardised
from aisle.ranking._inputs import RATES, Batch, Inputs, Ranker, Shape, TableLookup
from aisle.ranking._scores import standardised as standardised_scores
from aisle.ranking.fusion import FusionStage
from aisle.training.settings import has_bf16

if TYPE_CHECKING:
    from aisle.ranking._neural import NeuralRanker

CHUNK = 2048
"""Candidates scored between two looks at the deadline."""

WORDS = {
    "user": "what you usually do here",
    "query": "your words",
    "context": "the time and place of your visit",
    "clicks": "what you looked at before",
    "orders": "what you bought before",
    "item": "what the product is",
    "attributes": "its attributes",
    "statistics": "its price, reviews and sales",
    "shop": "its brand and seller",
    "match": "how it fits your words and your past",
}


class NeuralStage:
    """score(requests, candidates) -> the probability of each task, and ``score`` float32[N]: these weighed by ``utility``.

    Where one task alone counts the score is its logit, which tells rows apart whose probabilities are both nearly 1.
    """

    def __init__(
        self,
        method: NeuralRanker,
        env: Env,
        maker: FeatureMaker,
        scale: Mapping[str, Array],
        model: Ranker,
        files: Mapping[str, Path],
    ) -> None:
        self.method, self.env, self.maker, self.scale = method, env, maker, dict(scale)
        self.model, self.files = model.eval().requires_grad_(False), dict(files)
        self._weight_K = torch.tensor([method.weights().get(task, 0.0) for task in method.tasks])
        short = method.serve_precision == "bf16" or (method.serve_precision == "auto" and has_bf16())
        self._trunk = served(self.model.trunk, short=short, threads=method.serve_threads)

    @classmethod
    def exported(
        cls,
        method: NeuralRanker,
        env: Env,
        maker: FeatureMaker,
        scale: Mapping[str, Array],
        shape: Shape,
        model: Ranker,
        tables: Tables,
    ) -> NeuralStage:
        """The stage of a trained network; its tables are written out and opened as they will be served."""
        folder = Path(mkdtemp(prefix="aisle-tables-"))
        files = tables.export(folder)
        stage = cls._with_tables(method, env, maker, scale, shape, model.state_dict(), files)
        weakref.finalize(stage, rmtree, folder, ignore_errors=True)
        return stage

    @classmethod
    def restored(cls, method: NeuralRanker, state: State, env: Env) -> NeuralStage:
        """The stage whose ``state()`` this is."""
        values = state.values
        maker = FeatureMaker(values["attributes"], method.encoder)
        fields = [Field(*field) for field in values["fields"]]
        shape = Shape(
            fields, values["request_numbers"], values["item_numbers"], method.dim, frozenset(values["item_fields"])
        )
        weights = {name: torch.from_numpy(np.array(a)) for name, a in _part(state.tensors, "model").items()}
        return cls._with_tables(method, env, maker, _part(state.tensors, "scale"), shape, weights, state.files)

    @classmethod
    def _with_tables(
        cls,
        method: NeuralRanker,
        env: Env,
        maker: FeatureMaker,
        scale: Mapping[str, Array],
        shape: Shape,
        weights: Mapping[str, Tensor],
        files: Mapping[str, Path],
    ) -> NeuralStage:
        model = method.ranker(shape, TableLookup(method.tables_part(shape).open(files), shape))
        own = {name: tensor for name, tensor in weights.items() if not name.startswith("inputs.lookup.")}
        model.load_state_dict(own, strict=False)
        return cls(method, env, maker, scale, model, files)

    @torch.inference_mode()
    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        logit_NK = np.zeros((len(candidates.item), len(self.method.tasks)), np.float32)
        for some in _chunks(candidates):
            requests.check_deadline()
            rows = slice(candidates.splits[some[0]], candidates.splits[some[-1] + 1])
            whole = len(some) == len(candidates)
            part = (requests, candidates) if whole else (requests.select(some), candidates.select(some))
            logit_NK[rows] = self.logits(self.inputs(*part)).numpy()
        columns = self._columns(torch.from_numpy(logit_NK))
        return {**columns, "score": self._from_start(requests, candidates, columns["score"])}

    def inputs(self, requests: Requests, candidates: ItemLists) -> Inputs:
        """What the network reads, from the features of training."""
        features = standardised(self.maker.make(requests, candidates.only(), self.env), self.scale)
        return self.model.inputs(Batch.of(features))

    def logits(self, inputs: Inputs) -> Tensor:
        """float32[N, K]"""
        return self._trunk(inputs).float() + self.model.base

    @torch.inference_mode()
    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """The three blocks of features that moved each shown row most: its logit with the block and without."""
        if not len(page.item):
            return []
        inputs = self.inputs(requests, page)
        whole_N = self.logits(inputs)[:, 0]
        blocks = list(dict.fromkeys([*inputs.request, *inputs.past, *inputs.item]))
        moved_NB = torch.stack([whole_N - self.logits(without(inputs, block))[:, 0] for block in blocks], 1).numpy()
        most = np.argsort(-np.abs(moved_NB), axis=1)[:, :3]
        name = registry.name_of(self.method)
        return [
            [_reason(name, blocks[b], float(moved_NB[row, b])) for b in most[row] if moved_NB[row, b]]
            for row in range(len(page.item))
        ]

    def state(self) -> State:
        shape = self.model.inputs.shape
        own = {n: t for n, t in self.model.state_dict().items() if not n.startswith("inputs.lookup.")}
        tensors = {f"model/{name}": tensor.numpy() for name, tensor in own.items()}
        tensors |= {f"scale/{name}": array for name, array in self.scale.items()}
        values: dict[str, Any] = {
            "fields": [list(field) for field in shape.fields],
            "item_fields": sorted(shape.item_fields),
            "request_numbers": dict(shape.request_numbers),
            "item_numbers": dict(shape.item_numbers),
            "attributes": list(self.maker.facts.attributes),
        }
        return State(tensors, values, self.files)

    def _from_start(self, requests: Requests, candidates: ItemLists, learned_N: Array) -> Array:
        """float32[N]: what was learned, on top of the order that the method starts from."""
        if self.method.start is None or not len(learned_N):
            return learned_N
        fused_N = FusionStage(self.method.start, self.env).score(requests, candidates)["score"]
        loudness = np.float32(self.method.start_weight)
        return standardised_scores(learned_N, candidates) + loudness * standardised_scores(fused_N, candidates)

    def _columns(self, logit_NK: Tensor) -> dict[str, Array]:
        probability_NK = torch.sigmoid(logit_NK)
        rates = {RATES[task]: probability_NK[:, k].numpy() for k, task in enumerate(self.method.tasks)}
        counting = torch.nonzero(self._weight_K)[:, 0]
        score = logit_NK[:, counting[0]] if len(counting) == 1 else probability_NK @ self._weight_K
        return {"score": score.numpy(), **rates}


def served(trunk: torch.nn.Module, *, short: bool, threads: int = 1) -> Callable[[Inputs], Tensor]:
    """The trained network as it answers: a copy with frozen weights; ``short``: in bf16, compiled where it knows how."""
    own = freeze(copy.deepcopy(trunk).eval().requires_grad_(False))
    if not short:
        return own
    compiled = own.compiled(threads) if hasattr(own, "compiled") else None
    if compiled is not None:
        return compiled
    brief = freeze(short_copy(own))
    return lambda inputs: brief(shortened(inputs))


def short_copy(trunk: torch.nn.Module) -> torch.nn.Module:
    """The network in bf16; its heads stay in float32, and with them the logits."""
    short = copy.deepcopy(trunk).bfloat16()
    short.heads.float()
    return short


def shortened(inputs: Inputs) -> Inputs:
    """The same in bf16."""

    def short(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: part.bfloat16() for name, part in parts.items()}

    return replace(
        inputs,
        request=short(inputs.request),
        item=short(inputs.item),
        vectors=short(inputs.vectors),
        past=short(inputs.past),
        target=inputs.target.bfloat16(),
    )


def without(inputs: Inputs, block: str) -> Inputs:
    """The same with a block's vectors and numbers at 0, which is the mean of every number."""

    def cut(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: part * 0 if name == block else part for name, part in parts.items()}

    there = {name: part & (name != block) for name, part in inputs.there.items()}
    return replace(inputs, request=cut(inputs.request), item=cut(inputs.item), past=cut(inputs.past), there=there)


def _chunks(candidates: ItemLists) -> Iterator[Array]:
    """Runs of requests with about ``CHUNK`` candidates each."""
    part = (candidates.splits[1:] - 1) // CHUNK
    yield from (run for run in np.split(np.arange(len(candidates)), np.flatnonzero(np.diff(part)) + 1) if len(run))


def _part(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {n.removeprefix(f"{prefix}/"): a for n, a in tensors.items() if n.startswith(f"{prefix}/")}


def _reason(stage: str, block: str, moved: float) -> Reason:
    return Reason(stage, f"{WORDS.get(block, block)} {'raised' if moved > 0 else 'lowered'} it", moved)
